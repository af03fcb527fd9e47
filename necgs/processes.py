"""Work on the meshes of a set in several processes of one thread each."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from gcbench.errors import CodecFailed

K = TypeVar("K")
T = TypeVar("T")


def spread(function: Callable[..., T], arguments: Mapping[K, tuple[Any, ...]], workers: int) -> Iterator[tuple[K, T]]:
    """Results of a function, in the order in which they are ready.

    Parameters
    ----------
    function : callable
        Of a module, so that other processes find it.
    arguments : mapping
        Arguments by the name of the result.
    workers : int
        Processes; with 1 there is no other process.

    Raises
    ------
    CodecFailed
        A process was killed.
    """
    if workers == 1 or len(arguments) < 2:
        for name, values in arguments.items():
            yield name, function(*values)
        return
    # Not forked: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(arguments)), context, _one_thread)
    try:
        futures = {pool.submit(function, *values): name for name, values in arguments.items()}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise CodecFailed("a process that worked on the meshes was killed; is there enough memory for it?") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _one_thread() -> None:
    import torch

    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
