"""Rebuilding a graph in another mode."""

from __future__ import annotations

import numpy as np

import neuromancer as nm
from neuromancer.graph.rebuild import rebuild
from neuromancer.graph.window import BuildMode

X = np.random.default_rng(0).random((2, 3, 6, 6)).astype("float32")


def source():
    return nm.Input((2, 3, 6, 6), "b,f,y,x", print_repr=False)


def test_copies_share_parameters_and_inputs_and_are_not_registered(fresh_model):
    inp = source()
    node = nm.Conv(inp, 4, (3, 3), dropout_rate=0.5, print_repr=False)
    names, children = list(fresh_model.nodes), dict(inp.children)
    copies = rebuild([node], BuildMode(inference=True))
    twin = copies[node]
    assert list(fresh_model.nodes) == names
    assert inp.children == children
    assert twin is not node
    assert twin.w is node.w
    assert twin.parent is copies[inp]
    assert copies[inp].output is inp.output
    assert twin.build_mode.inference
    assert not node.build_mode.inference


def test_inference_mode_is_deterministic():
    node = nm.Conv(source(), 4, (3, 3), dropout_rate=0.5, print_repr=False)
    assert np.abs(node(X) - node(X)).max() > 0
    np.testing.assert_array_equal(node.infer(X), node.infer(X))


def test_free_sizes_leave_only_the_features_fixed():
    node = nm.Conv(source(), 4, (3, 3), (2, 2), print_repr=False)
    twin = rebuild([node], BuildMode(), free_sizes=True)[node]
    assert twin.shape.shape == [None, 4, None, None]
    assert twin.shape.fov == node.shape.fov
    assert twin.shape.strides.tolist() == [2, 2]
    assert node.shape.shape == [2, 4, 2, 2]


def test_nodes_in_attributes_and_lists_are_replaced():
    class Weighted(nm.Node):
        def __init__(self, parent, other, extras, name="weighted"):
            super().__init__(parent, name)
            self.parent = [parent, other]
            self.extras = extras
            self.mode = "sum"

        def _make_output(self):
            total = self.parent[0].output + self.parent[1].output
            self.output = sum((e.output for e in self.extras), total)

    inp = source()
    a, b = nm.ApplyFunc(inp, nm.T.sqr), nm.ApplyFunc(inp, nm.T.tanh)
    node = Weighted(a, b, (a, b))
    copies = rebuild([node], BuildMode(inference=True))
    twin = copies[node]
    assert twin.extras == (copies[a], copies[b])
    assert twin.parent == [copies[a], copies[b]]
    assert twin.mode == "sum"
    np.testing.assert_allclose(node.infer(X), 2 * (X**2 + np.tanh(X)), rtol=1e-5)


def test_shared_ancestors_are_copied_once():
    inp = source()
    node = nm.Add(nm.ApplyFunc(inp, nm.T.sqr), nm.ApplyFunc(inp, nm.T.tanh), print_repr=False)
    copies = rebuild([node], BuildMode())
    assert len(copies) == 4
    assert copies[node].input_nodes == [copies[inp]]
