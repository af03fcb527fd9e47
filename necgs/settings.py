"""What can be chosen about every compression, whichever its design: the effort, and how volumes are fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar, get_args

from gcbench.errors import UsageError

Effort = Literal["quick", "standard", "paper"]
Coder = Literal["range", "huffman"]
Objective = Literal["closest-point", "render", "none"]

RESOLUTIONS = (32, 64, 128, 256)
#: K of an effort: ``quick`` shows in minutes on two cores that everything works, ``standard`` takes an hour or so, and
#: ``paper`` has the published settings, which want a GPU.
EFFORT_RESOLUTION: Mapping[Effort, int] = {"quick": 32, "standard": 64, "paper": 128}
T = TypeVar("T")


def effort_objective(effort: Effort, objective: str = "") -> Objective:
    """What volumes are fitted to at an effort, or an objective that was chosen.

    Raises
    ------
    UsageError
        There is no such objective.
    """
    own: Objective = "render" if effort == "paper" else "closest-point"
    return one_of("objective", objective, get_args(Objective)) if objective else own


def one_of(what: str, value: object, possible: tuple[T, ...]) -> T:
    """The one of some values that a choice is.

    Raises
    ------
    UsageError
        It is none of them.
    """
    for one in possible:
        if one == value:
            return one
    raise UsageError(f"{what}={value}: possible are {', '.join(str(one) for one in possible if one)}")
