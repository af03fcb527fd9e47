"""What went wrong in a worker, named: whose fault it is, and whether the call is worth repeating."""

from __future__ import annotations

import errno
import math

from gcbench.bench.run.process import (
    CallFailed,
    DeadlineExceeded,
    Limits,
    MemoryExceeded,
    TemplateFailed,
    WorkerDied,
    WorkerError,
)
from gcbench.bench.store.records import Stage, Status
from gcbench.errors import StoreError

# A call whose worker a person killed is repeated: not the codec's fault until it happens again and again. A call whose
# worker the kernel killed for memory is repeated once: another process may have been the one that needed too much.
OUTSIDE_KILL_RETRIES, OOM_RETRIES = 5, 1


class UnitFailure(Exception):
    """A stage of a unit did not succeed."""

    def __init__(self, status: Status, stage: Stage, error: str, kind: str = "") -> None:
        super().__init__(error)
        self.status = status
        self.stage = stage
        self.error = error
        self.kind = kind  # class of the exception that was raised in the worker, if one was


def of_deaths(stage: Stage, deaths: list[WorkerDied]) -> UnitFailure | None:
    """What the deaths of a call's workers, one after the other, come to; None if the call is to be repeated."""
    if sum(death.out_of_memory for death in deaths) > OOM_RETRIES:
        return UnitFailure("out-of-memory", stage, str(deaths[-1]))
    if not deaths[-1].from_outside or len(deaths) > OUTSIDE_KILL_RETRIES:
        return UnitFailure("crashed", stage, str(deaths[-1]))
    return None


def of_error(stage: Stage, error: WorkerError, limits: Limits, took: str | None) -> Exception:
    """What an error of a call comes to; ``took`` says how long a coding took where a part of it met the limit."""
    if isinstance(error, DeadlineExceeded):
        return UnitFailure("timeout", stage, took or str(error))
    if isinstance(error, MemoryExceeded):
        assert limits.memory_bytes is not None  # it was met
        more = math.ceil(1.5 * limits.memory_bytes / 2**30)
        return UnitFailure("out-of-memory", stage, f"{error}; to try with more: --memory {more} (GiB)")
    if isinstance(error, TemplateFailed):
        return StoreError(str(error))
    if isinstance(error, CallFailed):
        return _verdict(stage, error)
    return UnitFailure("crashed", stage, str(error))


def _verdict(stage: Stage, error: CallFailed) -> Exception:
    """Name an exception of a worker; a machine at fault stops the run instead of blaming the codec."""
    if error.kind == "StoreError":
        return StoreError(error.message)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreError(f"no disk space while trying to {stage}: {error.message}")
    if error.kind == "CodecTimeout":
        return UnitFailure("timeout", stage, error.message)
    if error.kind == "MemoryError":
        return UnitFailure("out-of-memory", stage, "the codec ran out of memory")
    return UnitFailure("failed", stage, str(error), error.kind)


def of_suite(failure: UnitFailure) -> tuple[Status, str]:
    """Say whose fault a measurement's failure is: the codec's, the input's, or that of nobody who is ranked."""
    if failure.stage == "decode":
        return "crashed", f"decoding the kept stream again failed: {failure.error}"
    if failure.status != "failed":
        return failure.status, failure.error
    of_kind: dict[str, Status] = {"CodecFailed": "failed", "BadMesh": "bad-input"}
    return of_kind.get(failure.kind, "crashed"), failure.error
