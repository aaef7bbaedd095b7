"""Shapes for PyTensor's rewrites are inferred when a rewrite asks for one, and not before."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
import pytest
from pytensor.graph.fg import FunctionGraph
from pytensor.tensor.shape import Shape, Shape_i

from neuromancer.engine import function
from neuromancer.engine.pytensor.link.torch.shapes import ON_DEMAND, LazyShapes

pytestmark = pytest.mark.skipif(ON_DEMAND, reason="this version of PyTensor does so itself")


def attached(inputs, outputs):
    shapes = LazyShapes()
    graph = FunctionGraph(inputs, outputs, clone=False)
    graph.attach_feature(shapes)
    return graph, shapes


def test_only_what_is_asked_for_and_its_ancestors():
    x, y = pt.matrix("x"), pt.matrix("y")
    first, second = pt.exp(x), pt.log(y)
    _, shapes = attached([x, y], [first + 1, second])
    assert not shapes.shape_of
    assert [size.owner.op.i for size in shapes.shape_of[first]] == [0, 1]
    assert set(shapes.shape_of) == {x, first}


def test_graphs_of_any_depth():
    x = pt.vector("x")
    deep = x
    for _ in range(3000):
        deep = pt.exp(deep)
    _, shapes = attached([x], [deep])
    assert shapes.shape_of[deep][0].owner.inputs[0] is x


def test_a_replacement_takes_over_what_is_known():
    x = pt.matrix("x")
    old = pt.exp(x)
    graph, shapes = attached([x], [old + 1])
    known, new = shapes.shape_of[old], pt.log(x)
    graph.replace(old, new)
    assert shapes.shape_of[new] == known

    # what is looked up in the replaced variable itself is inferred anew
    parts = pt.matrix("parts")
    looked_up = pt.exp(parts)
    graph, shapes = attached([parts, x], [looked_up])
    assert shapes.shape_of[parts][0].owner.inputs[0] is parts
    graph.replace(parts, x, import_missing=True)
    assert shapes.shape_of[x][0].owner.inputs[0] is x


def test_sizes_are_known_without_the_values():
    """The size of a result is that of its input, so the result itself is not computed."""
    x = pt.matrix("x")
    compiled = function([x], pt.exp(x).shape[0] * pt.ones((2,)))
    operations = [node.op for node in compiled.pytensor_function.maker.fgraph.toposort()]
    assert any(isinstance(op, Shape_i | Shape) for op in operations)
    assert not any(type(getattr(op, "scalar_op", None)).__name__ == "Exp" for op in operations)
    np.testing.assert_array_equal(compiled(np.zeros((3, 4), compiled.inputs[0].dtype)), [3, 3])
