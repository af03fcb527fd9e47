"""Files of tensors: the checkpoints of trainings, and the atomic write that weights share with them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gcbench.errors import BenchError, UsageError

State = dict[str, Any]
"""What the rest of a training depends on: a tree of dicts with strings as keys; its leaves are tensors or JSON values.

Example: ``{"decoder": decoder.state_dict(), "adam": adam_state(adam), "step": 7, "best": None}``.
"""

_SEPARATOR = "/"  # of keys in the name of a tensor; names of parameters have dots


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file under a temporary name, then rename it: a reader never sees half a file.

    Raises
    ------
    BenchError
        The file cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, unfinished, dict(metadata))
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except (OSError, SafetensorError) as error:
        raise BenchError(f"cannot write {path}: {error}") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a safetensors file.

    Raises
    ------
    OSError, SafetensorError
        The file is missing, or is not a whole safetensors file.
    """
    with safe_open(path, "pt") as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})


def write(path: Path, identity: str, state: State) -> None:
    """Write a checkpoint.

    Parameters
    ----------
    path : Path
        Its folder is made if it is missing.
    identity : str
        Says which training the checkpoint is of: everything that decides the result, or a digest of that.
    state : dict
        See :data:`State`.

    Raises
    ------
    BenchError
        The file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    tree = _split(state, (), tensors)
    write_tensors(path, tensors, {"identity": identity, "state": json.dumps(tree)})


def read(path: Path) -> tuple[str, State]:
    """Read the identity and the state of a checkpoint.

    Raises
    ------
    UsageError
        The file is torn, or is not a checkpoint.
    """
    try:
        tensors, metadata = read_tensors(path)
        state: State = json.loads(metadata["state"])
        for name, tensor in tensors.items():
            *parents, leaf = name.split(_SEPARATOR)
            node = state
            for parent in parents:
                node = node[parent]
            node[leaf] = tensor
        return metadata["identity"], state
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise UsageError(f"{path} is not a whole checkpoint of a training; delete it to start anew") from error


def fill(tensor: Tensor, kept: Tensor) -> None:
    """Copy a kept tensor into one of the same shape, on whatever device and in whatever layout that is.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if tensor.shape != kept.shape:
        raise ValueError(f"a tensor of shape {tuple(kept.shape)}, not {tuple(tensor.shape)}")
    with torch.no_grad():
        tensor.copy_(kept)


def adam_state(adam: torch.optim.Adam) -> State:
    """Moments and number of steps of each parameter; learning rates are not part of it.

    The keys of the first level are the numbers of the parameters, as strings, in the order of the groups.
    """
    return {str(index): dict(entry) for index, entry in adam.state_dict()["state"].items()}


def restore_adam(adam: torch.optim.Adam, state: State) -> None:
    """Inverse of :func:`adam_state`.

    Raises
    ------
    KeyError, ValueError
        The state is of other parameters.
    """
    parameters = [parameter for group in adam.param_groups for parameter in group["params"]]
    restored: dict[int, dict[str, Tensor]] = {}
    for index, entry in state.items():
        parameter = parameters[int(index)] if int(index) < len(parameters) else None
        if parameter is None:
            raise KeyError(f"moments of parameter {index} of {len(parameters)}")
        # The fused Adam walks through memory: moments need the layout of their parameter, e.g. channels last.
        moments = {name: torch.empty_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        for name, moment in moments.items():
            fill(moment, entry[name])
        restored[int(index)] = {"step": entry["step"].clone(), **moments}
    adam.load_state_dict({"state": restored, "param_groups": adam.state_dict()["param_groups"]})


def _split(tree: Any, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    """Move the tensors of a tree into ``tensors``, and leave None in their places."""
    if isinstance(tree, Tensor):
        tensors[_SEPARATOR.join(path)] = tree
        return None
    if isinstance(tree, Mapping):
        return {key: _split(value, (*path, key), tensors) for key, value in tree.items()}
    return tree
