"""PCGCv2: a learned codec of voxelised surfaces."""
