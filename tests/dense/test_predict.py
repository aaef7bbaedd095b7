"""predict_dense compared with its definition: the node evaluated at every position, or on the whole image at once."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer.dense import run
from neuromancer.dense.network import dense_network
from neuromancer.errors import GraphError, InputTypeError, ShapeError
from neuromancer.graph.rebuild import rebuild
from neuromancer.graph.window import BuildMode

RNG = np.random.default_rng(0)
TAGS = {1: "b,f,x", 2: "b,f,y,x", 3: "b,f,z,y,x"}


def free_function(node):
    """Function of the original node, for inputs of any size."""
    copies = rebuild([node], BuildMode(inference=True), free_sizes=True)
    return nm.make_func([copies[node.input_nodes[0]].output], copies[node].output)


def by_definition(node, raw):
    """Evaluate the node on the field of view of every position."""
    func, fov = free_function(node), node.shape.fov
    sizes = [n - f + 1 for n, f in zip(raw.shape[1:], fov, strict=True)]
    result = np.empty((node.shape["f"], *sizes))
    for place in product(*(range(n) for n in sizes)):
        window = raw[(slice(None), *(slice(i, i + f) for i, f in zip(place, fov, strict=True)))]
        result[(slice(None), *place)] = func(window[None].astype("float32")).ravel()
    return result


def close(got, want, tolerance=1e-5):
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= tolerance * max(1.0, np.abs(want).max())


def valid_input(layers, n_dim, outputs=1):
    """Smallest valid input size per axis for (kernel, pool) layers."""
    sizes = []
    for axis in range(n_dim):
        size = outputs
        for kernel, pool in reversed(layers):
            size = size * pool[axis] + kernel[axis] - 1
        sizes.append(size)
    return sizes


def chain(layers, n_dim, channels=2, tags=None, mfp=False, **kwargs):
    """Conv layers over an input of the smallest size that gives two outputs per axis."""
    inp = nm.Input((1, channels, *valid_input(layers, n_dim, 2)), tags or TAGS[n_dim], print_repr=False)
    node = inp
    for i, (kernel, pool) in enumerate(layers):
        act = "lin" if i == len(layers) - 1 else "tanh"
        node = nm.Conv(node, 3, kernel, pool, activation_func=act, print_repr=False, **kwargs)
    return nm.Softmax(node, print_repr=False)


@st.composite
def networks(draw):
    n_dim = draw(st.integers(1, 3))
    count = draw(st.integers(1, 3))
    per_axis = st.lists(st.integers(1, 3), min_size=n_dim, max_size=n_dim)
    layers = [(draw(per_axis), draw(per_axis) if i < 2 else [1] * n_dim) for i in range(count)]
    fov, stride = [1] * n_dim, [1] * n_dim
    for kernel, pool in layers:
        for k in range(n_dim):
            fov[k] += (kernel[k] + pool[k] - 2) * stride[k]
            stride[k] *= pool[k]
    extra = draw(st.lists(st.integers(0, 4 if n_dim == 3 else 7), min_size=n_dim, max_size=n_dim))
    budget = draw(st.sampled_from([3_000, 20_000, 1 << 30]))
    return n_dim, layers, fov, [f + e for f, e in zip(fov, extra, strict=True)], budget


@pytest.mark.slow
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(networks())
def test_random_networks_sizes_and_tiles(case):
    n_dim, layers, fov, raw_size, budget = case
    nm.model_manager.newmodel(None)
    node = chain(layers, n_dim)
    assert node.shape.fov == fov
    raw = RNG.random((2, *raw_size)).astype("float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "memory_budget", lambda: budget)
        close(node.predict_dense(raw), by_definition(node, raw))


def test_one_tile_or_many_give_the_same(monkeypatch):
    node = chain([((1, 4, 3), (1, 2, 2)), ((2, 3, 3), (2, 1, 1)), ((2, 2, 2), (1, 1, 1))], 3)
    raw = RNG.random((2, 11, 24, 27)).astype("float32")
    whole = node.predict_dense(raw)
    for budget in (30_000, 200_000):
        monkeypatch.setattr(run, "memory_budget", lambda budget=budget: budget)
        close(node.predict_dense(raw), whole, 1e-6)


def test_float64_is_exact(monkeypatch):
    nm.config.floatX = "float64"
    node = chain([((3, 2), (2, 2)), ((2, 3), (1, 1))], 2)
    raw = RNG.random((2, 13, 12))
    func = free_function(node)
    got = node.predict_dense(raw)
    assert got.dtype == "float64"
    for y, x in product(range(0, got.shape[1], 3), range(0, got.shape[2], 3)):
        window = raw[None, :, y : y + node.shape.fov[0], x : x + node.shape.fov[1]]
        np.testing.assert_allclose(got[:, y, x], func(window).ravel(), rtol=1e-12)


@pytest.mark.parametrize("tags", ["b,f,z,x,y", "b,f,x,y,z", "b,z,f,y,x"])
def test_axis_orders_are_by_position(tags):
    layers = [((1, 2, 3), (1, 2, 1)), ((2, 2, 2), (1, 1, 1))]
    if tags == "b,z,f,y,x":
        z, y, x = valid_input(layers, 3, 2)
        node = nm.Input((1, z, 2, y, x), tags, print_repr=False)
        for kernel, pool in layers:
            node = nm.Conv(node, 3, kernel, pool, print_repr=False)
    else:
        node = chain(layers, 3, tags=tags)
    raw = RNG.random((2, 5, 9, 8)).astype("float32")
    if tags != "b,z,f,y,x":
        close(node.predict_dense(raw), by_definition(node, raw))
    else:
        func = free_function(node)
        fov = node.shape.fov
        got = node.predict_dense(raw)
        for place in product(*(range(n) for n in got.shape[1:])):
            window = raw[(slice(None), *(slice(i, i + f) for i, f in zip(place, fov, strict=True)))]
            want = func(np.moveaxis(window, 0, 1)[None]).ravel()
            np.testing.assert_allclose(got[(slice(None), *place)], want, rtol=1e-4, atol=1e-5)


def test_stack_is_predicted_slice_by_slice(monkeypatch):
    node = chain([((3, 4), (2, 2)), ((2, 2), (1, 1))], 2)
    stack = RNG.random((2, 5, 15, 14)).astype("float32")
    want = np.stack([node.predict_dense(stack[:, z]) for z in range(5)], axis=1)
    close(node.predict_dense(stack), want, 1e-6)
    monkeypatch.setattr(run, "memory_budget", lambda: 1)
    close(node.predict_dense(stack), want, 1e-6)


@pytest.mark.parametrize("kernel", [(3, 3), (4, 3), (4, 4)])
def test_pad_raw_gives_the_size_of_the_image(kernel):
    node = chain([(kernel, (2, 2)), ((2, 2), (1, 1))], 2)
    raw = RNG.random((2, 14, 17)).astype("float32")
    got = node.predict_dense(raw, pad_raw=True)
    fov = node.shape.fov
    padded = np.pad(raw, [(0, 0), *((f // 2, (f - 1) // 2) for f in fov)], mode="symmetric")
    assert got.shape == (3, 14, 17)
    close(got, node.predict_dense(padded), 1e-6)
    small = RNG.random((2, 3, 2)).astype("float32")
    assert node.predict_dense(small, pad_raw=True).shape == (3, 3, 2)


@pytest.mark.parametrize(
    ("dtype", "scale"), [("uint8", 255), ("uint16", 65535), ("int64", 255), ("bool", 1), ("float64", 1)]
)
def test_dtypes_of_the_image(dtype, scale):
    node = chain([((2, 2), (2, 2)), ((2, 2), (1, 1))], 2)
    raw = (RNG.random((2, 9, 9)) * (200 if scale > 1 else 1.9)).astype(dtype)
    close(node.predict_dense(raw), node.predict_dense((raw / scale).astype("float32")), 1e-6)


def test_as_uint8_is_floor_of_255_p():
    node = chain([((2, 2), (2, 2))], 2)
    raw = RNG.random((2, 9, 9)).astype("float32")
    p = node.predict_dense(raw)
    got = node.predict_dense(raw, as_uint8=True)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, np.floor(p * 255))
    wild = nm.ApplyFunc(node.input_nodes[0], lambda x: 10 * x - 5)
    assert set(np.unique(wild.predict_dense(raw, as_uint8=True))) >= {0, 255}


@pytest.mark.slow
@pytest.mark.parametrize(
    "layers", [[((4, 4), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (1, 1))], [((2, 3), (3, 3)), ((2, 2), (1, 1))]]
)
def test_max_fragment_pooling_networks(layers):
    sizes = [
        f - 1 + s * 2 for f, s in zip(chain(layers, 2).shape.fov, np.prod([p for _, p in layers], axis=0), strict=True)
    ]
    plain = chain(layers, 2)
    node = nm.Input((1, 2, *sizes), "b,f,y,x", print_repr=False)
    for i, (kernel, pool) in enumerate(layers):
        act = "lin" if i == len(layers) - 1 else "tanh"
        node = nm.Conv(node, 3, kernel, pool, activation_func=act, mfp=max(pool) > 1, print_repr=False)
    fragments = nm.Softmax(node, print_repr=False)
    node = nm.FragmentsToDense(fragments, print_repr=False)
    ours = [n for n in node.sub_graph() if n.params]
    for a, b in zip(ours, [n for n in plain.sub_graph() if n.params], strict=True):
        a.set_param_values(b.get_param_values())
    raw = RNG.random((2, 17, 19)).astype("float32")
    close(node.predict_dense(raw), plain.predict_dense(raw), 1e-6)
    close(fragments.predict_dense(raw), plain.predict_dense(raw), 1e-6)


def same_net(pool=1):
    node = nm.Input((1, 2, 12, 12), "b,f,y,x", print_repr=False)
    node = nm.Conv(node, 3, (3, 5), (pool, pool), conv_mode="same", activation_func="tanh", print_repr=False)
    node = nm.Conv(node, 3, (3, 3), conv_mode="same", activation_func="lin", print_repr=False)
    return nm.Conv(node, 2, (2, 1), activation_func="lin", print_repr=False)


@pytest.mark.parametrize("budget", [3_000, 1 << 30])
def test_same_padding_is_exact_up_to_the_edges(monkeypatch, budget):
    monkeypatch.setattr(run, "memory_budget", lambda: budget)
    node = same_net()
    raw = RNG.random((2, 19, 23)).astype("float32")
    close(node.predict_dense(raw), free_function(node)(raw[None])[0])


@pytest.mark.parametrize("budget", [3_000, 1 << 30])
def test_same_padding_with_pools_contains_the_strided_answer(monkeypatch, budget):
    monkeypatch.setattr(run, "memory_budget", lambda: budget)
    node = same_net(pool=2)
    raw = RNG.random((2, 18, 22)).astype("float32")
    got = node.predict_dense(raw)
    want = free_function(node)(raw[None])[0]
    close(got[:, ::2, ::2][:, : want.shape[1], : want.shape[2]], want)


def test_crop_and_pad_nodes():
    inp = nm.Input((1, 2, 14, 15), "b,f,y,x", print_repr=False)
    conv = nm.Conv(inp, 3, (3, 3), print_repr=False)
    raw = RNG.random((2, 16, 13)).astype("float32")
    for node in (
        nm.Crop(conv, (2, 1), print_repr=False),
        nm.Pad(conv, (2, 1), print_repr=False),
        nm.Conv(nm.Pad(conv, (1, 1), print_repr=False), 2, (3, 3), print_repr=False),
        nm.Conv(inp, 2, (3, 4), conv_mode="full", print_repr=False),
    ):
        want = free_function(node)(raw[None])[0]
        close(node.predict_dense(raw), want)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run, "memory_budget", lambda: 1)
            close(node.predict_dense(raw), want)
        assert node.predict_dense(raw, pad_raw=True).shape[1:] == raw.shape[1:]


def unet(size=(22, 22), mode="valid"):
    def conv(parent, n_f, **kwargs):
        return nm.Conv(parent, n_f, (3, 3), conv_mode=mode, print_repr=False, **kwargs)

    inp = nm.Input((1, 1, *size), "b,f,y,x", print_repr=False)
    top = conv(inp, 3)
    mid = conv(nm.Pool(top, (2, 2), print_repr=False), 4)
    low = conv(nm.Pool(mid, (2, 2), print_repr=False), 5)
    up = conv(nm.AutoMerge(low, mid, upconv_n_f=4, print_repr=False), 4)
    node = conv(nm.AutoMerge(up, top, upconv_n_f=3, print_repr=False), 3)
    return nm.Conv(node, 2, (1, 1), activation_func="lin", print_repr=False)


@pytest.mark.parametrize("budget", [40_000, 1 << 30])
@pytest.mark.parametrize("mode", ["valid", "same"])
def test_upconvolution_networks_equal_one_pass(monkeypatch, mode, budget):
    monkeypatch.setattr(run, "memory_budget", lambda: budget)
    node = unet((26, 26) if mode == "valid" else (24, 24), mode)
    raw = RNG.random((1, 46, 42) if mode == "valid" else (1, 44, 40)).astype("float32")
    want = free_function(node)(raw[None])[0]
    close(node.predict_dense(raw), want)
    odd = raw[:, :-1, :-2]
    got = node.predict_dense(odd)
    assert got.shape == (2, want.shape[1] - 1, want.shape[2] - 2)
    filled = np.pad(odd, ((0, 0), (0, 1), (0, 2)), mode="symmetric")
    close(got, free_function(node)(filled[None])[0][:, : got.shape[1], : got.shape[2]])
    assert node.predict_dense(odd, pad_raw=True).shape[1:] == odd.shape[1:]


def test_upconvolution_below_a_further_pool_is_interleaved():
    top = unet((26, 26))
    node = nm.Pool(top, (2, 2), print_repr=False)
    raw = RNG.random((1, 46, 42)).astype("float32")
    fine = free_function(top)(raw[None])[0]
    coarse = free_function(node)
    got = node.predict_dense(raw)
    assert got.shape[1:] == tuple(n - 1 for n in fine.shape[1:])
    close(got[:, ::2, ::2], coarse(raw[None])[0])


def test_upconvolution_to_a_finer_grid_than_the_image():
    inp = nm.Input((1, 1, 8, 8), "b,f,y,x", print_repr=False)
    node = nm.UpConv(nm.Conv(inp, 3, (3, 3), print_repr=False), 2, (2, 2), identity_init=False, print_repr=False)
    raw = RNG.random((1, 13, 11)).astype("float32")
    close(node.predict_dense(raw), free_function(node)(raw[None])[0])
    assert node.shape.strides.tolist() == [0.5, 0.5]


def test_inside_a_larger_graph():
    node = chain([((3, 3), (2, 2)), ((2, 2), (1, 1))], 2)
    target = nm.Input_like(node, override_f=1, name="target", print_repr=False)
    nm.AggregateLoss(nm.MultinoulliNLL(node, target, target_is_sparse=True, print_repr=False), print_repr=False)
    raw = RNG.random((2, 9, 10)).astype("float32")
    close(node.predict_dense(raw), by_definition(node, raw))


def test_one_compilation_serves_all_sizes_and_follows_the_parameters():
    node = chain([((3, 3), (2, 2)), ((2, 2), (1, 1))], 2)
    a = RNG.random((2, 9, 10)).astype("float32")
    node.predict_dense(a)
    func = dense_network(node).func("f32").func
    first = node.predict_dense(a)
    node.predict_dense(RNG.random((2, 20, 12)).astype("float32"))
    assert dense_network(node).func("f32").func is func
    conv = node.parent
    conv.set_param_values({"b": [1.0, 0.0, -1.0]})
    changed = node.predict_dense(a)
    assert np.abs(changed - first).max() > 0.1
    close(changed, by_definition(node, a))


def test_inference_form_is_used():
    inp = nm.Input((1, 1, 8, 8), "b,f,y,x", print_repr=False)
    node = nm.Conv(inp, 2, (3, 3), dropout_rate=0.5, batch_normalisation="train", print_repr=False)
    raw = RNG.random((1, 9, 9)).astype("float32")
    np.testing.assert_array_equal(node.predict_dense(raw), node.predict_dense(raw))
    node.set_param_values({"mean": 0.3, "std": 2.0})
    close(node.predict_dense(raw[:, :8, :8]), node.infer(raw[None, :, :8, :8])[0])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (2, 3, 9),
            r"smaller than the field of view; got spatial shape \(3, 9\); expected at least \(5, 5\); "
            r"nearest valid: \(5, 9\), or pad_raw=True",
        ),
        (
            (1, 9, 9),
            r"wrong number of channels on its first axis; got shape \(1, 9, 9\); "
            r"expected \(f=2, y, x\) or \(f=2, z, y, x\)",
        ),
        ((9, 9), r"wrong number of axes.*nearest valid: raw\[None\], with a channel axis"),
        ((1, 2, 3, 9, 9), "wrong number of axes"),
    ],
)
def test_bad_images(shape, message):
    node = chain([((4, 4), (2, 2)), ((1, 1), (1, 1))], 2)
    with pytest.raises(ShapeError, match=message):
        node.predict_dense(np.ones(shape, "float32"))


def test_bad_image_dtype():
    node = chain([((3, 3), (2, 2))], 2)
    with pytest.raises(InputTypeError, match="no numeric dtype"):
        node.predict_dense(np.full((2, 9, 9), "a"))


def test_graphs_that_cannot_be_predicted_densely():
    inp = nm.Input((1, 2, 6, 6), "b,f,y,x", print_repr=False)
    flat = nm.Perceptron(inp, 3, flatten=True, print_repr=False)
    raw = np.ones((2, 9, 9), "float32")
    with pytest.raises(GraphError, match="Perceptron 'dot': dense prediction needs spatial axes"):
        flat.predict_dense(raw)
    other = nm.Input((1, 2, 6, 6), "b,f,y,x", name="other", print_repr=False)
    with pytest.raises(GraphError, match=r"exactly one tensor source; got \['input', 'other'\]"):
        nm.Add(inp, other, print_repr=False).predict_dense(raw)
    left, _ = nm.split(inp, "y", n_out=2)
    with pytest.raises(GraphError, match="FromTensor 'split1': moving the image does not move the output"):
        left.predict_dense(raw)


def test_progress_is_silent_unless_asked(capfd):
    node = chain([((3, 3), (2, 2))], 2)
    raw = RNG.random((2, 9, 9)).astype("float32")
    node.predict_dense(raw)
    assert capfd.readouterr().err == ""
    node.predict_dense(raw, progress=True)
    assert "MVx/s" in capfd.readouterr().err
    nm.config.progress = True
    node.predict_dense(raw, progress=False)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("crop", [1, 3])
@pytest.mark.parametrize("size", [32, 35])
def test_nodes_that_pad_behind_a_crop_never_pad_at_the_ends_of_tiles(crop, size):
    options = {"activation_func": "tanh", "print_repr": False}
    source = nm.Input((None, 1, 32), "b,f,x", print_repr=False)
    cropped = nm.Crop(source, (crop,), print_repr=False)
    pooled = nm.Pool(source, (2,), print_repr=False)
    low = nm.UpConv(nm.Conv(pooled, 2, (3,), conv_mode="same", **options), 2, (2,), **options)
    joined = nm.Crop(nm.Concat([source, low], print_repr=False), (crop,), print_repr=False)
    full = nm.Conv(cropped, 2, (3,), conv_mode="full", **options)
    for node in (
        nm.Conv(cropped, 2, (5,), conv_mode="same", **options),
        nm.Conv(nm.Crop(pooled, (crop,), print_repr=False), 2, (5,), conv_mode="same", **options),
        nm.Conv(joined, 2, (5,), conv_mode="same", **options),
        nm.Conv(nm.UpConv(nm.Pool(full, (2,), print_repr=False), 2, (2,), **options), 2, (3,), **options),
    ):
        raw = RNG.random((1, size)).astype("float32")
        whole = node.predict_dense(raw, tile=(64,))
        for tile in (1, 2, 3, 5, 8):
            np.testing.assert_allclose(node.predict_dense(raw, tile=(tile,)), whole, atol=1e-5)
