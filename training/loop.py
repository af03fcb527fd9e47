"""The loop around every training: checkpoints, progress, a deadline, and the end of what diverges.

What one step does is the business of a :class:`Trainable`.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from pathlib import Path
from typing import Protocol

from torch import Tensor

from gcbench.errors import CodecFailed, UsageError
from gcbench.training import checkpoints
from gcbench.training.checkpoints import State
from gcbench.training.progress import Progress, silent
from gcbench.training.ranks import ALONE, Ranks

log = logging.getLogger(__name__)

CHECKPOINT_EVERY_S = 30.0  # so that little is lost; one takes some 20 ms
REPORT_EVERY_S = 1.0


class Trainable(Protocol):
    """A training between two steps."""

    step: int
    """Steps that are done; may grow by more than one in a step that leaves others out."""
    steps: int
    """Steps in all."""

    def advance(self) -> Tensor:
        """Do one step and return its loss: a scalar, or one for each of several networks."""

    def state(self) -> State:
        """Everything that the rest of the training depends on. Its tensors may be the training's own."""

    def restore(self, state: State) -> None:
        """Go to a state that :meth:`state` gave, perhaps in another process.

        Raises
        ------
        KeyError, IndexError, TypeError, ValueError, RuntimeError
            The state is of another training. The loop then goes back to the state before.
        """


def run(
    training: Trainable,
    identity: str = "",
    *,
    checkpoint: Path | None = None,
    anew: bool = False,
    progress: Progress = silent,
    every_s: float | None = None,
    deadline: float = math.inf,
    ranks: Ranks = ALONE,
) -> bool:
    """Train to the end, or to the deadline.

    Parameters
    ----------
    training : Trainable
        As it is before its first step.
    identity : str
        Everything that decides the result, or a digest of that: two runs with the same may share a checkpoint.
    checkpoint : Path, optional
        File from which training goes on if it is there. It is replaced now and then, when ``progress`` raises, at the
        deadline, and at the end. An interrupted training ends with the same bits as an uninterrupted one.
    anew : bool
        Whether a checkpoint that is torn or of another training is replaced, with a warning in the log. Else it is
        refused: it may be the work of days, and the settings a slip of the hand.
    progress : callable
        Takes the fraction done and a message with loss and time left, at most once a second; may raise, to stop.
    every_s : float, optional
        Seconds between checkpoints; `CHECKPOINT_EVERY_S` if not given.
    deadline : float
        Reading of ``time.monotonic()`` after which to stop; at least one step is done.
    ranks : Ranks
        The processes that train together. Each calls this function; the first one reports and writes, and
        :meth:`Trainable.state` is asked of all at the same step. Where there are several, what ``progress`` stops is
        not saved.

    Returns
    -------
    bool
        Whether all steps are done.

    Raises
    ------
    CodecFailed
        The loss is not finite.
    UsageError
        The checkpoint is refused.
    BenchError
        The checkpoint cannot be written.
    """
    if checkpoint and checkpoint.exists():
        _go_on(training, identity, checkpoint, anew=anew)
    every_s = CHECKPOINT_EVERY_S if every_s is None else every_s
    first, began = training.step, time.monotonic()
    saved, told = began, -math.inf
    while training.step < training.steps:
        losses = training.advance()
        now = time.monotonic()
        stop = (math.isfinite(deadline) and ranks.any(now >= deadline)) or training.step == training.steps
        save = checkpoint is not None and (ranks.any(now - saved >= every_s) or stop)
        tell = ranks.rank == 0 and (now - told >= REPORT_EVERY_S or stop)
        if tell or save or stop:  # reading the loss waits for the device
            loss = _finite(losses, training.step)
        if tell:
            told = now
            left = (now - began) / (training.step - first) * (training.steps - training.step)
            minutes, seconds = divmod(round(left), 60)
            try:
                progress(training.step / training.steps, f"loss {loss:.4g}, {minutes}:{seconds:02d} left")
            except BaseException:
                if checkpoint and ranks.count == 1:
                    checkpoints.write(checkpoint, identity, training.state())
                raise
        if save and checkpoint:
            saved = now
            state = training.state()
            if ranks.rank == 0:
                checkpoints.write(checkpoint, identity, state)
        if stop:
            break
    return training.step == training.steps


def _go_on(training: Trainable, identity: str, checkpoint: Path, *, anew: bool) -> None:
    """Restore a checkpoint; one that cannot be used leaves the training as it was."""
    before = copy.deepcopy(training.state())
    try:
        _restore(training, identity, checkpoint)
    except UsageError as error:
        training.restore(before)
        if not anew:
            raise
        log.warning("training starts anew: %s", error)
    else:
        log.info("going on from %s, step %d of %d", checkpoint, training.step, training.steps)


def _restore(training: Trainable, identity: str, checkpoint: Path) -> None:
    found, state = checkpoints.read(checkpoint)
    if found != identity:
        raise UsageError(f"{checkpoint} is a checkpoint of other inputs or settings; delete it to start anew")
    try:
        training.restore(state)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{checkpoint} does not fit the training; delete it to start anew") from error


def _finite(losses: Tensor, step: int) -> float:
    """Mean of the losses."""
    values = losses.detach().reshape(-1).cpu()
    finite = values.isfinite()
    if not finite.all():
        worst = int(finite.int().argmin())
        of = f" of network {worst} of {len(values)}" if len(values) > 1 else ""
        raise CodecFailed(f"training diverged: the loss{of} is {values[worst].item()} at step {step}")
    return values.mean().item()
