"""The base node: calling, naming, registering, parameters, traversal, user-defined nodes, bad input."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import T
from neuromancer import engine as E
from neuromancer.errors import (
    ArgumentError,
    FileError,
    GraphError,
    InputTypeError,
    MissingDependencyError,
    NeuromancerError,
    ShapeError,
    UnknownNameError,
)
from neuromancer.nodes import inspection


def source(shape=(2, 3), tags="b,f", **kwargs):
    kwargs.setdefault("print_repr", False)
    return nm.Input(shape, tags, **kwargs)


class Scale(nm.Node):
    """User-defined node with a parameter, a shape rule and a cost."""

    def __init__(self, parent, factor=2.0, keep=2, name="scale", print_repr=False, w=None):
        super().__init__(parent, name, print_repr)
        self.keep = keep
        value = np.full(keep, factor) if w is None else w
        self.w = nm.VariableWeight(value=value, name="w")
        self.params["w"] = self.w

    def _make_output(self):
        self.output = self.parent.output[:, : self.keep] * self.w.dimshuffle("x", 0)

    def _calc_shape(self):
        self.shape = self.parent.shape.updateshape("f", self.keep)

    def _calc_comp_cost(self):
        self.computational_cost = 7 * self.keep


class Cubed(Scale):
    """Subclass of a complete node; the base is finalised when its constructor returns."""

    def __init__(self, parent, **kwargs):
        super().__init__(parent, **kwargs)
        self.seen_shape = self.shape.copy()

    def _make_output(self):
        super()._make_output()
        self.output = self.output**3


class Plain(nm.Node):
    """User-defined node with all defaults."""


class TestUserDefinedNode:
    def test_hooks_shape_and_cost(self):
        node = Scale(source(), factor=3.0)
        x = np.arange(6, dtype="float32").reshape(2, 3)
        np.testing.assert_allclose(node(x), x[:, :2] * 3)
        assert node.shape.shape == [2, 2]
        assert node.computational_cost == 14
        assert node.param_count == 2

    def test_is_registered_under_a_unique_name(self, fresh_model):
        inp = source()
        a, b = Scale(inp), Scale(inp)
        assert (a.name, b.name) == ("scale", "scale1")
        assert list(fresh_model.nodes) == ["input", "scale", "scale1"]
        assert inp.children == {"scale": a, "scale1": b}

    def test_name_may_be_positional(self):
        assert nm.Node(source(), "given").name == "given"

    def test_derived_class_finds_a_finished_base(self):
        node = Cubed(source(), factor=2.0)
        assert node.seen_shape.shape == [2, 2]
        np.testing.assert_allclose(node(np.ones((2, 3))), np.full((2, 2), 8.0))

    def test_defaults_pass_the_parent_on(self):
        node = Plain(source((2, 3, 4), "b,f,x"))
        x = np.random.default_rng(0).random((2, 3, 4)).astype("float32")
        np.testing.assert_array_equal(node(x), x)
        assert node.shape.tags == ["b", "f", "x"]
        assert node.computational_cost == 24

    def test_cost_ignores_an_unknown_batch(self):
        assert Plain(source((None, 3, 4), "b,f,x")).computational_cost == 12

    def test_takes_part_in_gradients(self):
        node = Scale(source())
        gradient = E.grad(node.output.sum(), [node.w])[0]
        values = nm.make_func(node.input_tensors, gradient)(np.ones((2, 3), "float32"))
        np.testing.assert_allclose(values, [2.0, 2.0])

    def test_is_predicted_densely_without_code_of_its_own(self):
        inp = source((1, 3, 8, 8), "b,f,y,x")

        class Shifted(nm.Node):
            def _make_output(self):
                self.output = T.tanh(self.parent.output) + 1

        raw = np.random.default_rng(0).random((3, 11, 12)).astype("float32")
        np.testing.assert_allclose(Shifted(inp).predict_dense(raw), np.tanh(raw) + 1, rtol=1e-6)

    def test_may_depend_on_any_object(self):
        class Attribute(nm.Node):
            """Pass the object on."""

        node = Attribute(nm.GenericInput(print_repr=False))
        assert node.shape is None
        assert node.computational_cost == 0
        assert node({"a": 1}) == {"a": 1}

    def test_failing_constructor_leaves_nothing_behind(self, fresh_model):
        inp = source()

        class Failing(nm.Node):
            def _calc_shape(self):
                raise ShapeError("does not fit", node=self)

        with pytest.raises(ShapeError, match="Failing '1': does not fit"):
            Failing(inp)
        assert list(fresh_model.nodes) == ["input"]
        assert inp.children == {}

    def test_constructor_must_not_create_nodes(self, fresh_model):
        class Greedy(nm.Node):
            def __init__(self, parent, name="greedy"):
                super().__init__(parent, name)
                self.parent = Plain(parent, name="hidden")

        inp = source()
        with pytest.raises(GraphError, match="must not create other nodes"):
            Greedy(inp)
        assert list(fresh_model.nodes) == ["input"]


class TestCalling:
    def test_without_arguments_only_compiles(self):
        node = Plain(source())
        assert node() is None
        assert node.last_exec_time is None
        node(np.ones((2, 3)))
        assert node.last_exec_time > 0

    def test_same_function_serves_all_calls(self, compilations):
        node = Plain(source((None, 3), "b,f"))
        node(np.ones((2, 3)))
        assert node(np.ones((5, 3))).shape == (5, 3)
        assert compilations == [node.name]

    @pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8", "bool"])
    def test_converts_within_reason(self, dtype):
        assert Plain(source())(np.ones((2, 3), dtype)).dtype == "float32"

    def test_wrong_number_of_arrays(self):
        inp, other = source(name="image"), source((2, 1), "b,f", name="target")
        node = nm.Concat([inp, other], print_repr=False)
        with pytest.raises(
            InputTypeError,
            match=r"(?s)Concat 'concat': 2 inputs required, 1 given.*image.*target.*\(2,b\), \(1,f\)",
        ):
            node(np.ones((2, 3)))

    def test_wrong_shape(self):
        with pytest.raises(
            ShapeError,
            match=r"(?s)input 'input' has the wrong shape.*\(2, 4\) float64.*expected \[\(2,b\), \(3,f\)\]",
        ):
            Plain(source())(np.ones((2, 4)))

    @pytest.mark.parametrize("value", [np.ones((2, 3), complex), np.full((2, 3), "a"), np.full((2, 3), None)])
    def test_wrong_dtype(self, value):
        with pytest.raises(InputTypeError, match=r"(?s)wrong dtype.*expected float32"):
            Plain(source())(value)

    def test_floats_for_an_integer_source(self):
        with pytest.raises(InputTypeError, match="wrong dtype"):
            Plain(source(dtype="int64"))(np.ones((2, 3)))

    def test_debug_outputs(self):
        class Debugged(nm.Node):
            def _make_output(self):
                hidden = self.parent.output + 1
                self.output = hidden * 2
                self._debug_outputs.append(hidden)

        (hidden,) = Debugged(source()).get_debug_outputs(np.ones((2, 3)))
        np.testing.assert_allclose(hidden, 2)
        with pytest.warns(UserWarning, match="no debug outputs"):
            assert Plain(source()).get_debug_outputs(np.ones((2, 3))) == []

    def test_float64_graphs(self, monkeypatch):
        monkeypatch.setattr(nm.config, "floatX", "float64")
        x = np.random.default_rng(0).random((2, 3))
        y = nm.ApplyFunc(source(), lambda v: v * 0.1)(x)
        assert y.dtype == "float64"
        np.testing.assert_allclose(y, x * 0.1, rtol=1e-15)

    def test_python_numbers_do_not_widen_float32(self):
        assert nm.ApplyFunc(source(), lambda v: v * 0.1 + 1 / 3)(np.ones((2, 3))).dtype == "float32"


class TestGraph:
    def test_order_of_sources_follows_the_graph(self):
        a, b = source(name="a"), source(name="b")
        node = nm.Concat([b, a], print_repr=False)
        assert node.input_nodes == [b, a]
        assert node.input_tensors == [b.output, a.output]

    def test_diamond_has_one_source_and_no_duplicates(self):
        inp = source()
        left, right = Plain(inp, name="left"), Plain(inp, name="right")
        node = nm.Add(left, right, print_repr=False)
        assert list(node.all_parents) == ["input", "left", "right", "add"]
        assert node.input_nodes == [inp]
        assert set(inp.all_children) == {"left", "right", "add"}
        assert node.all_computational_cost == 12

    def test_cycle_is_an_error(self):
        inp = source()
        a = Plain(inp, name="a")
        b = Plain(a, name="b")
        a.parent = b
        with pytest.raises(GraphError, match="the graph has a cycle"):
            _ = b.all_parents

    def test_equal_names_from_two_models(self):
        a = source(name="x")
        nm.model_manager.newmodel(None)
        b = source(name="x")
        node = nm.Add(a, b, print_repr=False)
        with pytest.raises(GraphError, match="two nodes of the graph have the same name"):
            _ = node.all_params

    def test_deep_graphs(self):
        node = source()
        for _ in range(1500):
            node = Plain(node)
        assert len(node.all_parents) == 1501

    @pytest.mark.parametrize("parent", [3, "input", [1], np.ones(3)])
    def test_parent_must_be_a_node(self, parent):
        with pytest.raises(InputTypeError, match="a parent must be a node"):
            Plain(parent)

    def test_nodes_cannot_be_pickled(self):
        with pytest.raises(GraphError, match="cannot be pickled"):
            pickle.dumps(source())


class TestParameters:
    def test_names_and_kinds(self):
        node = Scale(Scale(source(), keep=3))
        node.params["rate"] = nm.VariableParam(0.5, "rate", apply_train=False, apply_reg=False)
        node.params["fixed"] = nm.ConstantParam(1.0, "fixed")
        assert list(node.all_params) == ["scale_w", "scale1_w", "scale1_rate", "scale1_fixed"]
        assert list(node.all_trainable_params) == ["scale_w", "scale1_w"]
        assert list(node.all_nontrainable_params) == ["scale1_rate", "scale1_fixed"]
        assert node.all_params_count == 5
        assert set(node.get_param_values(skip_const=True)) == {"w", "rate"}
        assert node.all_extra_updates == []

    def test_set_values(self):
        node = Scale(source())
        node.set_param_values({"w": [5.0, 6.0], "gamma": 1.0})
        np.testing.assert_allclose(node(np.ones((2, 3))), [[5, 6], [5, 6]])

    @pytest.mark.parametrize(
        ("values", "error", "message"),
        [
            (
                {"ww": 1.0},
                UnknownNameError,
                r"Scale 'scale': no parameter 'ww'.*one of \['w'\].*nearest valid: w",
            ),
            ({"w": np.ones(3)}, ShapeError, r"parameter 'w' has the wrong shape; got \(3,\); expected \(2,\)"),
            ({"w": [1.0, np.nan]}, ArgumentError, "parameter 'w' would not be finite; got 1 NaN or infinite"),
        ],
    )
    def test_bad_values_change_nothing(self, values, error, message):
        node = Scale(source())
        before = node.get_param_values()["w"]
        with pytest.raises(error, match=message):
            node.set_param_values({"w": [9.0, 9.0], **values})
        np.testing.assert_array_equal(node.get_param_values()["w"], before)

    def test_constants(self):
        node = Plain(source())
        node.params["c"] = nm.ConstantParam(1.0, "c")
        node.set_param_values({"c": 2.0}, skip_const=True)
        with pytest.raises(ArgumentError, match="the parameter is constant"):
            node.set_param_values({"c": 2.0})

    def test_feature_names(self):
        node = Plain(source())
        assert node.feature_names is None
        node.feature_names = ["a", "b", "c"]
        assert node.feature_names == ("a", "b", "c")
        with pytest.raises(ArgumentError, match="one name per feature"):
            node.feature_names = ["a"]


class TestInspection:
    def test_repr(self):
        node = Scale(source((2, 3)), name="s")
        assert repr(node) == "<Scale-Node> 's' \n  #Params=2 Comp.Cost=0.0 kilo Ops, Out:[(2,b), (2,f)]"
        both = nm.Concat([source(name="a"), source(name="b")], print_repr=False)
        assert "Order of sources=['a', 'b']" in repr(both)

    def test_print_repr(self, capsys):
        nm.Input((1, 2), "b,f", name="shown")
        assert "<Input-Node> 'shown'" in capsys.readouterr().out
        source()
        assert capsys.readouterr().out == ""

    def test_test_run(self, capsys):
        assert Plain(source()).test_run().shape == (2, 3)
        assert "MVx/s" in capsys.readouterr().out

    def test_test_run_sees_a_wrong_declaration(self):
        class Wrong(nm.Node):
            def _calc_shape(self):
                self.shape = self.parent.shape.updateshape("f", 5)

        node = Wrong(source())
        with pytest.warns(UserWarning, match="does not have the declared shape"):
            node.test_run()
        with pytest.raises(ShapeError, match="does not have the declared shape"):
            node.test_run(on_shape_mismatch="raise")

    def test_time_alone_is_without_that_of_the_parents(self, monkeypatch):
        node = nm.ApplyFunc(nm.ApplyFunc(source(), T.tanh), T.sqr)
        asked = []

        def median_times(functions, data, n_samples, n_warmup):
            asked.append((len(functions), n_samples, n_warmup))
            return [3000.0, 1000.0][: len(functions)]

        monkeypatch.setattr(inspection, "median_times", median_times)
        assert node.measure_exectime(n_samples=3, n_warmup=2, print_info=False) == 2000.0
        assert (node.total_exec_time, node.local_exec_time) == (3000.0, 2000.0)
        assert node.measure_exectime(print_info=False, local=False) == 3000.0
        assert asked == [(2, 3, 2), (1, 5, 4)]

    def test_measure_exectime_for_real(self, capsys):
        node = Plain(source())
        assert node.measure_exectime() >= 0
        assert "median of 5 runs" in capsys.readouterr().out
        assert node.total_exec_time > 0
        with pytest.raises(ArgumentError, match="invalid number of runs"):
            node.measure_exectime(n_samples=0)

    def test_every_error_is_the_package_s_own(self):
        with pytest.raises(NeuromancerError):
            Plain(source()).plot_theano_graph("picture.gif")

    def test_plot_as_text(self, tmp_path):
        path = tmp_path / "graph.dot"
        assert nm.ApplyFunc(source(), T.tanh).plot_theano_graph(str(path)) == str(path)
        assert "digraph" in path.read_text()

    @pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
    @pytest.mark.parametrize("compiled", [True, False])
    @pytest.mark.parametrize(("name", "head"), [("a.svg", b"<?xml"), ("a.pdf", b"%PDF"), ("a", b"\x89PNG")])
    def test_plot_as_picture(self, tmp_path, name, head, compiled):
        path = source().plot_theano_graph(tmp_path / name, compiled=compiled)
        assert Path(path).read_bytes().startswith(head)

    def test_plot_without_graphviz(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(MissingDependencyError, match="needs the program 'dot' of graphviz"):
            source().plot_theano_graph(tmp_path / "a.png")
        assert Path(source().plot_theano_graph(tmp_path / "a.dot")).exists()

    @pytest.mark.parametrize("name", ["graph", "../../a/b\x1b", ".hidden", "x" * 300])
    def test_the_default_picture_lies_in_a_folder_of_its_own(self, tmp_path, monkeypatch, name):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(inspection.E, "draw", lambda target, path, fmt: Path(path).write_bytes(b"drawn"))
        node = nm.Input((1, 3), "b,f", name=name, print_repr=False)
        first, second = (Path(node.plot_theano_graph(compiled=False)) for _ in range(2))
        assert first != second and first.read_bytes() == b"drawn" and first.suffix == ".png"
        assert first.parent.parent == tmp_path and first.name.isprintable()
        assert os.name != "posix" or first.parent.stat().st_mode & 0o777 == 0o700

    def test_a_default_picture_that_cannot_be_made_leaves_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setenv("PATH", "")
        with pytest.raises(MissingDependencyError):
            source().plot_theano_graph(compiled=False)
        assert not list(tmp_path.iterdir())
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
        with pytest.raises(FileError, match="no folder for temporary files"):
            source().plot_theano_graph(compiled=False)
