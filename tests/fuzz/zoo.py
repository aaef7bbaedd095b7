"""Small models that together contain every class of nodes, to be mutated and oversized."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import neuromancer as nm
from neuromancer.io.describe import describe
from neuromancer.node_basic import FromTensor

QUIET = {"print_repr": False}
ABSTRACT = {
    "Node",
    "NeuralLayer",
    "_Cell",
    "_ClassNLL",
    "_DeviationLoss",
    "_Elementwise",
    "_Combination",
    "_Normalisation",
    "_RunningNormalisation",
    "_WholeImagePool",
    "ParameterNode",
    "RegionLoss",
    "RepeatedStep",
    "SegmentationLoss",
}
"""Base classes, from which files cannot build anything large."""


def _input(shape=(1, 2, 6, 6), tags="b,f,y,x", name="raw", **kwargs):
    return nm.Input(shape, tags, name=name, **QUIET, **kwargs)


def layers():
    out = nm.Conv(_input(), 3, (3, 3), (2, 2), name="conv", **QUIET)
    out = nm.Conv(out, 2, (1, 1), name="norm", batch_normalisation="train", dropout_rate=0.1, **QUIET)
    dense = nm.Perceptron(out, 2, "lin", flatten=True, name="dense", **QUIET)
    target = nm.Input_like(dense, name="target", **QUIET)
    nm.AbsLoss(dense, target, name="abs", **QUIET)
    loss = nm.AggregateLoss(nm.SquaredLoss(dense, target, name="squared", **QUIET), name="loss", **QUIET)
    nm.model_manager.current.designate_nodes("raw", target, loss, dense)


def classes():
    probs = nm.Softmax(_input(name="raw"), name="probs", **QUIET)
    target = nm.Input_like(probs, override_f=1, dtype="int16", name="target", **QUIET)
    nm.OneHot(target, 2, name="hot", **QUIET)
    nm.Errors(probs, target, target_is_sparse=True, name="errors", **QUIET)
    nm.MultinoulliNLL(probs, target, target_is_sparse=True, class_weights=[1, 2], name="nll", **QUIET)
    nm.BlockedMultinoulliNLL(probs, target, target_is_sparse=True, name="blocked", **QUIET)
    nm.model_manager.current.designate_nodes("raw", target, prediction_node=probs)


def segmentation():
    probs = nm.Softmax(_input((1, 3, 6, 6), name="raw"), name="probs", **QUIET)
    target = nm.Input_like(probs, override_f=1, dtype="int16", name="target", **QUIET)
    options = {"target_is_sparse": True, "ignore_label": 9, **QUIET}
    nm.SoftDice(probs, target, class_weights=[1, 2, 3], squared=True, name="dice", **options)
    nm.Tversky(probs, target, 0.3, 0.7, include_background=False, name="tversky", **options)
    nm.GeneralisedDice(probs, target, per_image=True, name="generalised", **options)
    nm.Focal(probs, target, 1.5, 0.25, name="focal", **options)
    nm.BoundaryLoss(probs, nm.Input_like(probs, name="distance", **QUIET), name="boundary", **QUIET)
    coarse = nm.Softmax(nm.Pool(probs, (2, 2), name="pool", **QUIET), name="coarse", **QUIET)
    at = nm.LabelsAt(target, coarse, name="at", **QUIET)
    fine = nm.DiceCE(probs, target, name="fine", **options)
    rough = nm.DiceFocal(coarse, at, name="rough", **options)
    nm.DeepSupervision([fine, rough], name="loss", **QUIET)


def malis():
    probs = nm.Softmax(_input((1, 4, 5, 5)), 2, 2, name="probs", **QUIET)
    truth = _input(name="truth", shape=(1, 2, 5, 5))
    objects = _input((1, 1, 5, 5), name="objects", dtype="int32")
    nm.MalisNLL(probs, truth, objects, [[-1, 0], [0, -1]], name="malis", **QUIET)


def continuous():
    a, b = _input((2, 3), "b,f", name="raw"), _input((2, 3), "b,f", name="b")
    nm.EuclideanDistance(a, b, name="distance", **QUIET)
    nm.RampLoss(a, b, margin=0.5, name="ramp", **QUIET)
    nm.BinaryNLL(a, b, name="binary", **QUIET)
    nm.GaussianNLL(a, b, b, name="gauss", **QUIET)
    nm.BetaNLL(a, b, b, name="beta", **QUIET)
    sample = nm.GaussianRV(a, b, 2, name="sample", seed=3, **QUIET)
    sample.make_priorlayer(name="prior", print_repr=False)


def shapes():
    inp = _input()
    cropped = nm.Crop(nm.Pad(inp, (1, 1), name="pad", **QUIET), (1, 1), name="crop", **QUIET)
    nm.Pool(cropped, (2, 3), mode="average", name="pool", **QUIET)
    nm.LRN(cropped, (3, 1), name="lrn", **QUIET)
    nm.LRN(cropped, 1, "channel", name="channels", **QUIET)
    a, b = nm.split(inp, "f", n_out=2, name="half")
    nm.split(inp, "y", index=[2, 3], name=["top", "middle", "rest"])
    nm.Concat([a, b], name="concat", **QUIET)
    nm.MultMerge(a, nm.Add(a, b, name="add", **QUIET), name="product", **QUIET)
    nm.FaithlessMerge(a, b, name="faithless", **QUIET)
    nm.Reshape(inp, (1, 72), "b,f", name="flat", **QUIET)


def grids():
    inp = _input()
    options = {"stride": 2, "dilation": (1, 2), "groups": 2, "padding": (1, (2, 1)), "padding_mode": "reflect"}
    coarse = nm.Conv(inp, 4, (3, 3), name="strided", **options, **QUIET)
    pool = {"padding": 1, "ceil_mode": True, "count_include_pad": False}
    nm.Pool(inp, (3, 3), (2, 2), mode="average", name="covering", **pool, **QUIET)
    fine = nm.ConvTranspose(coarse, 2, (3, 4), 2, padding=(1, (1, 0)), output_padding=1, name="transposed", **QUIET)
    nm.Upsample(coarse, 2, mode="linear", name="linear", **QUIET)
    near = nm.Upsample(fine, size=inp, name="like", **QUIET)
    shuffled = nm.PixelShuffle(coarse, (2, 1), name="shuffled", **QUIET)
    mean = nm.Pool(near, (6, 6), mode="average", name="mean", **QUIET)
    nm.Product([inp, nm.Sum([near, mean, inp], name="sum", **QUIET)], name="weighted", **QUIET)
    nm.Pad(
        nm.Crop(shuffled, ((1, 0), 0), name="off", **QUIET), (0, (1, 0)), padding_mode="replicate", name="on", **QUIET
    )


def normalised():
    inp = _input()
    batch = nm.BatchNorm(inp, eps=1e-3, momentum=0.5, var=np.full(2, 2.0), name="batch", **QUIET)
    nm.BatchNorm(batch, gamma=[np.ones(2), "const"], beta=batch.beta, name="sharing", **QUIET)
    instance = nm.InstanceNorm(batch, True, track_running_stats=True, name="instance", **QUIET)
    group = nm.GroupNorm(nm.Repeat(instance, 2, interleave=True, name="twice", **QUIET), 2, name="group", **QUIET)
    layer = nm.LayerNorm(group, "f,y,x", name="layer", **QUIET)
    gate = nm.GlobalPool(nm.AdaptivePool(layer, (2, 3), "max", name="parts", **QUIET), name="gate", **QUIET)
    nm.Product([layer, gate], name="gated", **QUIET)


def functions():
    inp = _input()
    nm.Activation(nm.Activation(inp, "prelu", name="sloped", **QUIET), "hardtanh 0 4", name="clipped", **QUIET)
    nm.Perceptron(inp, 2, "prelu shared", name="shared", **QUIET)
    tanh = nm.ApplyFunc(inp, nm.T.tanh, name="tanh")
    nm.ApplyFunc(tanh, nm.T.clip, (0, 1), name="clip")
    FromTensor(nm.T.sqr, tanh.shape, tanh, name="square")


def values():
    inp = _input((2, 2), "b,f")
    mask = nm.ValueNode((2, 2), "b,f", value=np.arange(4.0).reshape(2, 2), name="mask", **QUIET)
    free = nm.ValueNode((2, 2), "b,f", value=0.5, apply_train=True, name="free", **QUIET)
    nm.MultMerge(nm.Add(inp, mask, name="sum", **QUIET), free, name="product", **QUIET)
    nm.GenericInput(name="anything", **QUIET)
    w = np.eye(2, dtype="float32")
    one = nm.Perceptron(inp, 2, w=[w, "const"], b=np.ones(2, "float32"), name="one", **QUIET)
    one.make_dual(one, share_w=True, print_repr=False)


def unet():
    high = nm.Conv(_input((1, 1, 8), "b,f,x"), 2, (3,), name="high", **QUIET)
    low = nm.Conv(high, 2, (3,), (2,), name="low", **QUIET)
    nm.AutoMerge(high, low, upconv_n_f=2, print_repr=False)


def fragments():
    pooled = nm.Conv(_input((1, 1, 9), "b,f,x"), 2, (3,), (2,), mfp=True, name="conv", **QUIET)
    nm.FragmentsToDense(nm.Pool(pooled, (2,), mfp=True, name="pool", **QUIET), name="dense", **QUIET)


def recurrent():
    sequence = _input((3, 2, 2), "r,b,f")
    first, _ = nm.split(sequence, "r", index=1, strip_singleton_dims=True, name="step")
    memory = nm.InitialState_like(first, 2, name="memory", **QUIET)
    gru = nm.GRU(first, memory, 2, name="gru", **QUIET)
    nm.Scan(gru, memory, in_iterate=sequence, in_iterate_0=first, name="scan", **QUIET)
    states = nm.InitialState_like(first, 4, name="states", **QUIET)
    nm.LSTM(first, states, 2, name="lstm", **QUIET)


DATA = np.linspace(-1, 1, 8, dtype="float32")[:, None]


def trained():
    """A model in the middle of training, as in a checkpoint."""
    y = nm.Perceptron(_input((2, 1), "b,f"), 1, "lin", dropout_rate=0.5, name="y", **QUIET)
    target = nm.Input_like(y, name="target", **QUIET)
    model = nm.model_manager.current
    model.designate_nodes("raw", target, nm.AggregateLoss(nm.SquaredLoss(y, target, **QUIET), name="loss", **QUIET), y)
    trainer = nm.Trainer(model, (DATA, DATA), optimiser="SGD", schedules={"lr": nm.CosineSchedule(9)})
    for step in (1, 2):
        trainer.position.advance(0.5, 0.25, 0.0)
        trainer.history.add({"step": step, "loss": 0.5})
    model._losses.extend([0.5, 0.5]), model._seconds.extend([0.25, 0.25])
    model.pending_states["SGD"] = {"0_velocity": np.zeros((1, 1)), "1_velocity": np.zeros(1)}
    model.history, model.training_state = trainer.history.arrays(), {"name": "trained", **trainer.state()}


def resume(path):
    """Return a trainer that resumes from a file."""
    schedules = {"lr": nm.CosineSchedule(9)}
    return nm.Trainer.resume(path.parent, (DATA, DATA), checkpoint=path, schedules=schedules, plots=False)


FAMILIES: list[Callable[[], None]] = [
    layers, classes, segmentation, malis, continuous, shapes, grids, normalised, functions, values, unet, fragments,
    recurrent, trained,
]  # fmt: skip


def documents() -> dict[str, tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Return document and arrays of every family by its name."""
    nm.seed(1)
    made = {}
    for family in FAMILIES:
        model = nm.model_manager.newmodel(None)
        family()
        document, arrays = describe(model)
        made[family.__name__] = {**document, "name": family.__name__}, arrays  # not random
        nm.model_manager.delmodel(model.name)
    return made
