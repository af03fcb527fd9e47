"""Conversion of a surface to points (`voxels`) and back (`reconstruction`, with `normals` and `neighbours`)."""
