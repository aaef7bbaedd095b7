"""Postprocessing of predictions before they are stored: reductions, fill value, NaN check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neuromancer.dense.arguments import checked_choice
from neuromancer.dense.processing.steps import Step
from neuromancer.dense.reduction import Reduction, reduction
from neuromancer.errors import ArgumentError


@dataclass(frozen=True)
class Postprocess:
    """Postprocessing of the values of a tile.

    Parameters
    ----------
    reductions : tuple of Reduction
        Per node.
    fill : float
        Value of voxels that are not predicted.
    check_nan : bool
        Raise if the prediction contains NaN.
    """

    reductions: tuple[Reduction, ...]
    fill: float = 0
    check_nan: bool = False

    @classmethod
    def checked(cls, reductions: tuple[Reduction, ...], fill: float, on_nan: Any, stored: bool) -> Postprocess:
        """Validate `on_nan`; by default, NaN is an error if the result is stored or scaled to integers."""
        checked_choice("on_nan", on_nan, (None, "error", "keep"))
        scaled = any(r.scales for r in reductions)
        if on_nan == "keep" and scaled:
            raise ArgumentError(
                "integers cannot represent NaN",
                where="on_nan",
                got="keep",
                expected="'error', or a floating point result",
            )
        return cls(reductions, fill, stored or scaled if on_nan is None else on_nan == "error")

    def filling(self, m: int) -> Any:
        """Return the stored value of voxels of a node that are not predicted."""
        return self.reductions[m].filling(self.fill)


def checked_reductions(
    reduce: Any, as_uint8: bool, names: Sequence[str], steps: Sequence[Step] = ()
) -> tuple[Reduction, ...]:
    """Return a reduction per node, after some steps; raise ArgumentError for other nodes, or for both arguments."""
    if as_uint8 and reduce is not None:
        raise ArgumentError("only one of the two can be given", where="reduce", got=f"{reduce!r} and as_uint8=True")
    if isinstance(reduce, dict):
        unknown = [name for name in reduce if name not in names]
        if unknown:
            raise ArgumentError("not among the predicted nodes", where="reduce", got=unknown, expected=list(names))
        return tuple(reduction(reduce.get(name)).after(steps) for name in names)
    return (reduction("uint8" if as_uint8 else reduce).after(steps),) * len(names)
