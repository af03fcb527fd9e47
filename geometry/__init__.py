"""Geometry: surfaces and what is asked of them, grids of them, mesh files, and clouds of points."""
