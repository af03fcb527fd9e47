"""Codecs of point clouds, with meshes in and meshes out: the two conversions around them, written once."""

from gcbench.codecs.points.codec import PointCodec

__all__ = ["PointCodec"]
