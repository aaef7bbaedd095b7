"""Dense prediction with user-defined nodes, which do not implement the dense form."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.dense import run
from neuromancer.errors import GraphError
from tests.dense.test_predict import by_definition, close

RNG = np.random.default_rng(0)


class Trim(nm.Node):
    """Node that crops a voxel on each side, but declares it only in its shape, not in its field of view."""

    def _make_output(self):
        x = self.parent.output
        self.output = x[:, :, 2:] * 0.5 + x[:, :, :-2]

    def _calc_shape(self):
        self.shape = self.parent.shape.updateshape("x", -2, "add")


class Differences(Trim):
    """The same, with the field of view declared."""

    def _calc_shape(self):
        super()._calc_shape()
        parent = self.parent.shape
        self.shape = self.shape.updatefov(0, parent.fov[0] + 2 * int(parent.strides[0]))


class EverySecond(nm.Node):
    def _make_output(self):
        self.output = self.parent.output[:, :, ::2]

    def _calc_shape(self):
        shape = self.parent.shape
        size = shape["x"]
        shape = shape.updateshape("x", None if size is None else (size + 1) // 2)
        self.shape = shape.updatestrides([2 * int(s) for s in shape.strides])


class Shorter(nm.Node):
    def _make_output(self):
        self.output = self.parent.output[:, :, :5]


def line(size):
    return nm.Input((1, 2, size), "b,f,x", print_repr=False)


def conv(parent, pool=1):
    return nm.Conv(parent, 3, (3,), (pool,), activation_func="tanh", print_repr=False)


@pytest.mark.parametrize("budget", [1, 1 << 30])
@pytest.mark.parametrize(
    "build",
    [
        lambda: Differences(conv(line(12))),
        lambda: conv(Differences(conv(line(16), 2))),
        lambda: conv(EverySecond(conv(line(17)))),
        lambda: Differences(EverySecond(conv(line(17), 3))),
    ],
    ids=["kernel", "kernel below a pool", "stride", "stride below a pool"],
)
def test_equals_the_definition(build, budget, monkeypatch):
    monkeypatch.setattr(run, "memory_budget", lambda: budget)
    node = build()
    for extra in (0, 1, 5, 12):
        raw = RNG.random((2, node.shape.fov[0] + extra)).astype("float32")
        close(node.predict_dense(raw), by_definition(node, raw))


def test_sizes_that_the_shape_does_not_explain():
    with pytest.raises(
        GraphError,
        match=r"Trim 'trim': the node changes sizes without saying.*got size 10 on axis 'x'; expected size 12",
    ):
        conv(Trim(line(12), name="trim")).predict_dense(np.ones((2, 20)))


def test_sizes_that_are_not_those_declared():
    node = Shorter(nm.Input((1, 2, None), "b,f,x", print_repr=False), name="shorter")
    with pytest.raises(GraphError, match=r"Shorter 'shorter': the output has another size.*got \(5,\) for \(20,\) raw"):
        node.predict_dense(np.ones((2, 20)))
