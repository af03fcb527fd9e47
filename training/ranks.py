"""One training on several processes, as torch's own launcher (``torchrun``) starts them.

With a single process, every function of this module does nothing.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """One process among those that train together.

    Parameters
    ----------
    rank, count : int
        Number of this process, and of all.
    device : torch.device
        Where this process computes.
    """

    rank: int
    count: int
    device: torch.device

    @classmethod
    def join(cls, device: str) -> Ranks:
        """Meet the other processes, if the environment says that there are any (``RANK``, ``WORLD_SIZE``)."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1 or "RANK" not in os.environ:
            return cls(0, 1, torch.device(device))
        own = torch.device(device)
        if own.type == "cuda":
            own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(own)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if own.type == "cuda" else "gloo")
            # Its threads must be gone before the interpreter is: gloo aborts otherwise, now and then.
            atexit.register(dist.destroy_process_group)
        return cls(dist.get_rank(), dist.get_world_size(), own)

    def own(self, count: int) -> range:
        """Which of ``count`` things this process keeps: every ``self.count``-th."""
        return range(self.rank, count, self.count)

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            dist.barrier()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process: all get the same answer."""
        if self.count == 1:
            return flag
        flags = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their sums over all processes."""
        parts = list(tensors)
        if self.count == 1 or not parts:
            return
        flat = torch.cat([part.reshape(-1) for part in parts])
        dist.all_reduce(flat)
        start = 0
        for part in parts:
            part.copy_(flat[start : start + part.numel()].view(part.shape))
            start += part.numel()

    def gather(self, own: Tensor, count: int) -> Tensor:
        """All of ``count`` rows, of which this process gives :meth:`own`, in order, on every process."""
        if self.count == 1:
            return own
        rows = -(-count // self.count)
        padded = own.new_zeros(rows, *own.shape[1:])
        padded[: len(own)] = own
        everyone = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(everyone, padded)
        return torch.stack(everyone, 1).flatten(0, 1)[:count].contiguous()


ALONE = Ranks(0, 1, torch.device("cpu"))
"""The only process of its training, which need not compute on the CPU."""
