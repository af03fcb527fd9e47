"""Turn an error of a worker into the status of a unit, and decide whether the call is repeated."""

from __future__ import annotations

import errno
import math

from gcbench.bench.run.process import (
    CallFailed,
    CallLimits,
    DeadlineExceeded,
    MemoryExceeded,
    TemplateFailed,
    WorkerDied,
    WorkerError,
)
from gcbench.bench.store.records import Stage, Status
from gcbench.errors import StoreError

# A call is repeated if somebody killed its worker: the codec is blamed only when that happens again and again. It is
# repeated once if the kernel killed the worker for lack of memory: another process may have used too much.
OUTSIDE_KILL_RETRIES, OOM_RETRIES = 5, 1


class UnitFailure(Exception):
    """A stage of a unit failed."""

    def __init__(self, status: Status, stage: Stage, error: str, kind: str = "") -> None:
        super().__init__(error)
        self.status = status
        self.stage = stage
        self.error = error
        self.kind = kind  # class of the exception that was raised in the worker, or empty


def of_deaths(stage: Stage, deaths: list[WorkerDied]) -> UnitFailure | None:
    """The failure that follows from the deaths of a call's workers; None if the call is to be repeated."""
    if sum(death.out_of_memory for death in deaths) > OOM_RETRIES:
        return UnitFailure("out-of-memory", stage, str(deaths[-1]))
    if not deaths[-1].from_outside or len(deaths) > OUTSIDE_KILL_RETRIES:
        return UnitFailure("crashed", stage, str(deaths[-1]))
    return None


def of_error(stage: Stage, error: WorkerError, limits: CallLimits, took: str | None) -> Exception:
    """The exception that follows from an error of a call; ``took`` is the text for a deadline of the whole coding."""
    if isinstance(error, DeadlineExceeded):
        return UnitFailure("timeout", stage, took or str(error))
    if isinstance(error, MemoryExceeded):
        assert limits.memory_bytes is not None  # it was exceeded
        more = math.ceil(1.5 * limits.memory_bytes / 2**30)
        return UnitFailure("out-of-memory", stage, f"{error}; to try with more: --memory {more} (GiB)")
    if isinstance(error, TemplateFailed):
        return StoreError(str(error))
    if isinstance(error, CallFailed):
        return _verdict(stage, error)
    return UnitFailure("crashed", stage, str(error))


def _verdict(stage: Stage, error: CallFailed) -> Exception:
    """The exception for an error that a call raised: StoreError if the machine is at fault, which stops the run."""
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
    """Status and error of a measurement that failed. Only ``failed`` blames the codec."""
    if failure.stage == "decode":
        return "crashed", f"decoding the stored stream again failed: {failure.error}"
    if failure.status != "failed":
        return failure.status, failure.error
    of_kind: dict[str, Status] = {"CodecFailed": "failed", "BadMesh": "bad-input"}
    return of_kind.get(failure.kind, "crashed"), failure.error
