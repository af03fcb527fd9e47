"""Operations on surfaces that codecs and metrics use.

- `surface`: a mesh as triangles: areas, normals, random samples, closest points
- `nearest`: exact nearest points and triangles
- `winding`: orientation of faces, and winding numbers, which tell inside from outside
- `signed_distance`: points with signed distances, for training
- `grid`, `tsdf`: a regular grid, and the truncated signed distance of a mesh on it
- `marching_cubes`, `deformable_marching_cubes`: from values on a grid to a surface
- `rasteriser`: visible triangles and outlines
- `files`: OBJ, STL, OFF and PLY
- `clouds`: voxels of a surface, and a surface through points
- `..._kernels`: compiled loops of the module with that name; they import numba
"""
