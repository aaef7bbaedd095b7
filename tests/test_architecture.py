"""The architecture page agrees with the import contracts, and functions are short."""

from __future__ import annotations

import ast
import re
import tomllib
from itertools import pairwise
from pathlib import Path

import neuromancer as nm
from neuromancer import graphutils, node_basic

ROOT = Path(__file__).parents[1]


def test_the_page_lists_the_layers_of_the_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    floors = next(c["layers"] for c in contracts if c["type"] == "layers")
    page = (ROOT / "docs/architecture.md").read_text()
    rows = [set(re.findall(r"`(\w+)`", row.split("|")[1])) for row in page.splitlines() if row.startswith("| `")]
    held = [set(re.findall(r"\w+", floor)) for floor in floors]
    assert set().union(*rows) == set().union(*held)
    place = {name: k for k, row in enumerate(rows) for name in row}
    order = [{place[name] for name in floor} for floor in held]
    assert all(max(above) <= min(below) for above, below in pairwise(order))


def test_every_file_named_on_the_page_exists():
    page = (ROOT / "docs/architecture.md").read_text()
    named = re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", page)
    assert named and not [name for name in named if not (ROOT / "neuromancer" / name).exists()]


def test_names_of_the_original_library_are_aliases():
    assert nm.make_func is nm.LazyFunction is graphutils.make_func
    assert nm.GraphManager is nm.Graph is node_basic.GraphManager
    assert nm.ModelContainer is nm.ModelRegistry is type(nm.model_manager)


LONG = {"_join"}
"""A numerical kernel."""


def test_functions_are_short():
    """At most 60 lines of code without the docstring."""
    too_long = {}
    for path in (ROOT / "neuromancer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                documented = node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) else 0
                lines = node.end_lineno - node.lineno + 1 - documented
                if lines > 60 and node.name not in LONG:
                    too_long[f"{path.name}:{node.name}"] = lines
    assert not too_long
