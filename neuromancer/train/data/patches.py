"""Random patches of labelled volumes, with the labels of exactly the voxels that a network predicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.errors import ArgumentError, GraphError, InputTypeError, OutOfMemoryError, ShapeError
from neuromancer.nodes.node import Node
from neuromancer.train.data.arguments import (
    BALANCE_VOXELS,
    LABEL,
    augmentations_of,
    batch_size_of,
    check_options,
    require_ignorable,
    require_provided,
    require_read,
    require_room,
    scale_of,
    seed_of,
    volumes_of,
)
from neuromancer.train.data.balance import ClassIndex, shares_of
from neuromancer.train.data.batch_fields import fields_of
from neuromancer.train.data.frame import PatchFrame, frame_of
from neuromancer.train.data.labels import IGNORED, LabelRules
from neuromancer.train.data.placement import Orientation, PatchPlacement, Placed
from neuromancer.train.data.volumes import Volume

if TYPE_CHECKING:
    from neuromancer.models.model import Model

TRIES = 8
"""Number of voxels of a class to try before a warp is weakened."""


class PatchSampler:
    """Batches of random patches from labelled volumes of any size, for training a model.

    Only the data that a patch needs is read. The target holds the labels of exactly those voxels that the network
    predicts: output voxel i lies at ``offset + stride * i`` in the patch. Patches lie wherever these voxels are
    labelled.

    Parameters
    ----------
    prediction : Model or Node
        A model with a prediction node, or the node itself. It defines which voxels of a patch are predicted.
    volumes : list of (raw, labels) or of LabelledVolume
        Or a single one of them.
    target : Node or str, optional
        Node that the labels are for; default: the model's target node. Its dtype is that of the target arrays.
    batch_size : int, optional
        Default: that of the input node.
    patch_size : sequence of int, optional
        Spatial size of the patches, if the input node leaves it open.
    seed : int
        Batches depend on the seed and the step alone.
    axes : str, optional
        Order of the spatial axes of all volumes that do not specify it themselves, e.g. ``"zyx"``.
    balance : float or dict, optional
        Share of the patches whose target is centred on a voxel of a class above 0, or a dict of shares by class; all
        other patches lie anywhere.
    balance_voxels : int
        Maximum number of voxels to search for the classes; of larger data, random parts are searched.
    ignore : int, optional
        Stored label of voxels to ignore; they are -1 in the target, which classification losses ignore.
    augment : sequence
        Flips and rotations (``Flip``, ``Rotate90``), at most one ``Warp``, and functions
        ``(raw, labels, rng) -> (raw, labels)`` of a patch (f, *spatial) and its labels (f, *spatial).
    pad_raw : bool
        Mirror raw data at its borders, as ``predict_dense`` does, so that every labelled voxel can be a target.
    scale : (float, float) or callable, optional
        ``(raw - middle) / width``, or a function of a raw block (f, *spatial). By default, integers are scaled as in
        ``predict_dense``; with any other scaling, pass it raw data that is scaled in the same way.
    label_map : callable, optional
        Function of stored integer labels (f, *spatial) that returns those to learn, of the same shape, e.g.
        :func:`labels_to_boundaries`. Its attribute ``margin`` is the number of voxels that it needs on every side in
        addition.
    targets : callable, optional
        Function of the labels of a target (f, *spatial) that returns one array (f, *spatial) or a tuple of them: one
        for every source of the loss but the raw data, in their order, e.g. :class:`AffinityTargets`.

    Raises
    ------
    GraphError
        If the predicted voxels cannot be determined, or the loss reads data that nothing provides.
    ShapeError
        For sizes of patches, volumes, labels or offsets that do not fit; the message names ones that do.
    ArgumentError
        For labels that are not classes, for balanced classes that do not exist, and for other invalid values.
    InputTypeError
        For arguments of the wrong type.

    Examples
    --------
    >>> import neuromancer as nm
    >>> inp = nm.Input((2, 1, 12, 12), "b,f,y,x", print_repr=False)
    >>> out = nm.Softmax(nm.Conv(inp, 2, (3, 3), (2, 2), activation_func="lin", print_repr=False), print_repr=False)
    >>> raw, labels = np.zeros((40, 50), "uint8"), np.zeros((40, 50), "int16")
    >>> sampler = PatchSampler(out, (raw, labels), seed=1)
    >>> [array.shape for array in sampler.batch(0)]
    [(2, 1, 12, 12), (2, 1, 5, 5)]
    """

    fresh = True

    def __init__(
        self,
        prediction: Model | Node,
        volumes: Any,
        *,
        target: Node | str | None = None,
        batch_size: int | None = None,
        patch_size: Sequence[int] | None = None,
        seed: int = 0,
        axes: str | None = None,
        balance: Any = None,
        balance_voxels: int = BALANCE_VOXELS,
        ignore: int | None = IGNORED,
        augment: Sequence[Any] = (),
        pad_raw: bool = False,
        scale: Any = None,
        label_map: Callable[[np.ndarray], np.ndarray] | None = None,
        targets: Callable[[np.ndarray], Any] | None = None,
    ) -> None:
        node = _predicting(prediction)
        check_options(
            axes, pad_raw, ignore, balance, balance_voxels, label_map=label_map, targets=targets
        )  # fmt: skip
        self.frame: PatchFrame = frame_of(node, patch_size)
        self.seed = seed_of(seed)
        self.fields = fields_of(prediction, node, target)
        self.batch_size = batch_size_of(node, batch_size)
        self.pad_raw, self.targets = bool(pad_raw), targets
        self._geometric, self._functions = augmentations_of(augment, self.frame)
        rules = self._label_rules(ignore, label_map)
        self.volumes = [
            Volume(v, number, self.frame, rules, scale_of(scale)) for number, v in enumerate(volumes_of(volumes, axes))
        ]
        require_ignorable(ignore, self.volumes)
        for volume in self.volumes:
            require_read(volume, self.fields)
            if targets is None:
                require_provided(volume, self.fields)
        plain = Placed(PatchPlacement(self.frame, Orientation.plain(self.frame.ndim)))
        ranges = [v.starts(plain.raw, plain.labels, self.pad_raw) for v in self.volumes]
        for volume, found in zip(self.volumes, ranges, strict=True):
            require_room(volume, found, plain)
        self.n_positions = [prod(b - a + 1 for a, b in r) for r in ranges]
        self.shares = {} if balance is None else shares_of(balance)
        self._index = (
            ClassIndex(self.volumes, self.frame, ranges, list(self.shares), balance_voxels, self.seed)
            if self.shares
            else None
        )
        self._chances = {kind: self._volume_chances(kind) for kind in (None, *self.shares)}

    def _label_rules(self, ignore: int | None, label_map: Callable[[np.ndarray], np.ndarray] | None) -> LabelRules:
        goal = next((field for field in self.fields if field.role == "target"), None)
        if goal is None and self.targets is None:
            raise GraphError(
                "cannot tell which source of the loss the labels are for",
                where=LABEL,
                got=[s.name for s in self.fields if s.role != "raw"],
                expected="target=node, or targets=function",
            )
        direct = goal if self.targets is None else None
        return LabelRules(
            "int64" if direct is None else direct.dtype,
            None if direct is None else direct.n_class,
            ignore,
            label_map,
            getattr(label_map, "margin", 0),
        )

    # ---- checks
    def _volume_chances(self, kind: Any) -> np.ndarray:
        numbers = np.array(self.n_positions, float) if kind is None else self._index.numbers(kind)  # type: ignore[union-attr]
        weights = [v.weight for v in self.volumes]
        if any(w is not None for w in weights):
            if any(w is None for w in weights):
                raise ArgumentError("some volumes have a weight, others not", where=LABEL, got=weights)
            numbers = np.where(numbers > 0, np.array(weights, float), 0.0)
        if not numbers.sum() > 0:
            raise ArgumentError("all weights are 0", where=LABEL, got=weights, expected="a weight above 0")
        return numbers / numbers.sum()

    # ---- batches
    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        """Return the batch of a step.

        Parameters
        ----------
        step : int
            Any step from 0, in any order.

        Returns
        -------
        tuple of numpy.ndarray
            One array per source of the loss, in the order of its ``input_nodes``, each with the axes of its node;
            without a loss, raw data and labels.
        """
        if isinstance(step, bool) or not isinstance(step, (int, np.integer)) or step < 0:
            raise ArgumentError("not a step", where=LABEL, got=step, expected="a whole number of at least 0")
        rng = np.random.default_rng([self.seed, int(step)])
        rows = [self._example(rng)]
        for field, array in zip(self.fields, rows[0], strict=True):
            _require_memory((self.batch_size, *array.shape), field.dtype)
        rows += [self._example(rng) for _ in range(self.batch_size - 1)]
        return tuple(field.stack(arrays) for field, arrays in zip(self.fields, zip(*rows, strict=True), strict=True))

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        """Iterate over batches from step 0, endlessly."""
        step = 0
        while True:
            yield self.batch(step)
            step += 1

    def _example(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Return the arrays of one example, (f, *spatial), per field."""
        volume, start, placed = self._place(rng)
        raw = placed.cut_raw(volume.read_raw(*_block(start, placed.raw)))
        where = _block(start, placed.labels)
        labels = placed.cut_labels(volume.read_labels(*where))
        extras = {
            field.name: extra if extra.ndim == 1 else placed.cut_labels(extra)
            for field in self.fields
            if field.role == "extra" and field.name in volume.extras
            for extra in [volume.read_extra(field.name, *where)]
        }
        if self.frame.stack:
            raw, labels = raw[:, 0], labels[:, 0]
            extras = {name: e if e.ndim == 1 else e[:, 0] for name, e in extras.items()}
        raw, labels = self._augmented(raw, labels, rng)
        return self._arranged(raw, labels, extras)

    def _place(self, rng: np.random.Generator) -> tuple[Volume, np.ndarray, Placed]:
        """Draw volume, position and placement of one patch."""
        kinds = [None, *self.shares]
        share = [max(0.0, 1 - sum(self.shares.values())), *self.shares.values()]
        kind = kinds[int(rng.choice(len(kinds), p=np.array(share) / sum(share)))]
        placement = PatchPlacement(self.frame, Orientation.plain(self.frame.ndim))
        for change in self._geometric:
            placement = change.draw(placement, rng)
        while True:
            placed = Placed(placement)
            number = int(rng.choice(len(self.volumes), p=self._chances[kind]))
            volume = self.volumes[number]
            ranges = np.array(volume.starts(placed.raw, placed.labels, self.pad_raw))
            if (ranges[:, 0] <= ranges[:, 1]).all():
                if kind is None:
                    return volume, rng.integers(ranges[:, 0], ranges[:, 1] + 1), placed
                for _ in range(TRIES):
                    start = self._index.draw(kind, number, rng) - placed.centre  # type: ignore[union-attr]
                    if (ranges[:, 0] <= start).all() and (start <= ranges[:, 1]).all():
                        return volume, start, placed
            # Terminates, as the plain placement always fits.
            placement = placement.weaker()

    def _augmented(
        self, raw: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        for function in self._functions:
            shapes, dtype = (raw.shape, labels.shape), labels.dtype
            # Functions must not write to a view of the source.
            raw, labels = map(np.asarray, _pair_of(function(np.array(raw), labels, rng), function))
            if (raw.shape, labels.shape) != shapes or labels.dtype != dtype:
                raise ShapeError(
                    f"{function!r} changed shape or dtype",
                    where=LABEL,
                    got=f"raw {raw.shape}, labels {labels.shape} {labels.dtype}",
                    expected=f"raw {shapes[0]}, labels {shapes[1]} {dtype}",
                )
        # A function may reuse its arrays for every patch.
        return (np.array(raw), np.array(labels)) if self._functions else (raw, labels)

    def _arranged(self, raw: np.ndarray, labels: np.ndarray, extras: dict[str, np.ndarray]) -> list[np.ndarray]:
        made: Any = (labels,) if self.targets is None else self.targets(labels)
        made = list(made) if isinstance(made, (tuple, list)) else [made]
        open_fields = [s for s in self.fields if s.role != "raw" and s.name not in extras]
        if len(made) != len(open_fields):
            raise GraphError(
                "targets returned the wrong number of arrays",
                where=LABEL,
                got=len(made),
                expected=f"{len(open_fields)}, for {[s.name for s in open_fields]}",
            )
        own = np.asarray if self.targets is None else np.array  # A function may reuse its arrays for every patch.
        by_name = {**extras, **{s.name: own(a) for s, a in zip(open_fields, made, strict=True)}}
        return [raw if s.role == "raw" else s.checked(by_name[s.name], self.frame) for s in self.fields]

    def __repr__(self) -> str:
        return f"PatchSampler({self.frame.label}, {len(self.volumes)} volumes, {sum(self.n_positions)} positions)"


def _require_memory(shape: tuple[int, ...], dtype: str) -> None:
    """Raise OutOfMemoryError now for a batch that can never be filled, rather than when all memory is taken."""
    try:
        np.empty(shape, dtype)
    except (MemoryError, ValueError):  # ValueError: more than can be addressed
        raise OutOfMemoryError(
            "the batch does not fit into memory", where=LABEL, got=f"{dtype} {shape}", expected="a smaller batch_size"
        ) from None


def _block(start: np.ndarray, needed: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Return start and stop (exclusive) of the block that a patch at a position needs."""
    return (
        [int(s) + a for s, (a, _) in zip(start, needed, strict=True)],
        [int(s) + b + 1 for s, (_, b) in zip(start, needed, strict=True)],
    )


def _pair_of(value: Any, function: Any) -> tuple[Any, Any]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise InputTypeError(
            f"{function!r} returned no pair", where=LABEL, got=type(value).__name__, expected="(raw, labels)"
        )
    return value[0], value[1]


def _predicting(prediction: Any) -> Node:
    """Return the predicting node: the node itself, or the model's prediction node."""
    node = prediction if isinstance(prediction, Node) else getattr(prediction, "prediction_node", None)
    if not isinstance(node, Node):
        raise InputTypeError(
            "no node predicts",
            where=LABEL,
            got=repr(prediction)[:100],
            expected="a node, or a model with designate_nodes(prediction_node=...)",
        )
    return node
