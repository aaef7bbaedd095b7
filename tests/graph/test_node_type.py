"""How nodes come into being: arguments checked, registered, announced, or nothing at all."""

from __future__ import annotations

import pytest

import neuromancer as nm
from neuromancer.errors import GraphError, InputTypeError, ShapeError

QUIET = {"print_repr": False}


def flat(name="x"):
    return nm.Input((4, 3), "b,f", name=name, **QUIET)


class Plus(nm.Node):
    """Adds one to its parent."""

    def _make_output(self):
        self.output = self.parent.output + 1


def test_constructors_that_make_other_nodes_leave_nothing(fresh_model):
    class Greedy(nm.Node):
        def __init__(self, parent, name="greedy"):
            super().__init__(parent, name)
            Plus(parent, "hidden")
            Plus(parent, "hidden")

        def _make_output(self):
            self.output = self.parent.output

    x = flat()
    with pytest.raises(GraphError) as caught:
        Greedy(x)
    assert caught.value.got == ["hidden", "hidden1"]
    assert caught.value.node.name == "greedy"
    assert list(fresh_model.nodes) == ["x"] and x.children == {}


def test_errors_of_a_constructor_name_its_node(fresh_model):
    class Refusing(nm.Node):
        def __init__(self, parent, name="refusing"):
            super().__init__(parent, name)
            raise ShapeError("too narrow", got=3)

    with pytest.raises(ShapeError, match="Refusing 'refusing'") as caught:
        Refusing(flat())
    assert caught.value.node.name == "refusing"
    assert list(fresh_model.nodes) == ["x"]


def test_a_derived_constructor_finds_a_finished_base():
    class Base(nm.Node):
        def __init__(self, parent, name="base"):
            super().__init__(parent, name)
            self.summand = 3

        def _make_output(self):
            self.output = self.parent.output + self.summand

    class Derived(Base):
        def __init__(self, parent, name="derived"):
            super().__init__(parent, name)
            self.seen = (self.output, self.shape)

    node = Derived(flat())
    assert node.seen == (node.output, node.shape)
    assert node.output is node.seen[0] is not None


def test_arguments_and_children_are_kept():
    x = flat()
    node = Plus(x, name="plus")
    assert node.construction == ((x,), {"name": "plus"})
    assert x.children == {"plus": node}


def test_wrong_arguments_name_the_constructor_and_the_nearest():
    with pytest.raises(InputTypeError) as caught:
        nm.Crop(flat(), (1, 1), nam="c")
    error = caught.value
    assert error.node == "Crop" and "nam" in error.problem and error.nearest == "name"
    assert error.expected == "Crop(parent, crop, name='crop', print_repr=True)"
    with pytest.raises(InputTypeError) as caught:
        nm.Crop()
    assert caught.value.nearest is None


def test_nodes_are_announced_where_it_is_wanted(capsys):
    x = flat()
    assert capsys.readouterr().out == ""
    node = nm.Perceptron(x, 2)
    assert capsys.readouterr().out.strip() == repr(node).strip()


def test_constructors_keep_their_names_and_texts():
    assert nm.Crop.__init__.__name__ == "__init__"
    assert nm.Crop.__init__.__wrapped__ is not nm.Crop.__init__
