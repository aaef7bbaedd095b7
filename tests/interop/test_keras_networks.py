"""Networks of the kinds that people have: StarDist, CARE, MeshNet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import neuromancer as nm
from neuromancer.errors import ArgumentError, InputTypeError, NeuromancerError

from .keras_models import evaluated, functional, keras, saved

L = keras.layers
BRAIN = Path(__file__).parents[2] / "examples/data/brain"
MESHNET = Path(__file__).parents[3] / "shared/data/meshnet"


def block(x, n, name, ndim=2):
    conv = {2: L.Conv2D, 3: L.Conv3D}[ndim]
    for k in range(2):
        x = conv(n, 3, padding="same", activation="relu", name=f"{name}_{k}")(x)
    return x


def stardist(x):
    """U-Net on a grid of 2 with two heads, as StarDist has."""
    x = L.MaxPooling2D(2)(block(x, 4, "grid"))
    a = block(x, 4, "down0")
    b = block(L.MaxPooling2D(2)(a), 8, "down1")
    middle = L.BatchNormalization()(block(L.MaxPooling2D(2)(b), 8, "middle"))
    c = block(L.Concatenate()([L.UpSampling2D(2)(middle), b]), 8, "up1")
    d = block(L.Concatenate()([L.UpSampling2D(2)(c), a]), 4, "up0")
    features = L.Conv2D(8, 3, padding="same", activation="relu", name="features")(d)
    return [
        L.Conv2D(1, 1, activation="sigmoid", name="prob")(features),
        L.Conv2D(6, 1, activation="linear", name="dist")(features),
    ]


def care(x):
    """3-D U-Net that adds its input, as CARE has."""
    a = block(x, 4, "down0", 3)
    b = block(L.MaxPooling3D((1, 2, 2))(a), 8, "middle", 3)
    c = block(L.Concatenate()([L.UpSampling3D((1, 2, 2))(b), a]), 4, "up0", 3)
    return L.Add(name="sum")([L.Conv3D(1, 1, name="residual")(c), x])


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_stardist(kind, tmp_path):
    network = functional((None, None, 1), stardist)
    model = nm.from_keras(saved(network, tmp_path, kind), print_report=False)
    assert model.import_report.verified and model.import_report.largest_difference < 1e-5
    assert [n.name for n in model.prediction_ext] == ["prob.sigmoid", "dist"]
    raw = np.random.default_rng(0).standard_normal((1, 64, 48)).astype("float32")
    whole = model.prediction_node.infer(raw[None])
    keras_prob = keras.ops.convert_to_numpy(network(np.moveaxis(raw[None], 1, -1), training=False)[0])
    np.testing.assert_allclose(whole, np.moveaxis(keras_prob, -1, 1), atol=1e-5)
    dense = model.predict_dense(raw, pad_raw=True)
    assert dense.shape == (1, 64, 48)


def test_care(tmp_path):
    network = functional((None, None, None, 1), care)
    model = nm.from_keras(saved(network, tmp_path), print_report=False)
    assert model.import_report.verified and "halo (" in model.import_report.geometry
    x = np.random.default_rng(0).standard_normal((1, 1, 5, 12, 8)).astype("float32")
    expected = evaluated(network, x)
    np.testing.assert_allclose(model.prediction_node.infer(x), expected, atol=1e-5 * np.abs(expected).max())
    model.save(tmp_path / "model.mdl")
    again = nm.modelload(tmp_path / "model.mdl")
    np.testing.assert_array_equal(again.prediction_node.infer(x), model.prediction_node.infer(x))


# ---- MeshNet
needs_meshnet = pytest.mark.skipif(not MESHNET.is_dir(), reason="the shared data are not there")
DILATIONS = {"model5_gw_ae": [1, 2, 4, 8, 16, 8, 4, 2, 1], "mindgrab": [16, 8, 4, 2, 1] * 5}


def arrays_of(folder):
    document = json.loads((folder / "model.json").read_text())
    group = document["weightsManifest"][0]
    data, at, found = np.fromfile(folder / group["paths"][0], "<f4"), 0, {}
    for spec in group["weights"]:
        n = int(np.prod(spec["shape"]))
        found[spec["name"]] = torch.from_numpy(data[at : at + n].reshape(spec["shape"]).copy())
        at += n
    return found


def meshnet(folder, x, dilations, activation, normalised):
    """Compute a MeshNet from its binaries."""
    arrays = arrays_of(folder)
    names = list(dict.fromkeys(name.partition("/")[0] for name in arrays))
    for name, dilation in zip(names, [*dilations, 1], strict=True):
        kernel = arrays[f"{name}/kernel"].permute(4, 3, 0, 1, 2)
        pad = dilation * (kernel.shape[-1] // 2)
        x = torch.nn.functional.conv3d(x, kernel, arrays.get(f"{name}/bias"), padding=pad, dilation=dilation)
        if name != "output":
            x = activation(torch.nn.functional.instance_norm(x) if normalised else x)
    return x.numpy()


def test_meshnet_is_what_its_weights_say_and_exact_in_tiles():
    model = nm.from_keras(BRAIN / "model.json", example=(24, 24, 24), print_report=False)
    assert model.import_report.verified and "halo (46, 46, 46)" in model.import_report.geometry
    raw = np.random.default_rng(0).random((1, 40, 40, 40)).astype("float32")
    expected = meshnet(BRAIN, torch.from_numpy(raw[None]), DILATIONS["model5_gw_ae"], torch.relu, False)
    whole = model.prediction_node.infer(raw[None])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(whole, expected, atol=1e-5 * scale)
    np.testing.assert_allclose(model.predict_dense(raw, pad_raw=True), expected[0], atol=1e-5 * scale)


@needs_meshnet
def test_normalisation_that_only_names_tell():
    folder = MESHNET / "mindgrab"
    model = nm.from_keras(folder, example=(12, 12, 12), instance_norm="*_gn", print_report=False)
    assert not model.import_report.verified and "whole image" in model.import_report.geometry
    x = np.random.default_rng(0).random((1, 1, 20, 18, 16)).astype("float32")
    expected = meshnet(folder, torch.from_numpy(x), DILATIONS["mindgrab"], torch.nn.functional.gelu, True)
    np.testing.assert_allclose(model.prediction_node.infer(x), expected, atol=1e-4 * np.abs(expected).max())
    with pytest.raises(NeuromancerError, match="instance_norm"):
        model.predict_dense(x[0], pad_raw=True)


@needs_meshnet
def test_names_that_may_stand_for_normalisation_are_noted():
    path = MESHNET / "mindgrab/model.json"
    with pytest.raises(ArgumentError, match="no convolution"):
        nm.from_keras(path, instance_norm="*_norm")
    with pytest.raises(InputTypeError, match="names of layers"):
        nm.from_keras(path, instance_norm=3)
