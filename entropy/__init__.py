"""Entropy coding: integers to bytes and back, and the container of every stream that gcbench defines.

There are two range coders:

- :mod:`~gcbench.entropy.range_coder` (constriction, tables of 2^24) codes a whole tensor in one call, under tables that
  both sides know before the first symbol: network weights, features of NeCGS, and PCGCv2's features under the tables
  that ship with its weights. All tables have the format of :mod:`~gcbench.entropy.tables`. Huffman codes
  (:mod:`~gcbench.entropy.huffman`) have the same interface, :class:`~gcbench.entropy.coder.Coder`.
- :mod:`~gcbench.entropy.adaptive` (numba, probabilities of 16 bits) codes one decision after the other, where the next
  probability depends on the previous decisions: octree occupancy (:mod:`~gcbench.entropy.octree`) and features at
  voxels (:mod:`~gcbench.entropy.voxel_features`), both with the contexts of :mod:`~gcbench.entropy.mixing`. A
  constriction call for each decision takes eight times as long (0.66 µs to 0.08 µs), with the contexts in Python too.
"""
