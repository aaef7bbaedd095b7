"""Options of samplers, volumes, augmentations and schedules that are invalid or have no effect."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import errors
from neuromancer.train import (
    Blur,
    CutOut,
    DropSlices,
    Flip,
    GreyValues,
    LabelledVolume,
    Noise,
    OneOf,
    PatchSampler,
    Rotate90,
    ShiftSlices,
    Warp,
)
from tests.train.nets import classifier, line

RAW, LABELS = np.zeros((1, 30, 31), "float32"), np.zeros((30, 31), "uint8")
A, T, U = errors.ArgumentError, errors.InputTypeError, errors.UnknownNameError


def sampler(volume=(RAW, LABELS), **options):
    return PatchSampler(classifier(), volume, **options)


def changed(change):
    """A patch after an intensity augmentation."""
    return change(np.zeros((1, 6, 7, 8), "float32"), None, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"seed": True}, A, "seed"),
        ({"batch_size": 2.0}, errors.ShapeError, "batch size"),
        ({"patch_size": 10}, errors.ShapeError, r"not a patch size; got \[10\]"),
        ({"patch_size": "ab"}, errors.ShapeError, "not a patch size"),
        ({"axes": 3}, T, "axes"),
        ({"axes": ["y", "x"]}, T, "axes"),
        ({"pad_raw": "no"}, A, "pad_raw; got no; expected True or False"),
        ({"ignore": "255"}, A, "ignore"),
        ({"ignore": 0.5}, A, "ignore"),
        ({"ignore": 300}, A, r"ignore has no effect: no labels can have this value; got 300; expected .*uint8"),
        ({"balance": float("nan")}, A, "not a balance"),
        ({"balance": True}, A, "not a balance"),
        ({"balance_voxels": 10}, A, "balance_voxels has no effect without balance"),
        ({"balance_voxels": 0, "balance": 0.5}, A, "balance_voxels"),
        ({"augment": Flip()}, T, "not a list"),
        ({"augment": [Flip]}, T, "not a list"),
        ({"scale": ("a", "b")}, A, "not a scaling"),
        ({"scale": (0, 0)}, A, "not a scaling"),
        ({"scale": (True, 1)}, A, "not a scaling"),
        ({"label_map": 3}, T, "label_map is not a function"),
        ({"targets": [1]}, T, "targets is not a function"),
        ({"augment": [Flip(axes=3)]}, A, "no such axes"),
        ({"augment": [Flip(axes=[0.5])]}, A, "no such axes"),
        ({"augment": [Flip(p="x")]}, A, "probability"),
        ({"augment": [Rotate90(plane=7)]}, A, "no such axes"),
        ({"augment": [Warp(rotation=True)]}, A, "rotation"),
        ({"augment": [Warp(scaling="x")]}, A, "scaling"),
        ({"augment": [Warp(elastic=2, spacing=3)]}, A, "spacing"),
        ({"augment": [Warp(elastic=2, spacing=np.array([1.0, 0.0]))]}, A, "spacing"),
        ({"augment": [Warp(elastic=2, distance="x")]}, A, "distance"),
        ({"augment": [Warp(rotation=9, distance=4)]}, A, "distance has no effect without elastic"),
    ],
)  # fmt: skip
def test_of_a_sampler(options, error, message):
    with pytest.raises(error, match=message):
        sampler(**options)


def test_spacing_may_be_an_array():
    assert sampler(augment=[Warp(elastic=2, distance=9, spacing=np.array([2.0, 1.0]))]).batch(0)


def test_a_share_may_be_a_numpy_number():
    labels = LABELS + 1
    assert sampler((RAW, labels), balance=np.float32(0.5)).shares == {"foreground": 0.5}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weight": True}, A, "weight"),
        ({"weight": "x"}, A, "weight"),
        ({"label_offset": 3}, errors.ShapeError, "not an offset"),
        ({"label_offset": (0.0, 0.0)}, errors.ShapeError, "not an offset"),
        ({"label_offset": (np.nan, 0)}, errors.ShapeError, "not an offset"),
        ({"axes": 3}, A, "wrong axes"),
        ({"extras": [1]}, T, "extras"),
        ({"extras": {"weigths": LABELS}}, U, "the loss reads no such extra array; got weigths"),
    ],
)
def test_of_a_volume(options, error, message):
    with pytest.raises(error, match=message):
        sampler(LabelledVolume(RAW, LABELS, **options))


def test_a_function_must_return_a_pair():
    with pytest.raises(T, match=r"returned no pair; got ndarray; expected \(raw, labels\)"):
        sampler(augment=[lambda raw, labels, rng: raw]).batch(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GreyValues(contrast=[0.1, 0.2]), "contrast"),
        (lambda: GreyValues(gamma=True), "gamma"),
        (lambda: Noise(sigma=(0.1, 0.2)), "sigma"),
        (lambda: Noise(np.inf), "sigma"),
        (lambda: Blur("x"), "sigma"),
        (lambda: changed(Blur((1, 1), p=1)), "sigma.*one number, or 3"),
        (lambda: changed(CutOut((1, 1), p=1)), "size.*one number, or 3"),
        (lambda: CutOut(2.5), "size"),
        (lambda: CutOut((0, 2, 2)), "size"),
        (lambda: CutOut(number=1.5), "number"),
        (lambda: CutOut(number=0), "number"),
        (lambda: DropSlices(repeat="no"), "repeat"),
        (lambda: changed(DropSlices(axis=0.5)), "no such axis"),
        (lambda: changed(DropSlices(axis=3)), "no such axis"),
        (lambda: ShiftSlices(1.5), "shift"),
        (lambda: ShiftSlices(onwards="no"), "onwards"),
        (lambda: OneOf(5), "functions"),
        (lambda: OneOf([Noise]), "functions"),
        (lambda: nm.StepSchedule([(1.5, 2)]), "step"),
        (lambda: nm.StepSchedule([]), "no updates"),
        (lambda: nm.CosineSchedule(5, restart="no"), "restart"),
        (lambda: nm.CosineSchedule(5, end=1j), "end must be finite"),
        (lambda: nm.WarmUpSchedule(5, nm.CosineSchedule(5, start=1), start=2), "two different starts"),
        (lambda: nm.train.schedules.make_schedules(line(), {"lr": {"lindec": ["x", 1]}}), "lindec"),
        (lambda: nm.StepSchedule([(0, [1.0, 2.0])]).bind(line(), "loss_mixing_weights"), "another shape"),
        (
            lambda: nm.train.schedules.make_schedules(
                line(), {"mixing": {"updates": [(1, [2])]}, "loss_mixing_weights": {"updates": [(1, [3])]}}
            ),
            "two schedules set the same parameter",
        ),
    ],
)
def test_of_augmentations_and_schedules(make, message):
    with pytest.raises(A, match=message):
        make()


def test_a_schedule_may_be_shared():
    shared = nm.DecaySchedule(0.5, every=1)
    a, b = line(), line()
    a.lr, b.lr = 8, 4
    bound = [shared.bind(a, "lr"), shared.bind(b, "lr"), shared.bind(b, "wd", start=2)]
    assert [schedule.apply(1) for schedule in bound] == [4, 2, 1]
    assert (a.lr, b.lr, b.wd) == (4, 2, 1)


def test_binding_leaves_the_model_as_it_was():
    model = line()
    nm.StepSchedule([(0, 0.5), (9, 0.25)]).bind(model, "clip_norm")
    nm.LinearSchedule(9, start=0.5).bind(model, "lr")
    assert (model.clip_norm, model.meta.clipping, model.lr) == (0.0, (False, False), 1.0)
    assert not model.meta.given
