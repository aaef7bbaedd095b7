"""Compiled functions: arguments, results, updates, memory, errors, and settings."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.errors import EngineError, InputTypeError, ShapeError

T = E.T


def shared(value, name="p", dtype="float32"):
    """Return a shared variable."""
    return E.SharedVariable(np.array(value, dtype), name)


def test_one_output_or_a_list() -> None:
    x = E.tensor("x", (None,), "float32")
    single = E.function([x], x + 1)([1, 2])
    assert isinstance(single, np.ndarray) and single.dtype == "float32" and single.tolist() == [2, 3]
    assert [r.tolist() for r in E.function([x], [x + 1, x.sum()])([1, 2])] == [[2, 3], 3]
    assert E.function([x], [])([1.0]) == []


def test_scalars_keep_their_rank() -> None:
    x = E.tensor("x", (), "float32")
    result = E.function([x], x * 2)(3)
    assert isinstance(result, np.ndarray) and result.shape == () and result == 6


def test_unused_inputs_are_allowed() -> None:
    x, y = E.tensor("x", (), "float32"), E.tensor("y", (), "float32")
    assert E.function([x, y], x + 1)(1, 5) == 2


def test_any_size_without_compiling_again() -> None:
    x = E.tensor("x", (None, None), "float32")
    f = E.function([x], x.sum(axis=0))
    for shape in ((1, 2), (5, 3), (2, 7), (0, 4)):
        assert f(np.ones(shape)).shape == shape[1:]


def test_generic_inputs_take_any_object() -> None:
    g, x = E.generic("g"), E.tensor("x", (), "float32")
    assert E.function([g, x], x + 1)({"a": 1}, 1) == 2


def test_wrong_arguments_are_errors_that_say_what_is_expected() -> None:
    x = E.tensor("x", (None, 3), "float32")
    f = E.function([x], x + 1, name="plus")
    with pytest.raises(InputTypeError, match=r"'function plus': wrong number.*got 2; expected 1 \(x: float32"):
        f(1, 2)
    with pytest.raises(ShapeError, match=r"x has the wrong shape; got \(2, 4\); expected \(None, 3\)"):
        f(np.zeros((2, 4)))
    with pytest.raises(ShapeError):
        f(np.zeros(3))
    with pytest.raises(InputTypeError, match=r"wrong dtype; got complex128; expected float32"):
        f(np.zeros((2, 3), complex))
    i = E.tensor("i", (None,), "int32")
    with pytest.raises(InputTypeError, match=r"got float64; expected int32"):
        E.function([i], i)(np.array([0.5]))


def test_missing_inputs_are_named() -> None:
    x, y = E.tensor("x", (), "float32"), E.tensor("y", (), "float32")
    with pytest.raises(EngineError, match=r"not given; got inputs \['x'\]; expected also \['y'\]"):
        E.function([x], x + y)


def test_bad_updates_are_refused() -> None:
    x, p = E.tensor("x", (), "float32"), shared(0)
    with pytest.raises(InputTypeError, match=r"only shared variables"):
        E.function([x], x, updates=[(x, x)])
    with pytest.raises(InputTypeError, match=r"wrong type"):
        E.function([x], x, updates=[(p, T.cast(x, "float64"))])
    with pytest.raises(InputTypeError, match=r"not a symbolic variable; got int"):
        E.function([x], x, updates=[(p, 1)])


def test_updates_apply_after_the_outputs() -> None:
    x, p, q = E.tensor("x", (), "float32"), shared(1, "p"), shared(10, "q")
    f = E.function([x], [p, q], updates=[(p, p + x), (q, p)])
    assert [r.item() for r in f(5)] == [1, 10]
    assert (p.get_value(), q.get_value()) == (6, 1)
    assert [r.item() for r in f(1)] == [6, 1]


def test_swapping_two_shared_variables() -> None:
    p, q = shared([1, 2], "p"), shared([3, 4], "q")
    f = E.function([], [], updates={p: q, q: p})
    f()
    assert p.get_value().tolist() == [3, 4] and q.get_value().tolist() == [1, 2]
    f()
    assert p.get_value().tolist() == [1, 2] and q.get_value().tolist() == [3, 4]


def test_set_value_is_seen_by_every_function() -> None:
    p = shared([1, 2])
    f, g = E.function([], p * 1), E.function([], p * 2, updates=[(p, p + 1)])
    assert f().tolist() == [1, 2]
    assert g().tolist() == [2, 4]
    p.set_value(np.array([7, 8]))
    assert f().tolist() == [7, 8] and g().tolist() == [14, 16] and f().tolist() == [8, 9]


def test_results_own_their_memory() -> None:
    x, p = E.tensor("x", (None,), "float32"), shared([1, 2])
    c = E.constant(np.array([5.0, 6.0], "float32"))
    f = E.function([x], [x, x[::1], p, p.reshape((2, 1)), c, T.zeros((2,), "float32"), p + 0, x.dimshuffle(0, "x")])
    argument = np.array([1, 2], "float32")
    first = f(argument)
    expected = [r.copy() for r in first]
    for r in first:
        r[...] = 99  # would change arguments, parameters, constants or other results if memory were shared
    assert argument.tolist() == [1, 2] and p.get_value().tolist() == [1, 2]
    for r, e in zip(f(argument), expected, strict=True):
        np.testing.assert_array_equal(r, e)


def test_results_do_not_change_when_parameters_do() -> None:
    x, p = E.tensor("x", (None,), "float32"), shared([1, 2])
    f = E.function([x], [p, p.dimshuffle("x", 0)], updates=[(p, x)])
    argument = np.array([3, 4], "float32")
    first = f(argument)
    argument[:] = 0  # the parameter must not share the caller's array
    assert p.get_value().tolist() == [3, 4]
    p.set_value(np.array([9, 9]))
    f(argument)
    assert first[0].tolist() == [1, 2] and first[1].tolist() == [[1, 2]]


def test_get_value_and_set_value_copy() -> None:
    value = np.array([1, 2], "float32")
    p = shared(value)
    value[:] = 0
    got = p.get_value()
    got[:] = 5
    assert p.get_value().tolist() == [1, 2]
    update = np.array([3, 4], "float32")
    p.set_value(update)
    E.function([], p + 1)()
    update[:] = 0
    assert p.get_value().tolist() == [3, 4]


def test_shared_variables_check_new_values() -> None:
    p = shared(np.zeros((2, 3)))
    assert E.known_shape(p) == (2, 3) and p.ndim == 2 and p.dtype == "float32"
    with pytest.raises(ShapeError, match=r"shared variable p.*got \(3, 2\); expected \(2, 3\)"):
        p.set_value(np.zeros((3, 2)))
    with pytest.raises(InputTypeError, match=r"complex"):
        p.set_value(np.zeros((2, 3), complex))
    with pytest.raises(InputTypeError, match=r"numeric array"):
        E.SharedVariable(np.array(["a"]), "s")
    p.set_value(np.ones((2, 3), "int64"))
    assert p.get_value().dtype == "float32"


def test_subclasses_of_shared_variables_survive_compiling() -> None:
    class Weight(E.SharedVariable):
        def __init__(self, value, name, apply_reg):
            super().__init__(value, name)
            self.apply_reg = apply_reg

    w = Weight(np.ones(2, "float32"), "w", 0.5)
    x = E.tensor("x", (2,), "float32")
    assert E.function([x], w * x, updates=[(w, w + x)])([1, 2]).tolist() == [1, 2]
    assert w.get_value().tolist() == [2, 3] and w.apply_reg == 0.5


def test_grad_returns_none_where_disconnected() -> None:
    x, y = E.tensor("x", (None,), "float32"), E.tensor("y", (None,), "float32")
    gx, gy = E.grad((E.disconnected_grad(x) * x).sum(), [x, y])
    assert gy is None
    assert E.function([x], gx)([2, 3]).tolist() == [2, 3]
    with pytest.raises(ShapeError, match=r"only a scalar"):
        E.grad(x, [x])


def test_rewire_replaces_inputs_and_inner_variables() -> None:
    x, y = E.tensor("x", (None,), "float32"), E.tensor("y", (None,), "float32")
    h = x * 2
    z = h + 1
    assert E.function([y], E.rewire(z, {x: y}))([1]).tolist() == [3]
    assert E.function([y], E.rewire([z, h], {h: y})[0])([1]).tolist() == [2]


def test_constants() -> None:
    assert E.constant(1.5).dtype == config.floatX
    assert E.constant(np.float64(1.5)).dtype == "float64"
    assert E.constant([1, 2], dtype="int32", name="k").name == "k"
    c = E.ConstantVariable(np.ones(2, "float32"), "c")
    assert isinstance(c, E.Constant) and E.function([], c + 1)().tolist() == [2, 2]


def test_runtime_broadcasting_of_unknown_sizes_is_refused() -> None:
    x, y = E.tensor("x", (None, 2), "float32"), E.tensor("y", (None, 2), "float32")
    f = E.function([x, y], x * y)
    with pytest.raises(ShapeError, match=r"operands differ along axis 0"):
        f(np.ones((1, 2)), np.ones((3, 2)))
    r = E.tensor("r", (1, 2), "float32")
    assert E.function([x, r], x * r)(np.ones((3, 2)), np.ones((1, 2))).shape == (3, 2)


def test_building_uses_the_configured_precision() -> None:
    for dtype in ("float64", "float32"):
        config.floatX = dtype
        with E.building():
            assert T.vector().dtype == (T.vector() * 0.5).dtype == dtype


def test_out_of_memory_is_reported_as_such():
    x = E.tensor("x", (None,), "float32")
    outer = E.function([x], T.exp(x.dimshuffle(0, "x") + x.dimshuffle("x", 0)).max(axis=0))
    with pytest.raises(MemoryError):
        outer(np.zeros(10**7, "float32"))


# ---- names, counts, order
def test_a_function_shows_its_name_and_where_it_runs() -> None:
    config.device = "cpu"
    x, y = E.tensor("x", (), "float32"), E.tensor("y", (), "float32")
    f = E.function([x, y], x + y, name="sum of \x1b two")
    assert "2 inputs" in repr(f) and "cpu" in repr(f) and repr(f).isprintable() and "sum of" in repr(f)
    assert f.name == "sum of \x1b two" and f.inputs == [x, y] and isinstance(f, E.CompiledFunction)
    assert "0 inputs" in repr(E.function([], E.constant(1.0)))


@pytest.mark.parametrize("arguments", [(), (1,), (1, 2, 3)])
def test_the_number_of_arguments_is_that_of_the_inputs(arguments) -> None:
    x, g = E.tensor("x", (2, None), "float32"), E.generic("anything")
    f = E.function([x, g], x, name="pair")
    with pytest.raises(InputTypeError) as caught:
        f(*arguments)
    assert caught.value.node == "function pair" and caught.value.got == len(arguments)
    assert all(part in caught.value.expected for part in ("2", "x: float32(2, None)", "anything"))


def test_a_failed_call_changes_no_shared_variable() -> None:
    x, p = E.tensor("x", (None,), "float32"), shared([1, 2])
    f = E.function([x], p * x, updates=[(p, p + x)])
    for bad in ([1, 2, 3], np.zeros((2, 2)), np.array(["a"])):
        with pytest.raises((ShapeError, InputTypeError)):
            f(bad)
        assert p.get_value().tolist() == [1, 2]
    assert f([1, 1]).tolist() == [1, 2] and p.get_value().tolist() == [2, 3]


def test_updates_of_another_rank_or_dtype_are_refused_by_name() -> None:
    p, x = shared([1, 2], "weights"), E.tensor("x", (None, None), "float32")
    for value in (x, T.cast(x[0], "float64"), T.cast(x[0], "int32"), x.sum()):
        with pytest.raises(InputTypeError) as caught:
            E.function([x], [], updates=[(p, value)], name="step")
        assert "weights" in caught.value.problem and caught.value.node == "function step"


def test_all_missing_inputs_are_named_also_those_of_updates() -> None:
    x, y, z = (E.tensor(name, (), "float32") for name in ("x", "y", "z"))
    p = shared(0)
    with pytest.raises(EngineError) as caught:
        E.function([x], x * y, updates=[(p, p + z)], name="f")
    assert "'y'" in caught.value.expected and "'z'" in caught.value.expected and "'x'" in caught.value.got
    assert "p" not in caught.value.expected.replace("also", "")


def test_the_gradient_of_an_input_used_twice_is_the_sum() -> None:
    x, y = E.tensor("x", (None,), "float64"), E.tensor("y", (None,), "float64")
    cost = (x * y).sum() + (x**3).sum()
    gx, gy, again = E.grad(cost, [x, y, x])
    results = E.function([x, y], [gx, gy, again])([2, 3], [5, 7])
    assert [r.tolist() for r in results] == [[17, 34], [2, 3], [17, 34]]
    assert E.grad(cost, []) == []


def test_an_intermediate_result_has_a_gradient_too() -> None:
    x = E.tensor("x", (None,), "float64")
    h = x * 2
    gradient = E.grad((h**2).sum(), [h])[0]
    assert E.function([x], gradient)([1, 3]).tolist() == [4, 12]


def test_an_intermediate_result_can_be_an_input() -> None:
    x = E.tensor("x", (None,), "float32")
    h = x + 1
    assert E.function([h], h * 2)([3]).tolist() == [6], "and x is not needed"
