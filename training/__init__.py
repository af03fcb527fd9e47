"""Training: one loop for everything that is trained here, and what trainings share.

- ``loop``: :func:`~gcbench.training.loop.run` steps a ``Trainable``: checkpoints, progress, deadline, divergence.
- ``checkpoints``: the file of a state, and the state of torch's Adam. ``schedules``: the learning rate.
- ``ranks``: several processes that train together. ``precision``: bfloat16 or float32.
- ``networks``: many small networks at once, on points of their own, with an Adam that bounds each one's gradient.
- ``perceptrons``, ``fused``, ``fused_kernels``: such networks, and compiled loops for them.
- ``quantise``: Eq. 5's quantiser on arrays; ``straight_through``: on tensors, with gradients.
- ``weights``: files of trained weights, checked. ``weight_files``: their fingerprints, without torch.
- ``sparse``: sparse networks of voxels.
- ``progress``: what is called with the fraction done. It, ``quantise`` and ``precision`` are imported without torch.
"""
