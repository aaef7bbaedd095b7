"""Layers of many features, which use fast convolutions, are as exact as others, whatever the tiling."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine
from tests.dense.nets import image

pytestmark = pytest.mark.skipif(engine.NAME == "theano", reason="Theano's convolutions are direct")

LAYERS = {
    "large kernels": ((5, 2), (5, 2), (5, 1)),
    "small kernels": ((2, 2), (3, 2), (3, 1), (3, 1)),
}


def network(layers, size, weights=None):
    """Chain of layers with 20 features, 3 at the end; optionally with the weights of another chain."""
    node = nm.Input((None, 1, *(size,) * 3), "b,f,z,y,x", print_repr=False)
    made = []
    for k, (kernel, pool) in enumerate(layers):
        values = {} if weights is None else dict(zip("wb", (p.get_value() for p in weights[k]), strict=True))
        last = k + 1 == len(layers)
        node = nm.Conv(
            node, 3 if last else 20, (kernel,) * 3, (pool,) * 3, activation_func="lin" if last else "relu",
            print_repr=False, **values,
        )  # fmt: skip
        made.append((node.w, node.b))
    return node, made


@pytest.fixture
def algorithms(monkeypatch):
    """Choose algorithms as for large images."""
    from neuromancer.engine.pytensor.kernels import conv_algorithm

    monkeypatch.setattr(conv_algorithm, "START", 0.0)
    decisions = conv_algorithm._decided, conv_algorithm._fastest
    for made in decisions:
        made.cache_clear()
    yield conv_algorithm
    for made in decisions:
        made.cache_clear()


@pytest.mark.parametrize("layers", list(LAYERS.values()), ids=list(LAYERS))
def test_values_are_those_of_the_definition(layers, algorithms, monkeypatch):
    chosen, choose = [], algorithms._decided
    extent = 1
    stride = 1
    for kernel, pool in layers:
        extent, stride = extent + (kernel + pool - 2) * stride, stride * pool
    node, weights = network(layers, extent)
    raw = image(1, *(extent + n for n in (19, 17, 22))).astype("float32") / 255
    monkeypatch.setattr(algorithms, "_decided", lambda *a: chosen.append(choose(*a)) or chosen[-1])
    dense = node.predict_dense(raw)
    assert any(algorithm is not None for algorithm in chosen)
    one, _ = network(layers, extent, weights)
    rng = np.random.default_rng(0)
    places = [rng.integers(0, dense.shape[1:]) for _ in range(25)] + [np.zeros(3, int), np.array(dense.shape[1:]) - 1]
    wanted = [one(raw[None, :, z : z + extent, y : y + extent, x : x + extent])[0, :, 0, 0, 0] for z, y, x in places]
    found = [dense[:, z, y, x] for z, y, x in places]
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(dense).max(), rtol=0)
    cut = node.predict_dense(raw, tile=(9, 11, 7))
    np.testing.assert_allclose(cut, dense, atol=1e-5 * np.abs(dense).max(), rtol=0)
