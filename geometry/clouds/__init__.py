"""From a surface to voxels, and from points to a surface."""
