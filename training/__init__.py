"""Training: one loop with checkpoints, quantisers whose gradients pass, and networks that several codecs train."""
