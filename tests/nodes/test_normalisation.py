"""Normalisations against NumPy: values, gradients, running statistics, dense prediction, bad inputs, files."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, GraphError, InputTypeError, ShapeError, UnknownNameError
from tests.nodes.layers import check_gradients, per_feature, random, registered, source

QUIET = {"print_repr": False}
LAYOUTS = [((3, 4), "b,f"), ((2, 4, 5), "b,f,x"), ((2, 4, 3, 5), "b,f,y,x"), ((2, 3, 4, 2, 5), "b,z,f,y,x")]


def standard(x, axes, eps, gamma=1.0, beta=0.0):
    """Standardise in double precision."""
    x = np.asarray(x, "float64")
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return gamma * (x - mean) / np.sqrt(var + eps) + beta


def grouped(x, axis, n, eps):
    """Group normalisation without gamma and beta, over all axes behind the batch that are not on `axis`."""
    moved = np.moveaxis(x, axis, 1)
    flat = standard(moved.reshape(len(x), n, -1), 2, eps).reshape(moved.shape)
    return np.moveaxis(flat, 1, axis)


def learn(node):
    """Give gamma and beta random values, and return them."""
    values = {key: random(*p.get_value().shape, seed=k) for k, (key, p) in enumerate(node.params.items())}
    values = {key: value for key, value in values.items() if key in ("gamma", "beta")}
    node.set_param_values(values)
    return values


def train(node, *batches):
    """Apply the updates of the running statistics."""
    step = nm.make_func(node.input_tensors, node.output, updates=node.all_extra_updates)
    for x in batches:
        step(x)


@pytest.mark.parametrize(("shape", "tags"), LAYOUTS)
def test_batch_norm(shape, tags):
    nm.config.floatX = "float64"
    x, axis = 2 * random(*shape) + 3, tags.split(",").index("f")
    node = nm.BatchNorm(source(shape, tags), eps=0.1, **QUIET)
    gamma, beta = (per_feature(v, x.ndim, axis) for v in learn(node).values())
    others = tuple(i for i in range(x.ndim) if i != axis)
    np.testing.assert_allclose(node(x), standard(x, others, 0.1, gamma, beta), rtol=1e-10)
    assert node.shape == node.parent.shape and node.computational_cost == x.size
    assert list(node.all_trainable_params) == ["batchnorm_gamma", "batchnorm_beta"]
    assert not any(p.apply_reg for p in node.params.values())
    check_gradients(node)


@pytest.mark.parametrize("kind", [nm.BatchNorm, nm.InstanceNorm])
def test_running_statistics(kind):
    nm.config.floatX = "float64"
    node = kind(source((3, 2, 4, 5)), momentum=0.25, track_running_stats=True, **QUIET)
    axes = (0, 2, 3) if kind is nm.BatchNorm else (2, 3)
    mean, var = np.zeros(2), np.ones(2)
    batches = [random(3, 2, 4, 5, seed=k) + k for k in range(4)]
    for x in batches:
        means, variances = x.mean(axes), x.var(axes, ddof=1)
        if kind is nm.InstanceNorm:
            means, variances = means.mean(0), variances.mean(0)
        mean, var = 0.75 * mean + 0.25 * means, 0.75 * var + 0.25 * variances
    train(node, *batches)
    got = node.get_param_values()
    np.testing.assert_allclose(got["mean"], mean, rtol=1e-10)
    np.testing.assert_allclose(got["var"], var, rtol=1e-10)
    x = batches[0]
    want = (x - per_feature(mean, 4)) / np.sqrt(per_feature(var, 4) + 1e-5)
    np.testing.assert_allclose(node.infer(x), want, rtol=1e-10)
    assert np.abs(node(x) - want).max() > 0.1
    assert node.equivariant


def test_one_value_has_no_variance():
    node = nm.BatchNorm(source((1, 2), "b,f"), **QUIET)
    train(node, [[5.0, 6.0]])
    np.testing.assert_allclose(node.get_param_values()["var"], 1)
    np.testing.assert_allclose(node.get_param_values()["mean"], [0.5, 0.6], rtol=1e-6)


def test_statistics_of_the_batch_only():
    x = random(2, 3, 6).astype("float32")
    node = nm.BatchNorm(source(x.shape), track_running_stats=False, **QUIET)
    assert list(node.params) == ["gamma", "beta"] and node.all_extra_updates == []
    np.testing.assert_allclose(node.infer(x), standard(x, (0, 2), 1e-5), rtol=1e-4, atol=1e-6)
    with pytest.raises(GraphError, match="'batchnorm' normalises by statistics of all images of a batch"):
        node.predict_dense(x[0])
    flat = nm.BatchNorm(source((4, 3), "b,f"), track_running_stats=False, **QUIET)
    assert flat.equivariant


def test_constant_statistics_are_used_in_training():
    x = random(2, 3, 6).astype("float32")
    mean, var = random(3, seed=1), random(3, seed=2) ** 2
    node = nm.BatchNorm(source(x.shape), mean=[mean, "const"], var=[var, "const"], **QUIET)
    want = (x - per_feature(mean, 3)) / np.sqrt(per_feature(var, 3) + 1e-5)
    for got in (node(x), node.infer(x)):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert node.all_extra_updates == []


def test_shared_parameters():
    inp = source((2, 3, 6))
    first = nm.BatchNorm(inp, name="first", **QUIET)
    second = nm.BatchNorm(inp, gamma=first.gamma, mean=first.mean, name="second", **QUIET)
    assert list(second.params) == ["beta", "var"] and second.mean is first.mean
    assert [p for p, _ in second.all_extra_updates] == [second.var]


@pytest.mark.parametrize(("shape", "tags"), LAYOUTS[1:])
@pytest.mark.parametrize("affine", [False, True])
def test_instance_norm(shape, tags, affine):
    nm.config.floatX = "float64"
    x, axis = 2 * random(*shape) + 3, tags.split(",").index("f")
    node = nm.InstanceNorm(source(shape, tags), affine, **QUIET)
    space = tuple(node.shape.spatial_axes)
    gamma, beta = (per_feature(v, x.ndim, axis) for v in learn(node).values()) if affine else (1, 0)
    for got in (node(x), node.infer(x)):
        np.testing.assert_allclose(got, standard(x, space, 1e-5, gamma, beta), rtol=1e-9, atol=1e-10)
    assert list(node.params) == (["gamma", "beta"] if affine else [])
    check_gradients(node)


@pytest.mark.parametrize(("shape", "tags"), LAYOUTS)
@pytest.mark.parametrize("n", [1, 2, 4])
def test_group_norm(shape, tags, n):
    nm.config.floatX = "float64"
    x, axis = 2 * random(*shape) + 3, tags.split(",").index("f")
    node = nm.GroupNorm(source(shape, tags), n, eps=0.1, **QUIET)
    gamma, beta = (per_feature(v, x.ndim, axis) for v in learn(node).values())
    np.testing.assert_allclose(node(x), gamma * grouped(x, axis, n, 0.1) + beta, rtol=1e-9, atol=1e-10)
    assert node.equivariant == (tags == "b,f")
    check_gradients(node)


@pytest.mark.parametrize(
    ("shape", "tags", "axes"),
    [
        ((3, 4), "b,f", "f"),
        ((2, 4, 3, 5), "b,f,y,x", "f"),
        ((2, 4, 3, 5), "b,f,y,x", "x,f,y"),
        ((2, 4, 3, 5), "b,f,y,x", ["y", "x"]),
        ((2, 3, 4, 2, 5), "b,z,f,y,x", "f,x"),
        ((3, 2, 4), "r,b,f", "f"),
    ],
)
def test_layer_norm(shape, tags, axes):
    nm.config.floatX = "float64"
    x = 2 * random(*shape) + 3
    node = nm.LayerNorm(source(shape, tags), axes, eps=0.1, **QUIET)
    listed = axes.split(",") if isinstance(axes, str) else axes
    over = tuple(i for i, tag in enumerate(tags.split(",")) if tag in listed)
    values = learn(node)
    assert values["gamma"].shape == tuple(shape[i] for i in over)
    ones = [shape[i] if i in over else 1 for i in range(x.ndim)]
    want = standard(x, over, 0.1, values["gamma"].reshape(ones), values["beta"].reshape(ones))
    np.testing.assert_allclose(node(x), want, rtol=1e-9, atol=1e-10)
    assert node.equivariant == (not set(listed) & set("zyx"))
    check_gradients(node)


def test_open_sizes():
    x = random(2, 4, 5, 6).astype("float32")
    inp = source((None, 4, None, None))
    for node, axes in (
        (nm.InstanceNorm(inp, **QUIET), (2, 3)),
        (nm.GroupNorm(inp, 1, **QUIET), (1, 2, 3)),
        (nm.LayerNorm(inp, **QUIET), (1,)),
        (nm.LayerNorm(inp, "y,x", affine=False, **QUIET), (2, 3)),
        (nm.BatchNorm(inp, **QUIET), (0, 2, 3)),
    ):
        np.testing.assert_allclose(node(x), standard(x, axes, 1e-5), rtol=1e-4, atol=1e-5)
        assert node.shape.shape == [None, 4, None, None]
    ints = nm.InstanceNorm(source((1, 1, 4), dtype="int16"), **QUIET)
    np.testing.assert_allclose(ints([[[1, 2, 3, 4]]]), standard([[[1, 2, 3, 4]]], 2, 1e-5), rtol=1e-5)


@pytest.mark.parametrize("offset", [0, 1000, -1e6])
@pytest.mark.parametrize("kind", ["batch", "instance", "group", "layer"])
def test_a_large_mean_costs_no_precision(kind, offset):
    x = (offset + random(2, 8, 20, 21)).astype("float32")
    inp = source(x.shape)
    node, axes = {
        "batch": lambda: (nm.BatchNorm(inp, **QUIET), (0, 2, 3)),
        "instance": lambda: (nm.InstanceNorm(inp, **QUIET), (2, 3)),
        "group": lambda: (nm.GroupNorm(inp, 1, **QUIET), (1, 2, 3)),
        "layer": lambda: (nm.LayerNorm(inp, **QUIET), (1,)),
    }[kind]()
    np.testing.assert_allclose(node(x), standard(x, axes, 1e-5), atol=2e-5)


@pytest.mark.parametrize("value", [0, 0.1, -1000.1, 1e6])
def test_constant_images_become_nothing(value):
    x = np.full((1, 2, 19, 23), value, "float32")
    inp = source(x.shape)
    for node in (nm.InstanceNorm(inp, **QUIET), nm.GroupNorm(inp, 1, **QUIET), nm.BatchNorm(inp, **QUIET)):
        np.testing.assert_allclose(node(x), 0, atol=1e-6)


# ---- dense prediction
@pytest.mark.parametrize("kind", ["batch", "instance", "layer"])
def test_tiles_equal_the_whole_image(kind):
    inp = source((1, 2, 20, 20))
    conv = nm.Conv(inp, 4, (3, 3), (2, 2), activation_func="tanh", **QUIET)
    node = {
        "batch": lambda: nm.BatchNorm(conv, **QUIET),
        "instance": lambda: nm.InstanceNorm(conv, True, track_running_stats=True, **QUIET),
        "layer": lambda: nm.LayerNorm(conv, **QUIET),
    }[kind]()
    learn(node)
    if kind != "layer":
        node.set_param_values({"mean": random(4, seed=3), "var": random(4, seed=4) ** 2})
    out = nm.Conv(node, 3, (2, 2), activation_func="tanh", **QUIET)
    raw = random(2, 21, 23).astype("float32")
    dense = out.predict_dense(raw)
    np.testing.assert_allclose(out.predict_dense(raw, tile=(5, 7)), dense, rtol=1e-5, atol=1e-5)
    whole = out.infer(raw[None, :, :20, :20])[0]
    np.testing.assert_allclose(
        dense[:, : 2 * whole.shape[1] : 2, : 2 * whole.shape[2] : 2], whole, rtol=1e-4, atol=1e-5
    )


def test_all_nodes_that_need_the_whole_image_are_named():
    inp = source((1, 4, 8, 8))
    node = nm.InstanceNorm(inp, name="one", **QUIET)
    node = nm.LayerNorm(nm.Conv(node, 4, (1, 1), **QUIET), name="harmless", **QUIET)
    node = nm.GroupNorm(node, 2, name="two", **QUIET)
    node = nm.LayerNorm(node, "f,y,x", name="three", **QUIET)
    node = nm.Product([node, nm.GlobalPool(node, name="four", **QUIET)], name="out", **QUIET)
    raw = random(4, 8, 8).astype("float32")
    for ask in (lambda: node.predict_dense(raw), lambda: node.plan_dense(raw.shape, "float32")):
        with pytest.raises(GraphError) as error:
            ask()
        text = str(error.value)
        assert "'out': the output depends on the whole image" in text
        assert "statistics='volume'" in text and "sliding_window=" in text
        for name in ("one", "two", "three"):
            assert f"Norm '{name}' normalises by statistics of the whole image" in text
        assert "GlobalPool 'four' takes the average over the whole image" in text and "harmless" not in text
    assert node.infer(raw[None]).shape == (1, 4, 8, 8)


def test_patch_sizes_are_free():
    inp = source((1, 4, 8, 8))
    node = nm.Conv(nm.GroupNorm(nm.InstanceNorm(inp, **QUIET), 2, **QUIET), 2, (3, 3), (2, 2), **QUIET)
    assert 10 in nm.get_valid_patch_sizes(node)[0] and 11 not in nm.get_valid_patch_sizes(node)[0]
    fixed = nm.LayerNorm(inp, "f,y,x", **QUIET)
    assert not fixed.takes_any_size and nm.LayerNorm(inp, "y,x", affine=False, **QUIET).takes_any_size


# ---- files
def test_files_keep_parameters_and_statistics(tmp_path, fresh_model):
    inp = nm.Input((2, 4, 5, 6), "b,f,y,x", name="raw", **QUIET)
    node = nm.BatchNorm(inp, eps=1e-3, momentum=0.3, gamma=random(4), name="batch", **QUIET)
    node = nm.InstanceNorm(node, True, track_running_stats=True, name="instance", **QUIET)
    node = nm.GroupNorm(node, 2, beta=[random(4, seed=1), "const"], name="group", **QUIET)
    node = nm.LayerNorm(node, "x,f", name="layer", **QUIET)
    x = random(2, 4, 5, 6).astype("float32")
    learn(node)
    train(node, x, x + 1)
    want = node(x), node.infer(x)
    fresh_model.save(tmp_path / "norms.h5")
    loaded = nm.modelload(tmp_path / "norms.h5")["layer"]
    for got, expected in zip((loaded(x), loaded.infer(x)), want, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert len(loaded.all_extra_updates) == 4 and loaded.parent.beta.constant
    locked = nm.modelload(tmp_path / "norms.h5", make_weights_constant=True)["layer"]
    assert not locked.all_trainable_params and not locked.all_extra_updates
    np.testing.assert_allclose(locked.infer(x), want[1], rtol=1e-4, atol=1e-5)
    free = nm.modelload(tmp_path / "norms.h5", unlock_all_params=True)["layer"]
    assert "group_beta" in free.all_trainable_params and "batch_mean" not in free.all_trainable_params


# ---- bad inputs
@pytest.mark.parametrize(
    ("build", "error", "says"),
    [
        (lambda x: nm.BatchNorm(x, eps=0, **QUIET), ArgumentError, "eps must be a positive number; got 0"),
        (lambda x: nm.BatchNorm(x, eps=1e-60, **QUIET), ArgumentError, "more than 0 and finite in float32"),
        (lambda x: nm.BatchNorm(x, eps=1e300, **QUIET), ArgumentError, "more than 0 and finite in float32"),
        (lambda x: nm.BatchNorm(x, eps=10**400, **QUIET), ArgumentError, "eps must be a positive number"),
        (lambda x: nm.BatchNorm(x, eps="a", **QUIET), ArgumentError, "eps"),
        (lambda x: nm.BatchNorm(x, affine=1, **QUIET), ArgumentError, "affine must be a bool"),
        (lambda x: nm.BatchNorm(x, momentum=1.5, **QUIET), ArgumentError, r"momentum.*got 1.5; expected .*\[0, 1\]"),
        (lambda x: nm.BatchNorm(x, affine=False, beta=np.ones(4), **QUIET), ArgumentError, "beta with affine=False"),
        (
            lambda x: nm.InstanceNorm(x, mean=np.ones(4), **QUIET),
            ArgumentError,
            "InstanceNorm 'instancenorm': .*mean with track_running_stats=False; nearest .*: track_running_stats=True",
        ),
        (lambda x: nm.BatchNorm(x, gamma=np.ones(3), **QUIET), ShapeError, r"'gamma' has the wrong shape; got \(3,\)"),
        (lambda x: nm.BatchNorm(x, var=-np.ones(4), **QUIET), ArgumentError, "a variance is negative; got var=-1"),
        (lambda x: nm.BatchNorm(x, gamma=[1, 2], **QUIET), ArgumentError, "'gamma' is given in an unknown form"),
        (lambda x: nm.BatchNorm(3, **QUIET), InputTypeError, "node"),
        (lambda x: nm.InstanceNorm(source((2, 3), "b,f"), **QUIET), ShapeError, "there are none.*LayerNorm"),
        (lambda x: nm.GroupNorm(x, 3, **QUIET), ShapeError, "f=4, n_groups=3; .*nearest valid: 2"),
        (lambda x: nm.GroupNorm(x, 0, **QUIET), ArgumentError, "n_groups must be a positive integer"),
        (lambda x: nm.GroupNorm(source((2, None, 3)), 1, **QUIET), ShapeError, "known number of features"),
        (lambda x: nm.LayerNorm(x, "z", **QUIET), UnknownNameError, "the parent has no axis 'z'"),
        (lambda x: nm.LayerNorm(x, "b,f", **QUIET), ArgumentError, "nearest valid: BatchNorm"),
        (lambda x: nm.LayerNorm(x, [], **QUIET), ArgumentError, "some of"),
        (lambda x: nm.LayerNorm(x, "q", **QUIET), ShapeError, "unknown tag 'q'"),
        (lambda x: nm.LayerNorm(source((1, 2, None)), "x", **QUIET), ShapeError, "affine=False"),
        (lambda x: nm.BatchNorm(source((2, 3), "b,x"), **QUIET), UnknownNameError, "axis tagged 'f'"),
    ],
)
def test_bad_arguments_leave_nothing_behind(build, error, says):
    parent = source((2, 4, 5, 6))
    with pytest.raises(error, match=says):
        build(parent)
    assert not [name for name in registered() if "norm" in name]
