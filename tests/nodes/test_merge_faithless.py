"""FaithlessMerge: frequencies, seeds, inference, bad inputs."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from tests.nodes.layers import evaluate, registered, source, twin


def merge(*args, **kwargs):
    return nm.FaithlessMerge(*args, print_repr=False, **kwargs)


def pair():
    return source((2, 3), name="hard"), source((2, 2), name="easy")


HARD, EASY = np.full((2, 3), 2.0, "float32"), np.full((2, 2), 5.0, "float32")


def outcomes(node, n):
    """Count the outcomes (hard kept, easy kept)."""
    counts = {(True, True): 0, (False, True): 0, (True, False): 0}
    for _ in range(n):
        out = node(HARD, EASY)
        hard, easy = out[:, :3], out[:, 3:]
        assert (hard == hard[0, 0]).all() and (easy == easy[0, 0]).all()
        assert hard[0, 0] in (0, 2) and easy[0, 0] in (0, 5)
        counts[bool(hard[0, 0]), bool(easy[0, 0])] += 1
    return counts


def test_frequencies():
    nm.seed(1)
    node = merge(*pair(), failing_prob=0.6, hardeasy_ratio=0.75)
    counts = outcomes(node, 1000)
    for key, p in (((True, True), 0.4), ((False, True), 0.45), ((True, False), 0.15)):
        assert abs(counts[key] / 1000 - p) < 4 * np.sqrt(p * (1 - p) / 1000)
    nm.seed(None)


def test_reproducible():
    def draws():
        nm.seed(2)
        node = merge(*pair())
        return [node(HARD, EASY) for _ in range(20)]

    np.testing.assert_array_equal(draws(), draws())
    nm.seed(None)


def test_probabilities_are_parameters():
    node = merge(*pair())
    assert node.get_param_values() == {"failing_prob": 0.5, "hardeasy_ratio": pytest.approx(0.8)}
    assert list(node.all_trainable_params) == []
    node.set_param_values({"failing_prob": 0.0})
    assert outcomes(node, 20)[True, True] == 20
    node.set_param_values({"failing_prob": 1.0, "hardeasy_ratio": 1.0})
    assert outcomes(node, 20)[False, True] == 20
    node.set_param_values({"hardeasy_ratio": 0.0})
    assert outcomes(node, 20)[True, False] == 20


def test_inference_is_faithful():
    node = merge(*pair(), failing_prob=1.0)
    np.testing.assert_array_equal(node.infer(HARD, EASY), np.concatenate([HARD, EASY], axis=1))
    np.testing.assert_array_equal(evaluate(twin(node), HARD, EASY), node.infer(HARD, EASY))


def test_gradients_flow_through_what_is_there():
    node = merge(*pair(), failing_prob=1.0, hardeasy_ratio=1.0)
    gradients = nm.make_func(node.input_tensors, E.grad(node.output.sum(), node.input_tensors))(HARD, EASY)
    assert (gradients[0] == 0).all() and (gradients[1] == 1).all()


def test_shape_and_cost():
    a, b = source((1, 2, 4, 5)), source((1, 3, 4, 5), name="b")
    node = merge(a, b)
    assert repr(node.shape) == "[(1,b), (5,f), (4,y), (5,x)]" and node.computational_cost == 0
    assert merge(a, a, axis=0).shape["b"] == 2
    assert node.name == "faithless_merge"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"failing_prob": 1.5}, r"failing_prob must be a probability; got 1.5; expected a number in \[0, 1\]"),
        ({"hardeasy_ratio": -0.1}, "hardeasy_ratio must be a probability; got -0.1"),
        ({"hardeasy_ratio": "1"}, "hardeasy_ratio must be a probability"),
    ],
)
def test_bad_probabilities(kwargs, message):
    hard, easy = pair()
    before = registered()
    with pytest.raises(ArgumentError, match=message):
        merge(hard, easy, **kwargs)
    assert registered() == before


def test_bad_inputs():
    hard, easy = pair()
    before = registered()
    with pytest.raises(InputTypeError, match="every input must be a node"):
        merge(hard, None)
    with pytest.raises(ShapeError, match="sizes differ on axis 'f'"):
        merge(hard, easy, axis="b")
    with pytest.raises(ShapeError, match="no axis has tag 'x'"):
        merge(hard, easy, axis="x")
    assert registered() == before
