"""NeCGS, neural compression of geometry sets, as a library of its own: knows meshes and tensors, nothing of bench."""
