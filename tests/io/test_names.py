"""Names of node classes in files: those of the package are short, those of users say where they are defined."""

from __future__ import annotations

import pytest

import neuromancer as nm
from neuromancer.errors import FileError
from neuromancer.io.names import class_name, find_class, package_classes
from tests.io.graphs import Scaled, Tall


def test_classes_are_found_under_their_names():
    table = package_classes()
    assert table["Conv"] is nm.Conv and table["Node"] is nm.Node and "Scaled" not in table
    for name, cls in table.items():
        assert class_name(cls) == name and find_class(name) is cls
    for cls in (Scaled, Tall):
        assert class_name(cls) == f"tests.io.graphs:{cls.__name__}" and find_class(class_name(cls)) is cls


def defined(module, name="Mine", qualname=None):
    return type(name, (nm.Node,), {"__module__": module, "__qualname__": qualname or name})


def test_the_last_definition_of_a_name_is_found():
    first = defined("some.module", "Again")
    second = defined("some.module", "Again")
    assert class_name(first) == class_name(second) == "some.module:Again"
    assert find_class("some.module:Again") is second


def test_a_script_and_its_module_are_the_same_place():
    script = defined("__main__", "OfScript")
    assert find_class("train:OfScript") is script
    module = defined("train", "OfModule")
    assert find_class("__main__:OfModule") is module
    other = defined("other", "OfTwo"), defined("another", "OfTwo")
    with pytest.raises(FileError) as caught:
        find_class("__main__:OfTwo")  # there are two candidates
    assert caught.value.nearest in [class_name(cls) for cls in other]


@pytest.mark.parametrize(
    ("name", "nearest"), [("Convv", "Conv"), ("elsewhere:Scaled", "tests.io.graphs:Scaled"), ("x" * 10**5, None)]
)
def test_names_of_nothing_are_errors_with_the_nearest(name, nearest):
    with pytest.raises(FileError) as caught:
        find_class(name)
    assert caught.value.node == name[:200] and caught.value.nearest == nearest


def test_a_class_that_claims_the_module_of_another_is_a_users():
    claimed = defined("neuromancer.nodes.conv", "Conv")
    assert class_name(claimed) != "Conv" and find_class("Conv") is nm.Conv
