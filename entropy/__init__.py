"""Entropy coding: integers to bytes and back, and the container that every stream of ours is in.

There are two range coders, because they answer different questions:

- :mod:`~gcbench.entropy.range_coder` (constriction, tables of 2^24) codes whole tensors under tables that both sides
  know before the first symbol: network weights, features of NeCGS, and PCGCv2's features under the tables that ship
  with its weights. Every table has the one format of :mod:`~gcbench.entropy.tables`. A tensor is one call. Huffman
  codes (:mod:`~gcbench.entropy.huffman`) have the same interface, :class:`~gcbench.entropy.coder.Coder`.
- :mod:`~gcbench.entropy.adaptive` (numba, chances of 2^16) codes one decision after the other, where the next chance
  depends on what has just been coded: octree occupancy (:mod:`~gcbench.entropy.octree`) and features at voxels
  (:mod:`~gcbench.entropy.voxel_features`), both with the learning contexts of :mod:`~gcbench.entropy.mixing`.
  A call of constriction for each decision takes eight times as long (0.66 µs to 0.08 µs), and would have the contexts
  run in Python as well.
"""
