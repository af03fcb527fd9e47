"""Designs of NeCGS by name and by tag, and what the command line can choose about each."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gcbench.errors import BitstreamError, UsageError
from gcbench.necgs.designs.base import Design, Plan
from gcbench.necgs.designs.convolution import Convolution
from gcbench.necgs.designs.latent_mlp import LatentMlp
from gcbench.necgs.designs.sparse import Sparse
from gcbench.necgs.settings import Coder, Effort
from gcbench.registry import split_address, typed

if TYPE_CHECKING:
    from gcbench.entropy.container import Fields, Writer

DESIGNS: dict[str, type[Design[Any]]] = {design.name: design for design in (Convolution, LatentMlp, Sparse)}


def named(name: str) -> type[Design[Any]]:
    """The design of a name.

    Raises
    ------
    UsageError
        There is none.
    """
    if name not in DESIGNS:
        raise UsageError(f"unknown design '{name}'; known: {', '.join(DESIGNS)}")
    return DESIGNS[name]


def plan(address: str, effort: Effort, coder: Coder = "range", **chosen: object) -> Plan[Any]:
    """What a design stands for at an effort.

    Parameters
    ----------
    address : str
        ``convolution``, or with choices of the design: ``latent_mlp[latent=16]``.
    effort : {"quick", "standard", "paper"}
    coder : {"range", "huffman"}
    **chosen
        Further choices; None is not chosen.

    Raises
    ------
    UsageError
        There is no such design, it has no such choice, or the choices make no network.
    """
    name, texts = split_address(address, "design")
    design = named(name)
    where = f"design '{name}'"
    known = choices(design)
    chosen = {key: value for key, value in chosen.items() if value is not None}
    if unknown := [key for key in chosen if key not in known]:
        raise UsageError(f"{where} has no choice '{unknown[0]}'; it has {', '.join(known)}")
    try:
        configuration, training = design.plan(effort, **{**typed(design.plan, texts, where), **chosen})
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
    return Plan(configuration, training, coder)


def choices(design: type[Design[Any]]) -> Mapping[str, object]:
    """What can be chosen about a design, with the defaults; 0 and "" are the effort's own."""
    parameters = inspect.signature(design.plan).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def write(design: Design[Any], writer: Writer) -> None:
    """Write tag and configuration."""
    design.write(writer.byte(design.tag))


def read(fields: Fields) -> Design[Any]:
    """Read what :func:`write` wrote.

    Raises
    ------
    BitstreamError
        An unknown tag, or a configuration that makes no decoder.
    """
    by_tag = {design.tag: design for design in DESIGNS.values()}
    tag = fields.byte("design")
    if tag not in by_tag:
        raise BitstreamError(f"the design of the stream has the tag {tag}, which this program does not know")
    try:
        return by_tag[tag].read(fields)
    except ValueError as error:
        raise BitstreamError(f"the header describes no decoder: {error}") from error
