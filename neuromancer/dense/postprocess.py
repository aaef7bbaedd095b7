"""From the network's values to those that are stored: reductions, and what stands where nothing is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neuromancer.dense.arguments import checked_choice
from neuromancer.dense.reduction import Reduction, reduction
from neuromancer.errors import ArgumentError


@dataclass(frozen=True)
class Postprocess:
    """What is done with the values of a tile.

    Parameters
    ----------
    reductions : tuple of Reduction
        Per node.
    fill : float
        Value where nothing is predicted.
    check_nan : bool
        Raise where a value is not a number.
    """

    reductions: tuple[Reduction, ...]
    fill: float = 0
    check_nan: bool = False

    @classmethod
    def checked(cls, reductions: tuple[Reduction, ...], fill: float, on_nan: Any, stored: bool) -> Postprocess:
        """With `on_nan` as callers give it; by default NaN is an error where integers or stores would keep it."""
        checked_choice("on_nan", on_nan, (None, "error", "keep"))
        scaled = any(r.scales for r in reductions)
        if on_nan == "keep" and scaled:
            raise ArgumentError(
                "integers cannot hold what is not a number",
                where="on_nan",
                got="keep",
                expected="'error', or floating point",
            )
        return cls(reductions, fill, stored or scaled if on_nan is None else on_nan == "error")

    def filling(self, m: int) -> Any:
        """Value where nothing is predicted, as it is stored of a node."""
        return self.reductions[m].filling(self.fill)


def checked_reductions(reduce: Any, as_uint8: bool, names: Sequence[str]) -> tuple[Reduction, ...]:
    """A reduction per node; ArgumentError for nodes that are not predicted, or two ways at once."""
    if as_uint8 and reduce is not None:
        raise ArgumentError("only one of the two can be", where="reduce", got=f"{reduce!r} and as_uint8=True")
    if isinstance(reduce, dict):
        unknown = [name for name in reduce if name not in names]
        if unknown:
            raise ArgumentError("no such node is predicted", where="reduce", got=unknown, expected=list(names))
        return tuple(reduction(reduce.get(name)) for name in names)
    return (reduction("uint8" if as_uint8 else reduce),) * len(names)
