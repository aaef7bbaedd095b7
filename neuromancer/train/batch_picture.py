"""A picture of a batch: raw data, and every other array at its place in the raw data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import GraphError
from neuromancer.files import write_whole
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.nodes.node import Node
from neuromancer.train.batches import on_grid
from neuromancer.train.plots import literal_text, png_of, require_matplotlib

CHANNELS, FEATURES = 3, 3
"""Number of channels of raw data, and of features of another array, that are shown."""
ALPHA = 0.45
WIDTH = 2.4
"""Width of a section in inches."""


@dataclass(frozen=True)
class Plane:
    """A section through a volume: two axes that are shown, and the middle of the others.

    Attributes
    ----------
    axes : tuple of int
        Indices of the spatial axes shown, vertical and horizontal.
    tags : str
        Their tags.
    """

    axes: tuple[int, int]
    tags: str


@dataclass(frozen=True)
class Layer:
    """An array of a batch and where it lies.

    Attributes
    ----------
    name : str
    values : numpy.ndarray, (b, f, *spatial)
    offset, stride : numpy.ndarray, (n_spatial,)
        Raw voxel of voxel 0, and distance of neighbouring voxels in raw voxels.
    """

    name: str
    values: np.ndarray
    offset: np.ndarray
    stride: np.ndarray

    def section(self, sample: int, feature: int, plane: Plane, point: np.ndarray) -> np.ndarray:
        """Return the section next to a point in raw coordinates, 2-D."""
        volume = self.values[min(sample, len(self.values) - 1), feature]
        place = np.rint((point - self.offset) / self.stride).astype(int)
        hidden = [k for k in range(volume.ndim) if k not in plane.axes]
        index = tuple(
            int(np.clip(place[k], 0, volume.shape[k] - 1)) if k in hidden else slice(None) for k in range(volume.ndim)
        )
        return volume[index]

    @property
    def has_classes(self) -> bool:
        """Whether the values are classes: integers, also in floats; NaN are ignored labels."""
        if self.values.dtype.kind in "iub":
            return True
        known = self.values[np.isfinite(self.values)]
        return self.values.shape[1] == 1 and known.size > 0 and bool((known == np.rint(known)).all())

    def extent(self, plane: Plane) -> tuple[float, float, float, float]:
        """Return left, right, bottom and top edge in raw coordinates."""
        edges = []
        for k in plane.axes[::-1]:
            first, n = self.offset[k] - self.stride[k] / 2, self.values.shape[2 + k]
            edges.append((float(first), float(first + n * self.stride[k])))
        (left, right), (top, bottom) = edges
        return left, right, bottom, top


def plot_batch(
    sources: Sequence[Node], batch: Sequence[Any], grid: TaggedShape | None, title: str, samples: int = 4
) -> Any:
    """Draw the samples of a batch: channels of the raw data, then every other array over the raw data.

    A 3-D sample is shown by three orthogonal sections through the middle of what is predicted. A frame is the outline
    of an array. Whole numbers are classes: 0 is transparent; negative labels and NaN, which are ignored, are grey. Of
    other arrays, up to three features are red, green and blue, or a single one is a scale of colours.

    Parameters
    ----------
    sources : sequence of Node
        Sources of the loss, of which the first one with spatial axes is the raw data.
    batch : sequence of array
        One per source.
    grid : TaggedShape, optional
        Shape of the prediction: an array with its sizes lies there, if its source does not say where it lies.
    title : str
    samples : int
        Maximum number of samples.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingDependencyError
        Without matplotlib.
    GraphError
        If there is no raw data with two or three spatial axes.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    raw, layers, texts = _layers(sources, batch, grid)
    planes, n = _planes(next(s for s in sources if has_image(s))), min(samples, len(raw.values))
    channels = min(raw.values.shape[1], CHANNELS)
    rows, columns = n * len(planes), channels + len(layers)
    heights = [min(max(_height(raw, plane), 0.2), 2.0) for plane in planes] * n
    size = (WIDTH * columns + 0.5, WIDTH * sum(heights) + 0.25 * rows + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
    point = _middle(layers[0] if layers else raw)
    for row in range(rows):
        sample, plane = divmod(row, len(planes))
        for column in range(columns):
            panel = axes[row, column]
            channel = column if column < channels else 0
            _draw_raw(panel, raw, sample, channel, planes[plane], point)
            if column < channels:
                name = f"{raw.name}" + (f", channel {channel}" if raw.values.shape[1] > 1 else "")
            else:
                name = layers[column - channels].name
                _draw_layer(panel, layers[column - channels], sample, planes[plane], point)
            panel.set_title(literal_text(name) if row == 0 else "", fontsize=9)
            panel.tick_params(labelsize=6)
        first = f"{literal_text(f'sample {sample}{texts[sample]}')}\n" if plane == 0 else ""
        axes[row, 0].set_ylabel(first + planes[plane].tags, fontsize=8)
    figure.suptitle(literal_text(title), fontsize=9)
    return figure


def has_image(source: Node) -> bool:
    """Whether a source has two or three spatial axes."""
    return source.shape is not None and source.shape.ndim in (2, 3)


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure as a PNG file, atomically."""
    write_whole(path, png_of(figure, 100))


def _layers(
    sources: Sequence[Node], batch: Sequence[Any], grid: TaggedShape | None
) -> tuple[Layer, list[Layer], list[str]]:
    """Return raw data, the arrays that lie in it, and for every sample a text of those that have no place."""
    spatial = [(s, np.asarray(a)) for s, a in zip(sources, batch, strict=True) if s.shape is not None]
    found = next((k for k, (s, _) in enumerate(spatial) if has_image(s)), None)
    if found is None:
        raise GraphError(
            "no images to show", where="show_batch", got=[repr(s.shape) for s, _ in spatial],
            expected="raw data with the axes y, x or z, y, x",
        )  # fmt: skip
    source, array = spatial.pop(found)
    raw = Layer(source.name, _arranged(array, source.shape), np.zeros(source.shape.ndim), np.ones(source.shape.ndim))
    layers, texts = [], [""] * len(raw.values)
    for other, array in spatial:
        if other.shape.ndim == raw.values.ndim - 2:
            values = _arranged(array, other.shape)
            shape = grid if grid is not None and _fits(values, other.shape, grid) else other.shape
            offsets = np.array([max(0, offset) for offset in shape.offsets], "float64")
            layers.append(Layer(other.name, values, offsets, np.array(shape.strides, "float64")))
        elif other.shape.hastag("b"):
            rows = np.moveaxis(array, other.shape.tag2index("b"), 0).reshape(len(raw.values), -1)
            texts = [f"{t}, {other.name} {_brief(row)}" for t, row in zip(texts, rows, strict=True)]
    return raw, layers, texts


def _fits(values: np.ndarray, shape: TaggedShape, grid: TaggedShape) -> bool:
    """Whether an array lies on the grid of the prediction: its source says so, or says nothing but has its sizes."""
    plain = all(f == 1 for f in shape.fov) and all(s == 1 for s in shape.strides)
    if not on_grid(shape, grid) and not (plain and shape.ndim == grid.ndim):
        return False
    return all(d in (None, n) for d, n in zip(grid.spatial_shape, values.shape[2:], strict=True))


def _brief(row: np.ndarray) -> str:
    return ", ".join(f"{v:g}" for v in row[:FEATURES]) + (", ..." if len(row) > FEATURES else "")


def _arranged(array: np.ndarray, shape: TaggedShape) -> np.ndarray:
    """Return an array with the axes b, f and the spatial ones in their order; of other axes, the first index."""
    tags, wanted = list(shape.tags), ["b", "f", *(t for t in shape.tags if t in "zyx")]
    for tag in [t for t in tags if t not in wanted]:
        array = array.take(0, axis=tags.index(tag))
        tags.remove(tag)
    for tag in [t for t in wanted if t not in tags]:
        array, tags = array[None], [tag, *tags]
    return np.transpose(array, [tags.index(t) for t in wanted])


def _planes(source: Node) -> list[Plane]:
    tags = [t for t in source.shape.tags if t in "zyx"]
    pairs = [(0, 1)] if len(tags) == 2 else [(1, 2), (0, 2), (0, 1)]
    return [Plane((a, b), tags[a] + tags[b]) for a, b in pairs]


def _height(raw: Layer, plane: Plane) -> float:
    """Return the height of a section relative to its width."""
    return float(raw.values.shape[2 + plane.axes[0]] / raw.values.shape[2 + plane.axes[1]])


def _middle(layer: Layer) -> np.ndarray:
    """Return the raw coordinate of the middle voxel."""
    return layer.offset + layer.stride * (np.array(layer.values.shape[2:]) // 2)


def _draw_raw(panel: Any, raw: Layer, sample: int, channel: int, plane: Plane, point: np.ndarray) -> None:
    image = raw.section(sample, channel, plane, point)
    values = raw.values[sample, channel]
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    panel.imshow(image, cmap="gray", vmin=low, vmax=high, extent=raw.extent(plane), interpolation="nearest")
    left, right, bottom, top = raw.extent(plane)
    panel.set(xlim=(left, right), ylim=(bottom, top))


def _draw_layer(panel: Any, layer: Layer, sample: int, plane: Plane, point: np.ndarray) -> None:
    from matplotlib.patches import Rectangle

    features = [layer.section(sample, f, plane, point) for f in range(min(layer.values.shape[1], FEATURES))]
    left, right, bottom, top = layer.extent(plane)
    image = _classes(features[0]) if layer.has_classes else _levels(features)
    limits = panel.get_xlim(), panel.get_ylim()
    panel.imshow(image, extent=(left, right, bottom, top), interpolation="nearest")
    panel.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="#ffd400", linewidth=0.8))
    panel.set(xlim=limits[0], ylim=limits[1])


def _classes(labels: np.ndarray) -> np.ndarray:
    """Return classes as RGBA, (y, x, 4)."""
    from matplotlib import colormaps

    colours = np.asarray(colormaps["tab10"](np.arange(10)))[:, :3]
    labels = np.where(np.isfinite(labels), labels, -1)
    image = np.zeros((*labels.shape, 4))
    image[..., :3] = colours[(labels.astype("int64") - 1) % len(colours)]
    image[..., 3] = np.where(labels == 0, 0.0, ALPHA)
    image[labels < 0] = (0.6, 0.6, 0.6, 0.8)
    return image


def _levels(features: list[np.ndarray]) -> np.ndarray:
    """Return one feature as a scale of colours, or several as red, green and blue, (y, x, 4)."""
    from matplotlib import colormaps

    stack = np.stack([np.nan_to_num(f.astype("float64"), posinf=0.0, neginf=0.0) for f in features], -1)
    low, high = stack.min(), stack.max()
    stack = (stack - low) / (high - low) if high > low else np.zeros_like(stack)
    if stack.shape[-1] == 1:
        image = np.asarray(colormaps["magma"](stack[..., 0]))
    else:
        image = np.zeros((*stack.shape[:2], 4))
        image[..., : stack.shape[-1]] = stack
    image[..., 3] = 0.6
    return image
