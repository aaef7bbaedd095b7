"""Conversion of labels: classes, ignored voxels, masks, maps, several targets."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.affinities import affinities_from_segmentation, neighbourhood
from neuromancer.errors import ArgumentError, GraphError, InputTypeError, ShapeError
from neuromancer.train.data import AffinityTargets, Flip, LabelledVolume, PatchSampler, Warp, labels_to_boundaries
from tests.train.data.factories import chain, classifier, positions

NET = [((3, 3), (2, 2), "valid")]


def flat(**kwargs):
    return classifier(chain(NET, (10, 10), "b,f,y,x"), **kwargs)


RAW = np.zeros((20, 24), "uint8")


def test_a_label_out_of_range_is_named_with_its_place():
    labels = np.zeros((14, 20), "uint8")
    labels[3, 5] = 7
    sampler = PatchSampler(flat(), [(RAW, np.zeros_like(RAW)), LabelledVolume(RAW, labels, weight=None)])
    with pytest.raises(ArgumentError, match=r"volume 1.*got 7 at raw voxel \(y, x\) = \(6, 7\).*0 to 1 \(2 classes\)"):
        for step in range(50):
            sampler.batch(step)
    with pytest.raises(ArgumentError, match="got -2"):
        PatchSampler(flat(), (RAW, np.full(RAW.shape, -2))).batch(0)
    node = chain(NET, (10, 10), "b,f,y,x")
    target = nm.Input_like(node, "int8", print_repr=False)
    with pytest.raises(ArgumentError, match=r"got 300.*-128 to 127 \(int8\)"):
        PatchSampler(node, (RAW, np.full(RAW.shape, 300)), target=target).batch(0)


def test_ignored_and_masked_labels_become_minus_one():
    labels = np.ones(RAW.shape, "uint8")
    labels[:, ::3] = 255
    assert set(np.unique(PatchSampler(flat(), (RAW, labels), ignore=255).batch(0)[1])) == {-1, 1}
    mask = np.zeros(RAW.shape, bool)
    mask[:, ::3] = True
    batch = PatchSampler(flat(), LabelledVolume(RAW, np.ones(RAW.shape, int), mask=mask)).batch(0)
    assert set(np.unique(batch[1])) == {-1, 1}
    assert set(np.unique(PatchSampler(flat(), (RAW, np.full(RAW.shape, -1))).batch(0)[1])) == {-1}


@pytest.mark.parametrize("mask", [None, np.arange(480).reshape(20, 24) % 2])
def test_ignored_labels_of_regression_targets_are_nan(mask):
    node = chain(NET, (10, 10), "b,f,y,x")
    probability = nm.Conv(node, 1, (1, 1), activation_func="sig", print_repr=False)
    target = nm.Input_like(probability, name="t", print_repr=False)
    nll = nm.BinaryNLL(probability, target, print_repr=False)
    labels = np.where(np.arange(480).reshape(RAW.shape) % 3, 1, -1).astype("int16")
    volume = LabelledVolume(RAW, labels, mask=mask)
    raw, drawn = PatchSampler(probability, volume, target=target).batch(0)
    assert drawn.dtype == "float32" and set(np.unique(drawn[~np.isnan(drawn)])) == {1} and np.isnan(drawn).any()
    assert np.isfinite(nll(raw, drawn)).all()


def test_casts_never_change_labels():
    node = chain(NET, (10, 10), "b,f,y,x")
    single = nm.Input_like(node, "float32", override_f=1, name="single", print_repr=False)
    wide = nm.Input_like(node, "int64", override_f=1, name="wide", print_repr=False)
    for target, label, message in (
        (wide, 2**63 + 5, "does not fit int64; got 9223372036854775813"),  # negative in int64
        (single, 2**24 + 1, "does not fit float32; got 16777217"),  # equal to its neighbour in float32
    ):
        sampler = PatchSampler(node, (RAW, np.full(RAW.shape, label, "uint64")), target=target)
        with pytest.raises(ArgumentError, match=message):
            sampler.batch(0)
    batch = PatchSampler(node, (RAW, np.full(RAW.shape, 2**24, "uint64")), target=single).batch(0)
    assert (batch[1] == 2**24).all()


def test_raw_data_keeps_its_values():
    labels = np.zeros(RAW.shape, "uint8")
    for raw, options in (
        (np.full(RAW.shape, 1e300), {}),
        (np.full(RAW.shape, 1e300), {"scale": (0, 1)}),
        (RAW, {"scale": lambda block: block + 1e300}),
        (RAW, {"augment": [lambda raw, labels, rng: (raw + np.float64(1e300), labels)]}),
    ):
        with pytest.raises(ArgumentError, match=r"does not fit float32; got 1e\+300"):
            PatchSampler(flat(), (raw, labels), **options).batch(0)
    for scale in ((1e300, 1), (0, 1e-60), (0, 1e300)):
        with pytest.raises(ArgumentError):
            PatchSampler(flat(), (RAW, labels), scale=scale)


def test_boundaries_are_the_same_in_a_patch_as_in_the_whole():
    rng = np.random.default_rng(0)
    objects = np.kron(rng.integers(0, 5, (4, 4)), np.ones((6, 7), int))
    whole = labels_to_boundaries(objects[None])[0]
    code = positions(objects.shape)
    model = flat()
    for augment in ((), (Flip(),), (Warp(rotation=20, elastic=2),)):
        args = dict(seed=3, augment=augment)
        _, mapped = PatchSampler(model, (code * 0, objects), label_map=labels_to_boundaries, **args).batch(0)
        _, where = PatchSampler(model.prediction_node, (code * 0, code), ignore=None, **args).batch(0)
        np.testing.assert_array_equal(mapped, whole.ravel()[np.searchsorted(code.ravel(), where)])
    with pytest.raises(ShapeError, match="label_map changed the shape"):
        PatchSampler(model, (RAW, RAW), label_map=lambda labels: labels[:, 1:]).batch(0)


def affinity_model():
    raw = nm.Input((1, 1, 12, 12), "b,f,y,x", name="raw", print_repr=False)
    nhood = neighbourhood(2)
    scores = nm.Conv(raw, 4, (3, 3), activation_func="lin", print_repr=False)
    probs = nm.Softmax(scores, n_class=2, n_indep=2, name="probs", print_repr=False)
    aff = nm.Input_like(probs, override_f=2, name="aff", print_repr=False)
    seg = nm.Input_like(probs, "int32", override_f=1, name="seg", print_repr=False)
    nll = nm.MalisNLL(probs, aff, seg, nhood, print_repr=False)
    model = nm.model_manager.current
    model.designate_nodes("raw", seg, nm.AggregateLoss([nll], print_repr=False), probs)
    return model, nhood


def test_several_targets_of_a_loss():
    model, nhood = affinity_model()
    cells = np.kron(np.arange(25).reshape(5, 5), np.ones((5, 5), int))
    sampler = PatchSampler(model, (cells.astype("uint8"), cells), targets=AffinityTargets(nhood), augment=[Flip()])
    raw, aff, seg = sampler.batch(0)
    assert (raw.shape, aff.shape, seg.shape) == ((1, 1, 12, 12), (1, 2, 10, 10), (1, 1, 10, 10))
    np.testing.assert_array_equal(aff[0], affinities_from_segmentation(seg[0, 0], nhood))
    assert np.isfinite(model.trainingstep(raw, aff, seg, optimiser="SGD")[0])
    with pytest.raises(GraphError, match=r"returned the wrong number.*got 1; expected 2, for \['aff', 'seg'\]"):
        PatchSampler(model, (cells, cells), targets=AffinityTargets(nhood, objects=False), scale=(0, 1)).batch(0)
    with pytest.raises(GraphError, match=r"nothing for \['aff'\]"):
        PatchSampler(model, (cells, cells))
    with pytest.raises(ShapeError, match=r"'aff' has the wrong shape.*\(3, 10, 10\).*\(2, 10, 10\)"):
        PatchSampler(model, (RAW, RAW), targets=lambda labels: (np.zeros((3, 10, 10)), labels)).batch(0)
    with pytest.raises(InputTypeError, match="'seg' has the wrong dtype"):
        PatchSampler(model, (RAW, RAW), targets=lambda labels: (np.zeros((2, 10, 10)), labels * 0.5)).batch(0)


def test_class_ranges_hold_for_functions_too():
    with pytest.raises(ArgumentError, match=r"'target' has values out of range.*got 2 to 2; expected -1 to 1"):
        PatchSampler(flat(), (RAW, RAW), targets=lambda labels: labels + 2).batch(0)


def test_example_weights_lie_where_the_labels_do():
    parent = chain(NET, (10, 10), "b,f,y,x")
    probs = nm.Softmax(nm.Conv(parent, 2, (1, 1), activation_func="lin", print_repr=False), name="p", print_repr=False)
    target = nm.Input_like(probs, "int32", override_f=1, name="target", print_repr=False)
    weights = nm.Input_like(probs, "float32", override_f=1, name="weights", print_repr=False)
    present = nm.Input((2, 2), "b,f", name="present", print_repr=False)
    nll = nm.MultinoulliNLL(
        probs, target, target_is_sparse=True, example_weights=weights, mask_class_labeled=present, print_repr=False
    )
    model = nm.model_manager.current
    model.designate_nodes("raw", target, nm.AggregateLoss([nll], print_repr=False), probs)
    code = positions(RAW.shape)
    volume = LabelledVolume(RAW, code % 2, extras={"weights": code.astype("float32"), "present": np.ones(2)})
    for augment in ((), (Flip(), Warp(rotation=30))):
        batch = PatchSampler(model, volume, augment=augment).batch(0)
        named = dict(zip([n.name for n in model.loss_node.input_nodes], batch, strict=True))
        np.testing.assert_array_equal(named["weights"] % 2, named["target"])
        assert named["present"].shape == (2, 2)
        assert np.isfinite(model.trainingstep(*batch, optimiser="SGD")[0])
    with pytest.raises(GraphError, match=r"nothing for \['weights', 'present'\]"):
        PatchSampler(model, (RAW, RAW))
    with pytest.raises(ShapeError, match="weights must be as large as the labels"):
        PatchSampler(model, LabelledVolume(RAW, RAW, extras={"weights": RAW[1:]}))


def test_a_target_of_other_features():
    with pytest.raises(ShapeError, match=r"labels do not fit the target 'target'.*got 2 channels.*expected 1"):
        PatchSampler(flat(), (RAW, np.stack([RAW, RAW])))


def test_regression_targets_stay_floats():
    node = chain(NET, (10, 10), "b,f,y,x")
    target = nm.Input_like(node, name="target", print_repr=False)
    labels = np.random.default_rng(0).random(RAW.shape).astype("float32")
    _, made = PatchSampler(node, (labels, labels), target=target).batch(0)
    assert made.dtype == nm.config.floatX and set(np.unique(made)) <= set(np.unique(labels))
