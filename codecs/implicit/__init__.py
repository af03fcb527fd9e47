"""Codecs that are a signed distance field: small networks, fitted to one mesh or to a set, and meshed on a grid.

What they share is written once: samples of the field, networks trained side by side, weights as bytes, meshing.
"""
