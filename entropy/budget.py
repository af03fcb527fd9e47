"""What decoding one stream may cost, and what a stream has declared so far.

A stream of 92 bytes can declare a volume of 34 GB. Each field of such a stream may be within its bounds; the product
of the fields is not. So a decoder computes what it is about to do from the fields alone, and calls :meth:`Work.spend`
before it allocates or computes anything:

>>> work = Work(Budget(voxels=128**3))
>>> work.spend(voxels=64**3)
>>> work.spend(voxels=128**3)
Traceback (most recent call last):
gcbench.errors.BitstreamError: the stream declares 2359296 voxels; the limit is 2097152
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from gcbench.errors import BitstreamError


@dataclass(frozen=True)
class Budget:
    """The most that decoding one stream may take.

    Parameters
    ----------
    memory : int
        Bytes of arrays that are held at one time.
    voxels : int
        Voxels, of all volumes and all meshes of the stream.
    multiply_adds : int
        Multiply-adds of networks. One core does some 10^10 a second.
    meshes : int
        Meshes in the stream.
    triangles : int
        Triangles of one decoded mesh.
    """

    memory: int = 256 << 20
    voxels: int = 1 << 26
    multiply_adds: int = 10**12
    meshes: int = 1 << 14
    triangles: int = 1 << 23


_LABELS = {"memory": "bytes of memory", "multiply_adds": "multiply-adds"}


class Work:
    """Sum of what one stream declares, held against a budget."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._spent = dict.fromkeys((field.name for field in fields(budget)), 0)

    def spend(
        self, *, memory: int = 0, voxels: int = 0, multiply_adds: int = 0, meshes: int = 0, triangles: int = 0
    ) -> None:
        """Add what the decoder is about to do; call this before the decoder spends memory or time.

        Parameters
        ----------
        memory, voxels, multiply_adds, meshes : int
            Products of all fields that determine the amount, see :class:`Budget`. They are Python integers: NumPy's
            would overflow.
        triangles : int
            Of one mesh: this amount is not added to those of other meshes.

        Raises
        ------
        BitstreamError
            The sum exceeds the budget.
        """
        self._spent["triangles"] = 0
        more = (("memory", memory), ("voxels", voxels), ("multiply_adds", multiply_adds), ("meshes", meshes))
        for name, amount in (*more, ("triangles", triangles)):
            self._spent[name] += int(amount)
            check_budget(_LABELS.get(name, name), self._spent[name], getattr(self.budget, name))


def check_budget(what: str, amount: int, most: int) -> None:
    """Refuse a stream that declares more than a decoder may process; call this before the decoder spends resources.

    Parameters
    ----------
    what : str
        Name of the counted things, in the plural: "voxels".
    amount : int
        Product of all fields that determine the amount; this may be too large though each field is within its bounds.
    most : int
        Largest accepted amount.

    Raises
    ------
    BitstreamError
        The amount is larger.
    """
    if amount > most:
        raise BitstreamError(f"the stream declares {amount} {what}; the limit is {most}")
