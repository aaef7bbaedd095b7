"""A volume as the steps make it, computed block by block when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuromancer.casts import exact_cast
from neuromancer.dense.cache import CachedSource
from neuromancer.dense.processing.apply import Statistics, apply_step, dtype_after
from neuromancer.dense.processing.statistics import Volume, moments, quantiles
from neuromancer.dense.processing.steps import Step, reduced_axes
from neuromancer.dense.stores import fingerprint_of, reopen_source
from neuromancer.errors import ArgumentError, InputTypeError
from neuromancer.masked import unmasked


def names_of(shape: Sequence[int], spatial: str) -> list[str]:
    """Return the names of the axes of an image (f, [z of a stack,] *spatial); images of a stack are axes b and z."""
    return ["f", *(["bz"] if len(shape) == len(spatial) + 2 else []), *spatial]


class ProcessedSource:
    """A source whose values go through some steps.

    Statistics of the whole image are measured by :meth:`measure`, or given; without them, no block can be read.

    Parameters
    ----------
    source : Source
        The unprocessed image.
    steps : sequence of Step
    spatial : str
        Names of the network's spatial axes.
    dtype : numpy dtype, optional
        Dtype of the result; default: that which the steps give.
    statistics : list of tuple of numpy.ndarray, optional
        Per step.

    Raises
    ------
    ArgumentError
        If a step does not fit the axes or channels of the image.
    """

    def __init__(
        self,
        source: Any,
        steps: Sequence[Step],
        spatial: str,
        dtype: Any = None,
        statistics: Sequence[Statistics] | None = None,
    ) -> None:
        self.source, self.steps, self.names = source, tuple(steps), spatial
        self.shape = tuple(source.shape)
        self.axes = names_of(self.shape, spatial)
        for step in self.steps:
            if step.measured is not None:
                reduced_axes(step, self.axes, "preprocess")
        given = np.dtype(source.dtype)
        if given.kind not in "biuf":
            raise InputTypeError("not an image of numbers", where="raw", got=str(given), expected="numbers")
        found = dtype_after(self.steps, self.shape[0], given)
        self.dtype = found if dtype is None else np.dtype(dtype)
        self.statistics = None if statistics is None else [tuple(own) for own in statistics]

    def __getattr__(self, name: str) -> Any:
        # Voxel size, unit and other metadata are those of the image.
        if name.startswith("_") or name == "source":
            raise AttributeError(name)
        return getattr(self.source, name)

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        assert self.statistics is not None, "statistics have not been measured"
        block = np.asarray(unmasked(self.source[where], "image"))
        return exact_cast(
            processed(block, self.steps, self.statistics, where), self.dtype, "preprocess", "the processed image"
        )

    @property
    def locator(self) -> ProcessedLocator | None:
        """For other processes, with the statistics; None if they cannot open the image."""
        if self.source.locator is None:
            return None
        return ProcessedLocator(self.source.locator, self.steps, self.names, self.dtype.name, self.statistics)

    def over(self, source: Any) -> ProcessedSource:
        """Return the same steps over another view of the image, such as a cache."""
        return ProcessedSource(source, self.steps, self.names, self.dtype, self.statistics)

    @property
    def is_measured(self) -> bool:
        """Whether any step needs statistics."""
        return any(step.measured for step in self.steps)

    def fits(self, statistics: Sequence[Statistics]) -> bool:
        """Return whether arrays can be statistics of this image: as many per step, finite, and of its sizes or 1."""
        return len(statistics) == len(self.steps) and all(
            len(own) == step.arrays
            and all(a.ndim == len(self.shape) and np.isfinite(a).all() for a in own)
            and all(n in (1, size) for a in own for n, size in zip(a.shape, self.shape, strict=True))
            for step, own in zip(self.steps, statistics, strict=True)
        )

    def measure(self) -> None:
        """Measure the statistics of the whole image that the steps need; one or several passes over it.

        Raises
        ------
        PredictionError
            If a value is not finite.
        """
        if self.statistics is None:
            self.statistics = measured(self.steps, self.source, self.axes, self.source, self.axes, "preprocess")

    def fingerprint(self) -> str:
        """Return that of the image, with the steps."""
        return f"{fingerprint_of(self.source)} {' '.join(step.label for step in self.steps)}"

    def close(self) -> None:
        """Close the image."""
        self.source.close()


def with_cache(source: Any, nbytes: int) -> Any:
    """Return a source with a cache of `nbytes`, of unprocessed blocks; the source itself if that is 0."""
    if not nbytes:
        return source
    if isinstance(source, ProcessedSource):
        return source.over(CachedSource(source.source, nbytes))
    return CachedSource(source, nbytes)


@dataclass(frozen=True)
class ProcessedLocator:
    """Location of a processed image, with everything to open it in another process."""

    source: Any
    steps: tuple[Step, ...]
    spatial: str
    dtype: str
    statistics: list[Statistics] | None

    def open(self) -> ProcessedSource:
        """Open the image, and process it."""
        return ProcessedSource(reopen_source(self.source), self.steps, self.spatial, self.dtype, self.statistics)


class _Partly:
    """A volume after the first steps, for the statistics of the next."""

    def __init__(self, volume: Any, steps: Sequence[Step], statistics: Sequence[Statistics]) -> None:
        self.volume, self.steps, self.statistics = volume, steps, statistics
        self.shape, self.chunks = tuple(volume.shape), getattr(volume, "chunks", None)
        self.dtype = dtype_after(steps, self.shape[0], volume.dtype)

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        return processed(np.asarray(unmasked(self.volume[where], "image")), self.steps, self.statistics, where)


def processed(
    block: np.ndarray, steps: Sequence[Step], statistics: Sequence[Statistics], where: tuple[slice, ...]
) -> np.ndarray:
    """Return a block after some steps.

    Parameters
    ----------
    block : numpy.ndarray, (f, ..., *space)
    steps : sequence of Step
    statistics : sequence of tuple of numpy.ndarray
        Per step, of the whole volume.
    where : tuple of slice
        Place of the block in the volume.
    """
    for step, own in zip(steps, statistics, strict=True):
        here = [a[tuple(s if n > 1 else slice(None) for s, n in zip(where, a.shape, strict=True))] for a in own]
        block = apply_step(step, block, tuple(here))
    return block


def measured(
    steps: Sequence[Step], volume: Any, axes: Sequence[str], image: Any, image_axes: Sequence[str], where: str
) -> list[Statistics]:
    """Measure the statistics that some steps need of a volume.

    Parameters
    ----------
    steps : sequence of Step
    volume : Volume
        What the first step is applied to.
    axes : sequence of str
        Names of its axes.
    image : Volume
        The unprocessed image, for steps that refer to it.
    image_axes : sequence of str
    where : str
        For errors.

    Returns
    -------
    list of tuple of numpy.ndarray
        Per step; empty for those that need none.
    """
    found: list[Statistics] = []
    for k, step in enumerate(steps):
        own: Statistics = ()
        if step.looks_at_result:
            # Of an image, as in bioimageio.core, all steps take the statistics that it has before the first.
            before = image if volume is image else _Partly(volume, steps[:k], found)
            own = _statistics(step, before, reduced_axes(step, axes, where), f"{where}, {step.name}")
        if step.looks_at_image:
            own += _statistics(step, image, reduced_axes(step, image_axes, where), f"{where}, {step.name}")
        found.append(own)
    return found


def _statistics(step: Step, volume: Volume, reduced: Sequence[int], where: str) -> Statistics:
    if step.measured == "moments":
        return moments(volume, reduced, where)
    # The reference implementation of bioimage.io clips at a value of the image, where it does so per image.
    alone = step.name == "clip" and step["axes"] is not None and "b" not in step["axes"]
    return tuple(quantiles(volume, reduced, step.fractions, where, "inverted_cdf" if alone else "linear"))


class ArrayVolume:
    """An array in memory as a volume.

    Parameters
    ----------
    array : numpy.ndarray, (f, ..., *space)
    """

    chunks = None

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        return self.array[where]


def process_array(
    array: np.ndarray, steps: Sequence[Step], axes: Sequence[str], image: np.ndarray, image_axes: Sequence[str]
) -> np.ndarray:
    """Return an array in memory after some steps.

    Parameters
    ----------
    array : numpy.ndarray, (f, ..., *space)
    steps : sequence of Step
    axes : sequence of str
        Names of its axes.
    image : numpy.ndarray
        The unprocessed image.
    image_axes : sequence of str
    """
    volume = ArrayVolume(array)
    raw = volume if image is array else ArrayVolume(image)
    stage = "preprocess" if image is array else "postprocess"
    statistics = measured(steps, volume, axes, raw, image_axes, stage)
    return processed_whole(array, steps, statistics)


def processed_whole(array: np.ndarray, steps: Sequence[Step], statistics: Sequence[Statistics]) -> np.ndarray:
    """Return a whole result after some steps.

    Raises
    ------
    ArgumentError
        If statistics of the image per channel or position do not fit the result.
    """
    for step, own in zip(steps, statistics, strict=True):
        wrong = next((a for a in own if not _fits(a.shape, array.shape)), None)
        if wrong is not None:
            raise ArgumentError(
                "statistics of the image do not fit the result",
                where=f"postprocess, {step.name}",
                got=f"shape {wrong.shape}",
                expected=f"sizes 1 or those of the result, {array.shape}; fewer separate axes",
            )
    return processed(array, steps, statistics, tuple(slice(0, n) for n in array.shape))


def _fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(shape) == len(wanted) and all(n in (1, m) for n, m in zip(shape, wanted, strict=True))
