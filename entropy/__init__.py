"""Entropy coding: integers to bytes and back, and the container that every stream of ours is in."""
