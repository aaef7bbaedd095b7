"""Networks as people have them: imported, saved, trained, and predicted in tiles as PyTorch predicts at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neuromancer as nm
from neuromancer.errors import GraphError
from tests.interop import networks as unets
from tests.interop import networks_more as others
from tests.interop.torch_checks import check, check_dense, check_file, imported, random, reloaded, run, seeded

EQUIVARIANT = {
    "cropping 3-D": (unets.CroppingUNet, {}, (1, 1, 8, 12, 16), (1, 12, 18, 20)),
    "cropping, planar": (unets.CroppingUNet, {"planar": True}, (1, 1, 8, 12, 16), (1, 11, 18, 20)),
    "cropping 2-D": (unets.CroppingUNet, {"ndim": 2}, (1, 1, 12, 16), (1, 30, 34)),
    "cropping, valid": (unets.CroppingUNet, {"ndim": 2, "valid": True}, (1, 1, 32, 32), (1, 40, 44)),
    "valid, nearest": (unets.ValidUNet, {}, (1, 1, 24, 24, 24), (1, 24, 28, 26)),
    "valid, transposed": (unets.ValidUNet, {"nearest": False}, (1, 1, 24, 24, 24), (1, 24, 28, 26)),
    "valid, anisotropic": (unets.ValidUNet, {"factor": (1, 3, 3)}, (1, 1, 16, 28, 28), (1, 20, 31, 34)),
    "bilinear": (unets.LinearUNet, {"norm": False}, (1, 1, 16, 16), (1, 32, 36)),
    "trilinear, anisotropic": (
        unets.LinearUNet, {"ndim": 3, "norm": False, "factor": (1, 2, 2)}, (1, 1, 8, 16, 16), (1, 9, 18, 16),
    ),
    "RSUNet": (unets.RSUNet, {}, (1, 1, 8, 16, 16), (1, 9, 18, 20)),
    "attention gates": (unets.AttentionUNet, {}, (1, 1, 16, 16), (1, 32, 36)),
    "DeepLab": (
        others.DeepLabV3Plus, {"align_corners": False, "image_pool": False}, (1, 1, 32, 32), (1, 48, 40),
    ),
    "MeshNet": (others.MeshNet, {}, (1, 1, 8, 8, 8), (1, 11, 13, 12)),
    "ConvNeXt": (others.ConvNeXtBlock, {}, (1, 4, 12, 12), (4, 21, 23)),
    "MobileNetV2": (others.InvertedResidual, {}, (1, 4, 12, 12), (4, 21, 23)),
    "MobileNetV2, strided": (others.InvertedResidual, {"stride": 2}, (1, 4, 12, 12), (4, 20, 24)),
    "dense blocks": (others.DenseBlocks, {}, (1, 1, 16, 16), (1, 32, 36)),
    "fusion": (others.Fusion, {}, (1, 1, 16, 16), (1, 32, 36)),
    "pyramid": (others.FPN, {}, (1, 1, 16, 16), (1, 32, 40)),
    "pixel shuffle": (others.ShuffleHead, {}, (1, 1, 16, 16), (1, 20, 23)),
    "gated": (others.Gated, {}, (1, 1, 16), (1, 35)),
    "GLU": (others.Gated, {"module": True}, (1, 1, 16), (1, 35)),
    "normalising": (others.Normalising, {}, (1, 3, 16, 16), (3, 20, 23)),
    "dict": (others.Heads, {}, (1, 1, 16, 16), (1, 20, 23)),
    "list": (others.Heads, {"kind": list}, (1, 1, 16, 16), (1, 20, 23)),
    "tuple": (others.Heads, {"kind": tuple}, (1, 1, 16, 16), (1, 20, 23)),
    "used twice": (others.Twice, {}, (1, 2, 16, 16), (2, 20, 23)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", EQUIVARIANT)
def test_tiles_equal_the_whole_image(name, tmp_path):
    make, options, shape, raw = EQUIVARIANT[name]
    module = seeded(make, **options)
    model = check(module, shape)
    assert "halo" in model.import_report.geometry
    # The model as imported has predicted the whole image; in tiles, it is that of the file.
    check_dense(reloaded(model, tmp_path), module, raw, (12,) * (len(shape) - 2))


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [(2, 2, 2, 2), (3, 4, 6, 3)])
def test_resnet_encoders(blocks):
    module = seeded(unets.ResNetUNet, blocks)
    model = check(module, (1, 3, 64, 64))
    if sum(blocks) == 8:
        check_dense(model, module, (3, 96, 96), (64, 64))


WHOLE = {
    "UNet3D": (unets.UNet3D, {}, (1, 1, 8, 8, 8), "down1.0.0"),
    "ResidualUNet3D": (unets.ResidualUNet3D, {}, (1, 1, 8, 8, 8), "down1.body"),
    "ResidualUNet3D, scSE": (unets.ResidualUNet3D, {"se": True}, (1, 1, 8, 8, 8), "se.squeeze"),
    "instance norm": (unets.LinearUNet, {}, (1, 1, 16, 16), "down.0"),
    "style": (unets.StyleUNet, {}, (1, 2, 16, 16), "avg_pool2d"),
    "DeepLab, corners": (others.DeepLabV3Plus, {"image_pool": False}, (1, 1, 32, 32), "up"),
    "DeepLab, image pool": (others.DeepLabV3Plus, {"align_corners": False}, (1, 1, 32, 32), "branches.3.body.0"),
    "MedNeXt": (others.MedNeXtBlock, {}, (1, 4, 8, 8, 8), "norm"),
    "squeeze-excite": (others.SqueezeExcite, {}, (1, 1, 12, 12), "pool"),
    "squeeze-excite 3-D": (others.SqueezeExcite, {"ndim": 3}, (1, 1, 6, 6, 6), "pool"),
    "MobileNetV3": (others.InvertedResidual, {"hard": True}, (1, 4, 12, 12), "squeeze.0"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_tiles_are_refused_where_the_whole_image_matters(name, tmp_path):
    make, options, shape, place = WHOLE[name]
    model = check(seeded(make, **options), shape)
    check_file(model, shape, tmp_path)
    assert "statistics='volume'" in model.import_report.geometry
    with pytest.raises(GraphError, match=place):
        model.prediction_node.predict_dense(random(shape[1:]), tile=(4,) * (len(shape) - 2), progress=False)


CLASSIFIERS = {
    "fixed size": (others.Classifier, {}, (1, 1, 16, 16)),
    "2-D": (others.PooledClassifier, {}, (1, 1, 16, 16)),
    "mean": (others.PooledClassifier, {"by_mean": True}, (1, 1, 16, 16)),
    "3-D": (others.PooledClassifier, {"ndim": 3}, (1, 1, 8, 8, 8)),
    "1-D": (others.PooledClassifier, {"ndim": 1}, (1, 1, 16)),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name, tmp_path):
    make, options, shape = CLASSIFIERS[name]
    model = check(seeded(make, **options), shape)
    check_file(model, shape, tmp_path)
    assert ("one size only" in str(model.import_report)) == (name == "fixed size")


def test_several_outputs_are_several_nodes():
    module = seeded(others.Heads)
    model = imported(module, (1, 1, 16, 16))
    assert [node.shape["f"] for node in model.prediction_ext] == [2, 1]
    array = random((1, 1, 20, 24))
    for node, wanted in zip(model.prediction_ext, run(module, array), strict=True):
        np.testing.assert_allclose(node.infer(array), wanted, atol=1e-5)


def test_sizes_of_an_example_that_the_strides_divide_are_kept():
    for size, checked in ((28, 28), (27, 28), (26, 28), (29, 31)):
        model = imported(seeded(unets.ValidUNet, 2, factor=3), (1, 1, size, size))
        assert model.import_report.checks[0].shape == (1, 1, checked, checked)


def test_halo_of_dilated_convolutions_is_the_sum_of_their_reach():
    model = imported(others.MeshNet(), (1, 1, 8, 8, 8))
    assert "field of view (17, 17, 17)" in model.import_report.geometry
    assert "halo (8, 8, 8)" in model.import_report.geometry


def test_what_is_imported_is_trained():
    module = seeded(unets.CroppingUNet, 2)
    model = imported(module, (1, 1, 16, 16))
    target = nm.Input((None, 1, None, None), "b,f,y,x", name="target", dtype="int16", print_repr=False)
    probs = nm.Softmax(model.prediction_node, name="probs", print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, print_repr=False)
    loss = nm.AggregateLoss(nll, print_repr=False)
    model.designate_nodes(model.input_node, target, loss, probs)
    model.set_opt_meta_params("Adam", {"lr": 0.01})
    raw = random((2, 1, 16, 16))
    labels = (raw > 0).astype("int16")
    losses = [float(model.trainingstep(raw, labels, optimiser="Adam")[0]) for _ in range(10)]
    assert losses[-1] < 0.9 * losses[0]


def test_fixed_interpolation_is_not_trained():
    model = imported(seeded(unets.RSUNet), (1, 1, 4, 16, 16))
    assert not [p for p in model.prediction_node.all_trainable_params if "widen.0" in p]


def test_lazy_modules_are_imported():
    assert imported(nn.LazyConv2d(2, 3), (1, 3, 8, 8)).import_report.verified
    assert torch.is_grad_enabled()
