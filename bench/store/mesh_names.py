"""Which meshes the datasets of a run have, so that tables do not count deleted and renamed meshes.

The file ``RUN/meshes.json`` has the names of all meshes of each dataset and split, as the last plan found them:

    {"parts/all": ["bracket", "old/flange"]}

A dataset that is not in the file has no such meshes: the run was made by other code, or came from several machines.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence

from gcbench.bench.store import safe_files
from gcbench.bench.store.results import Results
from gcbench.bench.store.run import Run
from gcbench.errors import StoreError

FILE = "meshes.json"
_MOST_BYTES = 256 << 20
_log = logging.getLogger(__name__)

Names = Mapping[str, tuple[str, ...]]  # "dataset/split" → names of meshes


def keep_names(run: Run, names: Names) -> None:
    """Write down which meshes some datasets have now; other datasets of the run stay as they are.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    before = read_names(run)
    now = {**before, **names}
    if now != before:
        _write(run, now)


def join_names(run: Run, others: Sequence[Run]) -> None:
    """After a merge: a mesh that one of the runs knows is there. Raises StoreError."""
    found = [read_names(one) for one in (run, *others)]
    if not any(found):
        return
    unknown = {
        name
        for one, its in zip(others, found[1:], strict=True)
        for name in {f"{coding.dataset}/{coding.split}" for coding in one.codings()} - set(its)
    }
    joined = {
        name: tuple(dict.fromkeys(mesh for its in found for mesh in its.get(name, ())))
        for name in dict.fromkeys(name for its in found for name in its)
        if name not in unknown
    }
    if joined != found[0]:
        _write(run, joined)


def read_names(run: Results) -> dict[str, tuple[str, ...]]:
    """The names that the run has; a file that is missing or damaged has none."""
    path = run.path / FILE
    try:
        found = json.loads(safe_files.read_file(path, _MOST_BYTES))
    except FileNotFoundError:
        return {}
    except (StoreError, ValueError, RecursionError) as error:
        _log.warning("%s is ignored: %s", path, error)
        return {}
    if not isinstance(found, dict) or not all(
        isinstance(its, list) and all(isinstance(mesh, str) for mesh in its) for its in found.values()
    ):
        _log.warning("%s is ignored: it is no object of lists of names", path)
        return {}
    return {name: tuple(its) for name, its in found.items()}


def _write(run: Run, names: Names) -> None:
    text = json.dumps({name: list(its) for name, its in names.items()}, indent=0)
    safe_files.write_file(run.path / FILE, text.encode())
