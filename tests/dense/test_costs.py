"""The cost model: multiplications of every kind of layer, growth with the block, memory of parameters and results."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer import engine
from neuromancer.dense.network import DenseNetwork


def source(size=20, channels=3, ndim=2):
    return nm.Input((None, channels, *(size,) * ndim), "b,f," + ",".join("zyx"[-ndim:]), print_repr=False)


def conv(parent, n_f=4, size=3, pool=1, **kwargs):
    ndim = parent.shape.ndim
    return nm.Conv(parent, n_f, (size,) * ndim, (pool,) * ndim, print_repr=False, **kwargs)


def unet():
    fine = conv(source(24))
    low = conv(nm.Pool(fine, (2, 2), print_repr=False), 6)
    up = nm.UpConv(low, 5, (2, 2), print_repr=False)
    return conv(up, 2, activation_func="lin")


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("make", ["up", "after a convolution", "below a convolution"])
def test_products_of_up_convolutions_are_those_of_the_nodes(ndim, make):
    """In the plain form, the sum over the nodes of the documented cost of each."""
    node = source(10, ndim=ndim)
    if make == "after a convolution":
        node = conv(node)
    node = nm.UpConv(node, 2, (2, 3, 2)[:ndim], identity_init=False, print_repr=False)
    if make == "below a convolution":
        node = conv(node)
    network = DenseNetwork([node])
    whole = sum(n.computational_cost for n in node.sub_graph() if "w" in n.params)
    assert network.costs([10] * ndim).products == whole


def test_a_u_net_multiplies_as_often_as_its_nodes_say():
    node = unet()
    whole = sum(n.computational_cost for n in node.sub_graph() if "w" in n.params)
    assert DenseNetwork([node]).costs([24, 24]).products == whole


@pytest.mark.parametrize("make", [unet, lambda: conv(conv(source(), 4, 3, 2), 2), lambda: conv(source(), 2)])
def test_nothing_shrinks_as_the_block_grows(make):
    costs = DenseNetwork([make()]).costs
    small = [costs([n, 40]) for n in (24, 28, 32, 40)]
    for key in ("seconds", "products", "memory"):
        values = [getattr(cost, key) for cost in small]
        assert values == sorted(values) and values[0] < values[-1]


@settings(deadline=None, max_examples=20)
@given(st.integers(12, 40), st.integers(12, 40), st.integers(1, 5))
def test_images_and_axes_count_alike(height, width, images):
    costs = test_images_and_axes_count_alike.costs
    one, many = costs([height, width]), costs([height, width], images)
    assert many.products == images * one.products
    assert one.memory <= many.memory <= images * one.memory
    assert costs([width, height]).products == one.products


test_images_and_axes_count_alike.costs = DenseNetwork([conv(conv(source(), 4, 3, 2), 2)]).costs


def test_parameters_are_counted_once_however_many_nodes_share_them():
    inp = source(4, 64)
    first = conv(inp, 64)
    own, shared = conv(inp, 64), conv(inp, 64, w=first.w, b=first.b)
    both = [DenseNetwork([nm.Add(first, other, print_repr=False)]).costs for other in (own, shared)]
    size = sum(p.get_value().nbytes for p in first.params.values())
    assert size > 100_000
    assert [costs.parameters for costs in both] == [2 * size, size]
    assert both[0]([4, 4]).memory - both[1]([4, 4]).memory >= size


def test_a_result_is_freed_after_its_last_reader():
    """A longer chain of equal layers needs no more memory; keeping the first result does."""
    layers = [source(100, 8)]
    for _ in range(6):
        layers.append(nm.ApplyFunc(layers[-1], nm.T.tanh))
    short, long = (DenseNetwork([layers[k]]).costs([100, 100]).memory for k in (3, 6))
    assert short == long
    kept = DenseNetwork([nm.Add(layers[1], layers[6], print_repr=False)]).costs([100, 100]).memory
    one = 8 * 100 * 100 * np.dtype(nm.config.floatX).itemsize
    assert kept - long == one


@pytest.mark.skipif(engine.NAME == "theano", reason="Theano joins arrays before it convolves them")
def test_parts_that_a_convolution_reads_in_place_are_not_joined():
    """Memory for the joined array is counted only if the convolution copies it, or if something else reads it."""

    def joined(padding_mode="zeros", with_outputs=False):
        fine = conv(source(64, 3), 16, 1)
        both = nm.Concat([fine, conv(fine, 16, 1)], print_repr=False)
        head = conv(both, 2, 3, padding=1, padding_mode=padding_mode, activation_func="lin")
        return [head, both] if with_outputs else [head]

    size = 16 * 600 * 600 * 4
    memory = {key: DenseNetwork(joined(*key)).costs([600, 600]).memory for key in (("zeros",), ("reflect",))}
    assert size < memory[("reflect",)] - memory[("zeros",)] < 3 * size
    assert DenseNetwork(joined()).costs.joins and not DenseNetwork(joined("zeros", True)).costs.joins


def test_an_image_in_another_memory_format_is_copied(monkeypatch):
    node = conv(conv(source(20), 6), 4)
    memory = {}
    for first, second in [(True, True), (True, False), (False, False), (False, True), (None, None)]:
        kinds = {6: first, 4: second}
        monkeypatch.setattr(engine, "is_planar", lambda x, w, *rest, kinds=kinds: kinds[w[0]])
        memory[first, second] = DenseNetwork([node]).costs([20, 20]).memory
    same = memory.pop((True, True))
    image = 18**2 * 6 * np.dtype(node.output.dtype).itemsize
    assert same + 0.8 * image < memory.pop((True, False)) <= same + image  # where the peak was may differ
    assert set(memory.values()) == {same}


def test_a_workspace_is_counted_with_the_images_of_its_layer_only(monkeypatch):
    """The second layer pools, so that the third one's images are small."""
    node = conv(conv(conv(source(20), 5, 1), 6, 1, 4), 4, 1)
    monkeypatch.setattr(engine, "is_planar", lambda *layer: None)
    memory = {}
    for n_f, workspace in [(0, 0), (6, 20_000), (4, 1000), (4, 1_000_000)]:
        scratch = {n_f: workspace}
        monkeypatch.setattr(engine, "conv_cost", lambda x, w, *rest, scratch=scratch: (0, 0, scratch.get(w[0], 0)))
        memory[n_f, workspace] = DenseNetwork([node]).costs([20, 20]).memory
    least = memory.pop((0, 0))
    assert memory[4, 1000] == least < memory[6, 20_000] <= least + 20_000
    assert least < memory[4, 1_000_000] < least + 1_000_000


@pytest.mark.skipif(engine.NAME == "theano", reason="Theano joins arrays before it convolves them")
def test_a_convolution_of_parts_costs_what_it_costs_in_parts(monkeypatch):
    fine = conv(source(64, 3), 16, 1)
    asked = []

    def conv_cost(*layer):
        asked.append(layer[1:2] + layer[6:])
        return 1.0, 0.0, 0.0

    monkeypatch.setattr(engine, "conv_cost", conv_cost)
    both = nm.Concat([fine, conv(fine, 16, 1)], print_repr=False)
    DenseNetwork([conv(both, 2, 3, padding=1)]).costs([600, 600])
    assert [(kernel[:2], in_parts) for kernel, in_parts in asked] == [
        ((16, 3), False), ((16, 16), False), ((2, 32), True)
    ]  # fmt: skip
