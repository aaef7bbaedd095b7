"""Layers of Keras 3: the imported network computes what Keras computes, at two sizes."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import errors as nm_errors

from .keras_models import evaluated, functional, keras, saved, sequential

L = keras.layers
OPEN2, OPEN3 = (None, None, 3), (None, None, None, 2)

CHAINS = {
    "conv1d": ((None, 3), [L.Conv1D(4, 3, padding="causal", dilation_rate=2)]),
    "conv1d strided": ((None, 3), [L.Conv1D(4, 4, strides=3, padding="same")]),
    "conv2d": (OPEN2, [L.Conv2D(4, (3, 2), padding="same", activation="relu")]),
    "conv2d groups": ((None, None, 4), [L.Conv2D(6, 3, groups=2, use_bias=False)]),
    "conv2d strided": (OPEN2, [L.Conv2D(4, 3, 2, "same"), L.Conv2D(2, 4, (2, 3), "same")]),
    "conv3d": (OPEN3, [L.Conv3D(4, (1, 3, 3), padding="same", dilation_rate=(1, 2, 2), activation="elu")]),
    "separable": (OPEN2, [L.SeparableConv2D(5, 3, strides=2, padding="same", depth_multiplier=2, activation="relu6")]),
    "separable 1d": ((None, 3), [L.SeparableConv1D(5, 3, dilation_rate=2)]),
    "depthwise": (OPEN2, [L.DepthwiseConv2D((3, 5), padding="same", depth_multiplier=2)]),
    "depthwise 1d": ((None, 3), [L.DepthwiseConv1D(4, padding="same", use_bias=False)]),
    "transposed": (OPEN2, [L.Conv2DTranspose(4, 2, strides=2), L.Conv2DTranspose(3, 3, strides=2, padding="same")]),
    "transposed even": (OPEN2, [L.Conv2DTranspose(4, 4, strides=2, padding="same", activation="tanh")]),
    "transposed wide": (OPEN2, [L.Conv2DTranspose(4, 2, strides=3), L.Conv2DTranspose(2, 5, strides=(1, 3))]),
    "transposed output": (OPEN2, [L.Conv2DTranspose(4, 3, strides=2, padding="same", output_padding=1)]),
    "transposed 1d": ((None, 3), [L.Conv1DTranspose(4, 3, strides=2, padding="same")]),
    "transposed 3d": (OPEN3, [L.Conv3DTranspose(3, 3, strides=(1, 2, 2), padding="same")]),
    "dense": (OPEN2, [L.Dense(4, activation="sigmoid")]),
    "batch norm": (OPEN2, [L.Conv2D(4, 3), L.BatchNormalization(epsilon=0.01), L.BatchNormalization(scale=False)]),
    "batch norm bare": (OPEN2, [L.BatchNormalization(center=False, scale=False), L.BatchNormalization(center=False)]),
    "layer norm": (OPEN2, [L.LayerNormalization(), L.LayerNormalization(scale=False, epsilon=0.1)]),
    "group norm": ((None, None, 4), [L.GroupNormalization(2), L.GroupNormalization(-1, center=False)]),
    "group norm one": ((None, None, 4), [L.GroupNormalization(4, scale=False, center=False)]),
    "normalization": (OPEN2, [L.Normalization(mean=[0.5, 1, 2], variance=[1, 4, 0.25]), L.Normalization()]),
    "normalization inverted": (OPEN2, [L.Normalization(mean=0.5, variance=2.0, axis=None, invert=True)]),
    "rescaling": (OPEN2, [L.Rescaling(1 / 255, offset=-0.5), L.Rescaling([1.0, 2.0, 3.0], [0.0, 1.0, 0.5])]),
    "prelu": (OPEN2, [L.PReLU(shared_axes=[1, 2]), L.Conv2D(2, 1), L.PReLU(shared_axes=[1, 2, 3])]),
    "relus": (OPEN2, [L.ReLU(), L.Conv2D(4, 1), L.ReLU(6.0), L.Conv2D(4, 1), L.ReLU(1.0, negative_slope=0.2)]),
    "leaky": (OPEN2, [L.LeakyReLU(), L.Conv2D(2, 1), L.LeakyReLU(negative_slope=0.1), L.ELU(0.5)]),
    "softmax": (OPEN2, [L.Softmax()]),
    "fused softmax": (OPEN2, [L.Conv2D(4, 1, activation="softmax")]),
    "fused layer": (OPEN2, [L.Conv2D(4, 1, activation=L.LeakyReLU(negative_slope=0.4))]),
    "max pool": (OPEN2, [L.MaxPooling2D(), L.MaxPooling2D(3, strides=2, padding="same"), L.MaxPooling2D(2, 1, "same")]),
    "average pool": (OPEN2, [L.AveragePooling2D((2, 3)), L.AveragePooling2D((3, 4), strides=(1, 2), padding="same")]),
    "pools 3d": (OPEN3, [L.MaxPooling3D((1, 2, 2)), L.AveragePooling3D(2, strides=1, padding="same")]),
    "pools 1d": ((None, 3), [L.MaxPooling1D(2), L.AveragePooling1D(3, strides=1, padding="same")]),
    "global average": (OPEN2, [L.Conv2D(4, 3), L.GlobalAveragePooling2D(), L.Dense(3, activation="softmax")]),
    "global max": (OPEN3, [L.GlobalMaxPooling3D(keepdims=True), L.Flatten(), L.Dense(3)]),
    "nearest": (OPEN2, [L.UpSampling2D((2, 3))]),
    "bilinear": (OPEN2, [L.UpSampling2D(i, interpolation="bilinear") for i in (2, (3, 4))]),
    "nearest 3d": (OPEN3, [L.UpSampling3D((1, 2, 2))]),
    "nearest 1d": ((None, 3), [L.UpSampling1D(3)]),
    "padding": (OPEN2, [L.ZeroPadding2D(((1, 2), (0, 3))), L.Conv2D(2, 3), L.Cropping2D((1, 2))]),
    "padding 1d": ((None, 3), [L.ZeroPadding1D((1, 2)), L.Cropping1D((0, 1)), L.ZeroPadding1D(1)]),
    "padding 3d": (OPEN3, [L.ZeroPadding3D((1, 0, 2)), L.Cropping3D(((0, 1), (0, 0), (2, 1)))]),
    "nothing": (OPEN2, [L.Dropout(0.5), L.Conv2D(2, 1), L.SpatialDropout2D(0.5), L.GaussianNoise(1.0),
                        L.AlphaDropout(0.1), L.GaussianDropout(0.5), L.Identity(), L.Activation("linear")]),
    "flat": ((6, 5, 2), [L.Conv2D(3, 3), L.Flatten(), L.Dense(4, activation="relu"), L.Dropout(0.1), L.Dense(2)]),
    "vectors": ((5,), [L.Dense(4, activation="relu"), L.BatchNormalization(), L.Dense(2, activation="softmax")]),
    "reshape": ((6, 5, 2), [L.Conv2D(3, 3), L.Reshape((4, 3, 3)), L.Permute((1, 2, 3))]),
}  # fmt: skip


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("absl").setLevel(logging.ERROR)


def imported(path, **options):
    model = nm.from_keras(path, print_report=False, **options)
    report = model.import_report
    assert report.verified and report.largest_difference < 1e-5, str(report)
    return model


@pytest.mark.parametrize("case", CHAINS)
def test_layers(case, tmp_path):
    shape, layers = CHAINS[case]
    twice = len(shape) < 2 or None in shape
    network = sequential(shape, *layers)
    report = imported(saved(network, tmp_path)).import_report
    assert len({check.shape for check in report.checks}) == 2 or not twice or len(shape) == 1


@pytest.mark.parametrize("case", list(CHAINS)[::3])
def test_hdf5(case, tmp_path):
    shape, layers = CHAINS[case]
    imported(saved(sequential(shape, *layers), tmp_path, "h5"))


ACTIVATIONS = """relu relu6 elu selu gelu sigmoid hard_sigmoid hard_silu hard_swish silu swish mish tanh softplus
    softsign softmax log_softmax exponential linear leaky_relu log_sigmoid celu""".split()


def test_activations(tmp_path):
    """All in one network, as options of layers and as layers."""

    def build(x):
        fused = [L.Conv2D(2, 1, activation=name, name=f"f_{name}")(x) for name in ACTIVATIONS]
        return L.Concatenate()([*fused, *(L.Activation(name, name=f"a_{name}")(x) for name in ACTIVATIONS[:3])])

    model = imported(saved(functional((None, None, 3), build), tmp_path), example=(6, 5))
    assert model["f_gelu.gelu"].activation_func == "gelu" and model["a_relu"].activation_func == "relu"


def joined(x):
    a, b = L.Conv2D(3, 3, padding="same", name="a")(x), L.Conv2D(3, 1, name="b")(x)
    out = L.Concatenate()([L.Add()([a, b, x]), L.Subtract()([a, b]), L.Multiply()([a, b]), L.Average()([a, b, x])])
    return [out, a - b, (a + 1.0) * 2.0 / (keras.ops.sigmoid(b) + 0.5), 1.0 - keras.ops.relu(a)]


def test_joins_and_functions(tmp_path):
    model = imported(saved(functional((None, None, 3), joined), tmp_path))
    assert len(model.prediction_ext) == 4 and model.prediction_node.shape["f"] == 12


def squeeze(x):
    x = L.Conv2D(4, 3, padding="same")(x)
    gate = L.Reshape((1, 1, 4))(L.GlobalAveragePooling2D()(x))
    gate = L.Dense(4, activation="sigmoid")(L.Dense(2, activation="relu")(gate))
    return L.Multiply()([x, gate])


def test_squeeze_and_excitation(tmp_path):
    model = imported(saved(functional((None, None, 3), squeeze), tmp_path))
    assert "whole image" in model.import_report.geometry


def test_a_layer_used_twice_is_one_set_of_weights(tmp_path):
    def build(x):
        conv, norm = L.Conv2D(3, 3, padding="same", name="conv"), L.BatchNormalization(name="norm")
        return norm(conv(norm(conv(x))))

    model = imported(saved(functional((None, None, 3), build), tmp_path))
    convs = [n for n in model.nodes.values() if type(n).__name__ == "Conv"]
    assert len(convs) == 2 and convs[0].w is convs[1].w and model.import_report.parameters == 84 + 6


def nested(x, shared):
    def block():
        layers = [L.Conv2D(3, 3, padding="same", name="conv"), L.BatchNormalization(name="norm")]
        return keras.Sequential([keras.Input((None, None, 3)), *layers], name="block")

    first, inner = block(), keras.Input((None, None, 3))
    second = first if shared else block()
    twin = keras.Model(inner, [L.Conv2D(2, 1, name="conv")(inner), second(inner)], name="twin")
    a, b = twin(first(x))
    return L.Concatenate()([L.Conv2D(1, 1, name="conv")(a), b])


def test_networks_in_networks(tmp_path):
    model = imported(saved(functional((None, None, 3), lambda x: nested(x, False)), tmp_path))
    assert {"conv", "block.conv", "twin.conv", "twin.block.conv"} <= set(model.nodes)


def test_a_network_shared_by_two_networks(tmp_path):
    """It is stored once, and Keras itself cannot find it again from both places."""
    network = functional((None, None, 3), lambda x: nested(x, True))
    model = nm.from_keras(saved(network, tmp_path), print_report=False)
    assert model["block.conv"].w is model["twin.block.conv"].w
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 9)).astype("float32")
    np.testing.assert_allclose(model.prediction_node.infer(x), evaluated(network, x), atol=1e-5)


def test_networks_in_networks_in_hdf5(tmp_path):
    imported(saved(functional((None, None, 3), lambda x: nested(x, False)), tmp_path, "h5"))


def test_average_pools_do_not_count_padding(tmp_path):
    """As in TensorFlow; Keras with PyTorch repeats the last value where more is padded at one end."""
    path = saved(sequential((None, 1), L.AveragePooling1D(3, 2, "same")), tmp_path)
    model = nm.from_keras(path, print_report=False)
    assert not model.import_report.verified and "PyTorch" in model.import_report.reference
    x = np.arange(8, dtype="float32")
    expected = [x[i : i + 3].mean() for i in range(0, 8, 2)]
    np.testing.assert_allclose(model.prediction_node.infer(x[None, None])[0, 0], expected, rtol=1e-6)


def test_channels_first(tmp_path):
    first = {"data_format": "channels_first"}

    def build(x):
        a = L.Conv2D(4, 3, padding="same", activation="relu", **first)(x)
        b = L.MaxPooling2D(2, **first)(L.BatchNormalization(axis=1)(a))
        c = L.Concatenate(axis=1)([L.UpSampling2D(2, **first)(b), L.PReLU(shared_axes=[2, 3])(a)])
        return L.Softmax(axis=1)(L.Conv2DTranspose(2, 2, strides=2, **first)(c))

    model = imported(saved(functional((3, None, None), build), tmp_path), tags="yx")
    assert "".join(model.input_node.shape.tags) == "bfyx"


def test_several_inputs(tmp_path):
    a, b = keras.Input((None, None, 2), name="left"), keras.Input((None, None, 3), name="right")
    network = keras.Model([a, b], L.Conv2D(2, 3)(L.Concatenate()([a, b])))
    model = imported(saved(network, tmp_path))
    assert {"left", "right"} <= set(model.nodes)


def test_fixed_sizes_become_open(tmp_path):
    model = imported(saved(sequential((200, 300, 1), L.Conv2D(2, 3)), tmp_path))
    assert list(model.input_node.shape.spatial_shape) == [None, None]
    assert all(max(check.shape) < 100 for check in model.import_report.checks)


def test_sizes_stay_fixed_where_the_network_needs_that(tmp_path):
    layers = L.Conv2D(2, 3), L.MaxPooling2D(8), L.Flatten(), L.Dense(3)
    model = imported(saved(sequential((100, 90, 1), *layers), tmp_path))
    assert list(model.input_node.shape.spatial_shape) == [100, 90]


def test_sizes_are_grown_to_what_the_network_takes(tmp_path):
    def build(x):
        a = L.Conv2D(2, 3)(L.Conv2D(2, 3)(x))
        b = L.UpSampling2D(2)(L.Conv2D(2, 3)(L.MaxPooling2D(2)(a)))
        return L.Conv2D(2, 3)(L.Concatenate()([b, L.Cropping2D(2)(a)]))

    assert imported(saved(functional((None, None, 1), build), tmp_path)).import_report.checks


def test_frozen_layers_are_constant(tmp_path):
    network = sequential((None, None, 1), L.Conv2D(2, 3, name="kept"), L.Conv2D(2, 3, name="trained"))
    network.layers[0].trainable = False
    model = imported(saved(network, tmp_path))
    assert not model["kept"].w.apply_train and model["trained"].w.apply_train


def test_mixed_precision_becomes_float32(tmp_path):
    network = sequential((None, None, 1), L.Conv2D(2, 3, dtype="mixed_float16"), L.ReLU(dtype="mixed_float16"))
    report = imported(saved(network, tmp_path)).import_report
    assert any("float32 rather than" in note for note in report.notes)


def test_dropout_that_stays_on_is_refused(tmp_path):
    network = functional((None, None, 1), lambda x: L.Dropout(0.5)(L.Conv2D(2, 3)(x), training=True))
    with pytest.raises(nm_errors.TranslationError, match="called with options"):
        nm.from_keras(saved(network, tmp_path), print_report=False)


def test_padding_that_depends_on_sizes_is_noted(tmp_path):
    network = sequential((None, None, 1), L.Conv2D(2, 3, strides=2, padding="same", name="down"))
    notes = imported(saved(network, tmp_path)).import_report.notes
    assert any("'down'" in note for note in notes)
    assert not imported(saved(sequential((None, None, 1), L.MaxPooling2D()), tmp_path)).import_report.notes
