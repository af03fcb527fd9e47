"""Where a network computes, and with how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

    Network = TypeVar("Network", bound=torch.nn.Module)


@contextmanager
def placed(network: Network, device: str, threads: int) -> Iterator[Network]:
    """Put a network on a device and let torch use some threads; afterwards torch has as many threads as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield network.to(device)
    finally:
        torch.set_num_threads(before)
