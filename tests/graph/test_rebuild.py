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


class Kept(nm.Node):
    """Keeps whatever it is given, and passes its parent on."""

    def __init__(self, parent, name="kept", **kept):
        super().__init__(parent, name)
        vars(self).update(kept)

    def _make_output(self):
        self.output = self.parent.output


def test_nodes_are_replaced_wherever_they_are_kept():
    x = nm.Input((2, 3), "b,f", name="x", print_repr=False)
    y = nm.Input((2, 3), "b,f", name="y", print_repr=False)
    a = nm.ApplyFunc(x, nm.T.sqr, name="a")
    node = Kept(
        a, one=x, stranger=y, listed=[x, 1, y], paired=(a, "a"), by_name={"x": x, 2: y, "n": None}, text="x", deep=[[x]]
    )
    copies = rebuild([node], BuildMode(inference=True))
    assert list(copies) == [x, a, node]
    twin = copies[node]
    assert twin.one is copies[x] is not x
    assert twin.stranger is y
    assert type(twin.listed) is list and twin.listed == [copies[x], 1, y]
    assert type(twin.paired) is tuple and twin.paired == (copies[a], "a")
    assert twin.by_name == {"x": copies[x], 2: y, "n": None}
    assert twin.text == "x"
    assert node.one is x and node.listed == [x, 1, y]


def test_containers_without_nodes_of_the_graph_stay_the_same():
    x, y = (nm.Input((2, 3), "b,f", name=name, print_repr=False) for name in "xy")
    node = Kept(x, plain=[1, 2], others=(y,), named={"y": y})
    twin = rebuild([node], BuildMode())[node]
    assert (twin.plain is node.plain, twin.others is node.others, twin.named is node.named) == (True, True, True)


def test_kept_expressions_follow_their_tensors():
    x = nm.Input((2, 3), "b,f", name="x", print_repr=False)
    shared = nm.engine.SharedVariable(np.ones(3, "float32"), "s")
    constant = nm.engine.constant(np.float32(2))
    a = nm.ApplyFunc(x, nm.T.sqr, name="a")
    node = Kept(a, output_of=a.output, twice=a.output * 2, of_source=x.output, shared=shared, constant=constant)
    twin = rebuild([node], BuildMode())[node]
    copy_of_a = twin.parent
    assert copy_of_a.output is not a.output
    assert twin.output_of is copy_of_a.output
    assert twin.of_source is x.output
    assert twin.shared is shared and twin.constant is constant
    data = np.float32([[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(nm.make_func([x.output], twin.twice)(data), 2 * data**2)
    # In the new expression nothing is left of the old one.
    np.testing.assert_array_equal(nm.make_func([copy_of_a.output], twin.twice)(data), 2 * data)


def test_expressions_kept_beside_nodes_follow():
    x = nm.Input((2, 3), "b,f", name="x", print_repr=False)
    a = nm.ApplyFunc(x, nm.T.sqr, name="a")
    node = Kept(a, listed=[a, a.output * 2], by_name={"node": a, "tensor": a.output})
    twin = rebuild([node], BuildMode())[node]
    copy_of_a = twin.parent
    assert twin.listed[0] is twin.by_name["node"] is copy_of_a
    assert twin.by_name["tensor"] is copy_of_a.output
    data = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(nm.make_func([copy_of_a.output], twin.listed[1])(data), 2 * data)


def test_new_sources_feed_kept_expressions():
    x = nm.Input((2, 3), "b,f", name="x", print_repr=False)
    node = Kept(x, twice=x.output * 2)
    copies = rebuild([node], BuildMode(), free_sizes=True)
    assert copies[x].output is not x.output
    assert copies[node].output is copies[x].output
    data = np.ones((5, 3), "float32")
    np.testing.assert_array_equal(nm.make_func([copies[x].output], copies[node].twice)(data), 2 * data)


def test_the_mode_reaches_every_copy_and_no_original():
    node = nm.Conv(source(), 4, (3, 3), print_repr=False)
    mode = BuildMode(dense=True)
    copies = rebuild([node], mode)
    assert [c.build_mode for c in copies.values()] == [mode, mode]
    assert {n.build_mode for n in copies} == {BuildMode()}
    assert all(c.children == {} for c in copies.values())
    assert copies[node].name == node.name
