"""Segmentation losses against MONAI and torch: values and gradients, for moderate and extreme scores."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E

pytest.importorskip("monai", reason="MONAI is not installed together with Theano")

import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what MONAI imports
    from monai import losses as monai

QUIET = {"print_repr": False}
RNG = np.random.default_rng(0)
SHAPE = (3, 4, 5, 6)
SCORES = {
    "moderate": RNG.normal(size=SHAPE),
    "large": 8 * RNG.normal(size=SHAPE),
    "30": RNG.choice([-30.0, 30.0], SHAPE) + RNG.normal(size=SHAPE),
    "100": RNG.choice([-100.0, 100.0], SHAPE) + RNG.normal(size=SHAPE),
}
LABELS = RNG.integers(0, 4, (3, 1, 5, 6))
LABELS[:, :, 0, :4] = np.arange(4)  # every class in every image
MANY = RNG.integers(0, 2, SHAPE)
SIGMOID, SOFTMAX = {"sigmoid": True}, {"softmax": True, "to_onehot_y": True}
BOTH_OUTPUTS = pytest.mark.parametrize("output", ["softmax", "sigmoid"])


def torch_result(function, scores, target):
    x = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    # Labels as indices, many labels as numbers.
    value = function(x, torch.tensor(target if target.shape[1] == 1 else target.astype(float)))
    value.backward()
    return value.item(), x.grad.numpy()


def check(make, function, output, scores=tuple(SCORES), target=None, tolerance=1e-5, **kwargs):
    """Compare value and gradient of make(probabilities, labels) with function(scores, labels), for each of `scores`.

    Compiling takes most of the time, so one function serves all scores.
    """
    nm.config.floatX = "float64"
    softmax = output == "softmax"
    raw = nm.Input(SHAPE, "b,f,y,x", name="raw", **QUIET)
    if softmax:
        probs = nm.Softmax(raw, **QUIET)
    else:
        identity = [np.eye(4)[:, :, None, None], "const"]
        zero = [np.zeros(4), "const"]
        probs = nm.Conv(raw, 4, (1, 1), activation_func="sigmoid", w=identity, b=zero, **QUIET)
    labels = nm.Input_like(probs, override_f=1 if softmax else 4, name="labels", **QUIET)
    node = make(probs, labels, **kwargs, **QUIET)
    y = (LABELS if softmax else MANY) if target is None else target
    with E.building():
        cost = E.T.mean(node.output)
        (grad,) = E.grad(cost, [raw.output])
    ours = E.function([raw.output, labels.output], [cost, grad])
    for name in scores:
        found, gradient = ours(SCORES[name], y.astype(float))
        value, expected = torch_result(function, SCORES[name], y)
        assert found == pytest.approx(value, rel=tolerance, abs=1e-9), name
        atol = tolerance * abs(expected).max()
        np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=atol, err_msg=name)


def options(output):
    return SOFTMAX if output == "softmax" else SIGMOID


@BOTH_OUTPUTS
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("per_image", [False, True])
def test_dice(output, squared, per_image):
    theirs = monai.DiceLoss(**options(output), squared_pred=squared, batch=not per_image)
    check(nm.SoftDice, theirs, output, target_is_sparse=True, squared=squared, per_image=per_image)


@pytest.mark.parametrize("smooth", [1e-5, 1.0])
def test_dice_without_background(smooth):
    weights = [1.0, 2.0, 0.5]
    theirs = monai.DiceLoss(**SOFTMAX, include_background=False, smooth_nr=smooth, smooth_dr=smooth, weight=weights)
    ours = {"include_background": False, "smooth": smooth, "class_weights": [9.0, *weights]}
    theirs.class_weight = torch.tensor(weights)
    check(nm.SoftDice, _per_image(theirs), "softmax", ["moderate"], target_is_sparse=True, per_image=True, **ours)


def _per_image(loss):
    loss.batch = False
    return loss


@BOTH_OUTPUTS
@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.5), (0.3, 0.7)])
@pytest.mark.parametrize("per_image", [False, True])
def test_tversky(output, alpha, beta, per_image):
    theirs = monai.TverskyLoss(**options(output), alpha=alpha, beta=beta, batch=not per_image)
    check(nm.Tversky, theirs, output, alpha=alpha, beta=beta, target_is_sparse=True, per_image=per_image)


@BOTH_OUTPUTS
@pytest.mark.parametrize("per_image", [False, True])
def test_generalised_dice(output, per_image):
    theirs = monai.GeneralizedDiceLoss(**options(output), batch=not per_image)
    check(nm.GeneralisedDice, theirs, output, ["moderate", "large"], target_is_sparse=True, per_image=per_image)


def test_generalised_dice_of_missing_classes():
    labels = LABELS.copy()
    labels[0] = np.minimum(labels[0], 2)
    theirs = monai.GeneralizedDiceLoss(**SOFTMAX, include_background=False)
    ours = {"include_background": False, "per_image": True, "target_is_sparse": True}
    check(nm.GeneralisedDice, theirs, "softmax", ["moderate"], target=labels, **ours)


@BOTH_OUTPUTS
@pytest.mark.parametrize("gamma", [0.5, 2.0, 3.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_focal(output, gamma, alpha):
    softmax = output == "softmax"
    # MONAI's (1 - p)^gamma of a softmax has the gradient NaN at p = 1 for gamma < 1.
    scores = ["moderate"] if softmax and gamma < 1 else SCORES
    theirs = monai.FocalLoss(use_softmax=softmax, to_onehot_y=softmax, gamma=gamma, alpha=alpha)
    n = 4 if softmax else 1  # MONAI averages over the classes of a softmax
    check(nm.Focal, lambda x, y: n * theirs(x, y), output, scores, gamma=gamma, alpha=alpha, target_is_sparse=True)


@BOTH_OUTPUTS
@pytest.mark.parametrize(("ce", "dice"), [(1.0, 1.0), (0.3, 2.0)])
def test_dice_and_cross_entropy(output, ce, dice):
    if output == "softmax":
        theirs = monai.DiceCELoss(**SOFTMAX, lambda_ce=ce, lambda_dice=dice, batch=True)
    else:  # MONAI's cross-entropy of several features is that of a softmax

        def theirs(x, y):
            binary = torch.nn.functional.binary_cross_entropy_with_logits(x, y)
            return ce * binary + dice * monai.DiceLoss(sigmoid=True, batch=True)(x, y)

    check(nm.DiceCE, theirs, output, ce_weight=ce, dice_weight=dice, target_is_sparse=True)


@BOTH_OUTPUTS
@pytest.mark.parametrize("weight", [1.0, 0.4])
def test_dice_and_focal(output, weight):
    if output == "sigmoid":
        theirs = monai.DiceFocalLoss(sigmoid=True, lambda_focal=weight, batch=True)
    else:  # there, the focal loss of DiceFocalLoss is that of sigmoids
        focal, dice = monai.FocalLoss(use_softmax=True, to_onehot_y=True), monai.DiceLoss(**SOFTMAX, batch=True)

        def theirs(x, y):
            return 4 * weight * focal(x, y) + dice(x, y)

    check(nm.DiceFocal, theirs, output, focal_weight=weight, target_is_sparse=True)


# ---- torch
@pytest.mark.parametrize("make", [nm.MultinoulliNLL, nm.Focal])
def test_cross_entropy(make):
    kwargs = {"gamma": 0} if make is nm.Focal else {"eps": 0}

    def theirs(x, y):
        return torch.nn.functional.cross_entropy(x, y[:, 0])

    check(make, theirs, "softmax", target_is_sparse=True, **kwargs)


@pytest.mark.parametrize("make", [nm.MultinoulliNLL, nm.Focal])
def test_ignored_labels(make):
    labels = np.where(RNG.random(LABELS.shape) < 0.3, 77, LABELS)
    kwargs = {"gamma": 0} if make is nm.Focal else {"eps": 0}

    def theirs(x, y):
        return torch.nn.functional.cross_entropy(x, y[:, 0], ignore_index=77)

    check(make, theirs, "softmax", ["large"], target=labels, target_is_sparse=True, ignore_label=77, **kwargs)


def test_default_cross_entropy_of_extreme_scores():
    def theirs(x, y):
        return torch.nn.functional.cross_entropy(x, y[:, 0])

    # Ties give moderate probabilities, whose penalty is -log(p + 1e-5).
    check(nm.MultinoulliNLL, theirs, "softmax", ["30", "100"], target_is_sparse=True, tolerance=2e-3)


def test_binary_cross_entropy():
    def ours(probs, labels, **kwargs):
        return nm.BinaryNLL(probs, labels, eps=0, **kwargs)

    def theirs(x, y):
        n = y.numel()
        return torch.nn.functional.binary_cross_entropy_with_logits(x, y) * n / (n + 1)

    check(ours, theirs, "sigmoid")
