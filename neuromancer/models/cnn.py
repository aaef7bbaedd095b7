"""Ready-made networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph.registry import model_manager
from neuromancer.graph.tagged_shape import SPATIAL_TAGS, parse_tags
from neuromancer.nodes.conv import Conv
from neuromancer.nodes.fragments import FragmentsToDense
from neuromancer.nodes.inputs import DEFAULT_TAGS, Input, Input_like
from neuromancer.nodes.layout import is_int
from neuromancer.nodes.losses.aggregate import AggregateLoss
from neuromancer.nodes.losses.classification import Errors
from neuromancer.nodes.losses.multinoulli import MultinoulliNLL
from neuromancer.nodes.softmax import Softmax
from neuromancer.progress import say

if TYPE_CHECKING:
    from neuromancer.models.model import Model

LABEL = "simple_cnn"


def simple_cnn(
    batch_size: int | None,
    n_ch: int,
    n_lab: int,
    desired_input: int | Sequence[int],
    filters: Sequence[int | Sequence[int]],
    nof_filters: Sequence[int],
    activation_func: str | Sequence[str],
    pools: Sequence[int | Sequence[int]],
    mfp: bool | Sequence[bool] = False,
    tags: str | Sequence[str] | None = None,
    name: str | None = None,
) -> Model:
    """Create a model for pixel classification from a chain of convolutions, ready for training.

    The nodes are ``input``, the convolutions, ``scores`` (one linear feature per class), ``probs`` (Softmax),
    ``target`` (sparse labels, negative for unlabelled pixels), ``nll``, ``loss`` and ``errors``; their roles are
    designated. The model becomes the current one.

    Parameters
    ----------
    batch_size : int or None
        Must be 1 with max-fragment pooling.
    n_ch : int
        Number of input channels.
    n_lab : int
        Number of classes, at least 2.
    desired_input : int or sequence of int
        Spatial size of the input. An invalid size is replaced by the nearest valid one, the smaller in case of a tie.
    filters : sequence of int or of sequences of int
        Kernel size of every layer, for all spatial axes or per axis.
    nof_filters : sequence of int
        Number of features of every layer.
    activation_func : str or sequence of str
        For all layers, or one per layer.
    pools : sequence of int or of sequences of int
        Pooling factor of every layer, like `filters`.
    mfp : bool or sequence of bool
        Max-fragment pooling, for all pooling layers or one per layer. The fragments are recombined before the Softmax,
        so that there is one label per pixel.
    tags : str or sequence of str, optional
        Axes of the input: b, f and one to three of z, y, x. Default: ``b,f`` and z, y, x according to the sizes.
    name : str, optional
        Name of the model; default: a random one.

    Returns
    -------
    Model

    Raises
    ------
    ArgumentError
        If the lists differ in length, or sizes and tags in the number of axes.
    ShapeError
        If there is no valid input size near the desired one.

    Notes
    -----
    Layers without pooling ignore `mfp`. If only some of the pooling layers use fragments, these cannot be recombined,
    which is an error.

    Examples
    --------
    >>> model = simple_cnn(1, 1, 2, (40, 40), [4, 3], [8, 8], "relu", [2, 1], tags="b,f,y,x", name="small")
    simple_cnn: input size [40, 40] is not valid; [39, 39] is the nearest
    >>> model["input"].shape, model.prediction_node.shape
    ([(1,b), (1,f), (39,y), (39,x)], [(1,b), (2,f), (16,y), (16,x)])
    >>> from neuromancer import model_manager
    >>> model_manager.delmodel("small")
    """
    n = len(filters)
    axes = _axes(tags, [desired_input, *filters, *pools])
    ndim = sum(t in SPATIAL_TAGS for t in axes)
    kernels = [_per_axis(f, ndim, "filters") for f in _per_layer(filters, n, "filters")]
    strides = [_per_axis(p, ndim, "pools") for p in _per_layer(pools, n, "pools")]
    features = _per_layer(nof_filters, n, "nof_filters")
    functions = _per_layer(
        [activation_func] * n if isinstance(activation_func, str) else activation_func, n, "activation_func"
    )
    mfp_flags = _per_layer([mfp] * n if isinstance(mfp, bool) else mfp, n, "mfp")
    fragments = [bool(on) and max(p) > 1 for on, p in zip(mfp_flags, strides, strict=True)]
    desired = _per_axis(desired_input, ndim, "desired_input")
    sizes = [
        _nearest(desired[k], [(f[k], p[k], m) for f, p, m in zip(kernels, strides, fragments, strict=True)])
        for k in range(ndim)
    ]
    if sizes != desired:
        say(f"{LABEL}: input size {desired} is not valid; {sizes} is the nearest")
    spatial = iter(sizes)
    shape = [batch_size if t == "b" else n_ch if t == "f" else next(spatial) for t in axes]
    model = model_manager.newmodel(name)
    try:
        out: Any = Input(shape, axes, name="input", print_repr=False)
        for f, p, n_f, function, fragment in zip(kernels, strides, features, functions, fragments, strict=True):
            out = Conv(out, n_f, f, p, activation_func=function, mfp=fragment, print_repr=False)
        out = Conv(out, n_lab, (1,) * ndim, activation_func="lin", name="scores", print_repr=False)
        if any(fragments):
            out = FragmentsToDense(out, print_repr=False)
        probs = Softmax(out, name="probs", print_repr=False)
        target = Input_like(probs, dtype="int16", override_f=1, name="target", print_repr=False)
        nll = MultinoulliNLL(probs, target, target_is_sparse=True, name="nll", print_repr=False)
        loss = AggregateLoss([nll], name="loss", print_repr=False)
        errors = Errors(probs, target, target_is_sparse=True, name="errors", print_repr=False)
        model.designate_nodes("input", target, loss, probs, prediction_ext=[loss, errors, probs], error_node=errors)
    except BaseException:
        model_manager.delmodel(model.name)
        raise
    return model


def _axes(tags: Any, sizes: Sequence[Any]) -> list[str]:
    """Return the checked tags of the input."""
    if tags is None:
        ndim = next((len(s) for s in sizes if not is_int(s)), 1)
        if ndim + 2 not in DEFAULT_TAGS:
            raise ArgumentError("unsupported number of spatial axes", where=LABEL, got=ndim, expected="1, 2 or 3")
        return parse_tags(DEFAULT_TAGS[ndim + 2])
    axes = parse_tags(tags)
    space = [t for t in axes if t in SPATIAL_TAGS]
    if not space or sorted(axes) != sorted(["b", "f", *space]):
        raise ArgumentError("unsupported axes", where=LABEL, got=axes, expected="b, f and one to three of z, y, x")
    return axes


def _per_layer(values: Any, n: int, what: str) -> list[Any]:
    if not isinstance(values, (list, tuple)) or len(values) != n or not n:
        raise ArgumentError(
            f"{what} needs one entry per layer", where=LABEL, got=values, expected=f"{n} entries, as in filters"
        )
    return list(values)


def _per_axis(value: Any, ndim: int, what: str) -> list[int]:
    values = [value] * ndim if is_int(value) else value
    if not isinstance(values, (list, tuple)) or len(values) != ndim or not all(is_int(v) and v >= 1 for v in values):
        raise ArgumentError(
            f"{what} does not fit {ndim} spatial axes",
            where=LABEL,
            got=value,
            expected=f"an int or {ndim} ints, at least 1",
        )
    return [int(v) for v in values]


def _nearest(desired: int, layers: Sequence[tuple[int, int, bool]]) -> int:
    """Return the input size nearest to `desired` that is valid for all layers (kernel, pool, mfp) along an axis."""

    def fits(size: int) -> bool:
        for f, p, fragment in layers:
            size += 1 - f - (p - 1 if fragment else 0)
            if size < p or size % p:
                return False
            size //= p
        return True

    stride, fov = 1, 1
    for f, p, _ in layers:
        fov += (f + p - 2) * stride
        stride *= p
    for distance in range(abs(desired - fov) + 2 * stride + 1):
        for size in (desired - distance, desired + distance):
            if size > 0 and fits(size):
                return size
    raise ShapeError("no valid input size", where=LABEL, got=f"about {desired}, (kernel, pool, mfp) {layers}")
