"""Postprocessing that needs statistics of the whole result: done in memory, when all tiles are computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuromancer.dense.processing.apply import dtype_after
from neuromancer.dense.processing.source import ArrayVolume, measured, names_of, processed_whole
from neuromancer.dense.processing.steps import Step, reduced_axes
from neuromancer.dense.reduction import Reduction
from neuromancer.errors import ArgumentError

PARTIAL = ("roi", "mask", "skip_empty")
"""Options that leave voxels out, of which the statistics would be."""


def split_steps(steps: Sequence[Step]) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Divide steps into those for single blocks, and those from the first one that needs statistics.

    Examples
    --------
    >>> from neuromancer.dense.processing.steps import steps_of
    >>> split_steps(steps_of(["sigmoid", "scale_range", ("clip", {"max": 1})], "postprocess"))
    (('sigmoid',), ('scale_range', ('clip', {'max': 1.0})))
    """
    first = next((k for k, step in enumerate(steps) if step.measured), len(steps))
    return tuple(steps[:first]), tuple(steps[first:])


@dataclass(frozen=True)
class WholeResult:
    """Steps for a whole result in memory, and the reductions after them.

    Parameters
    ----------
    steps : tuple of Step
    reductions : tuple of Reduction
        Per node.
    """

    steps: tuple[Step, ...]
    reductions: tuple[Reduction, ...]

    @classmethod
    def checked(
        cls,
        steps: tuple[Step, ...],
        reductions: tuple[Reduction, ...],
        outs: Any,
        options: Mapping[str, Any],
        skip: bool = False,
    ) -> WholeResult:
        """Raise ArgumentError for options with which the whole result is not in memory."""
        found = cls(steps, reductions)
        for key in PARTIAL:
            found.require_complete(key, options.get(key) is not None)
        found.require_complete("on_error", skip, "'skip'")
        found.require_complete("out", outs is not None, "a store")
        return found

    def require_complete(self, option: str, left_out: bool, got: str = "a part of the result") -> None:
        """Raise ArgumentError if an option leaves voxels out of the result, or the result out of memory."""
        if left_out:
            raise ArgumentError(
                f"the step {self.steps[0].name!r} needs statistics of the whole result, complete and in memory",
                where=option,
                got=got,
                expected=f"no {option}; or steps without statistics, and these on the stored result",
            )

    def check(self, features: int, dtype: Any, axes: Sequence[str], m: int) -> None:
        """Raise ArgumentError if the steps or the reduction do not fit the result of the m-th node."""
        for step in self.steps:
            if step.measured:
                reduced_axes(step, axes, "postprocess")
        kind = dtype_after(self.steps, features, dtype)
        self.reductions[m].stored(features, kind, len(axes) - 1)

    def apply(self, results: Sequence[np.ndarray], image: Any, spatial: str) -> list[np.ndarray]:
        """Return the final results.

        Parameters
        ----------
        results : sequence of numpy.ndarray, (f, [z of a stack,] *space)
            Per node.
        image : Volume
            The unprocessed image.
        spatial : str
            Names of the spatial axes.

        Raises
        ------
        ArgumentError
            If statistics of the image per channel or position do not fit the result.
        """
        axes = names_of(image.shape, spatial)
        done = []
        for values, reduction in zip(results, self.reductions, strict=True):
            statistics = measured(self.steps, ArrayVolume(values), axes, image, axes, "postprocess")
            values = processed_whole(values, self.steps, statistics)
            stacked = values if values.ndim == len(spatial) + 2 else values[:, None]
            reduced = reduction.apply(stacked)
            done.append(reduced if reduced.ndim == values.ndim else reduced[:, 0])
        return done
