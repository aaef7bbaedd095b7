"""Every public name, command and error is on a page of the reference, and exists. Nothing is built."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from inspect import isclass
from pathlib import Path

import pytest

import neuromancer as nm
from neuromancer import affinities, dense, errors, instances, train, volumes

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "reference").glob("*.rst"))


def documented() -> list[str]:
    """Return the full names on all pages: entries of tables of names, and what is described on the page itself."""
    names = []
    for page in PAGES:
        module = ""
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith(".. currentmodule:: "):
                module = line.split()[-1]
            elif found := re.match(r"\.\. (?:py:data|autoclass):: (.+)", line):
                names.append(found[1] if found[1].startswith("neuromancer.") else f"{module}.{found[1]}")
            elif re.fullmatch(r"   [\w.]+", line):
                names.append(f"{module}.{line.strip()}")
    return names


NAMES = documented()
MODULES = [nm, volumes, train, affinities, instances, dense]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_has_an_entry(module):
    missing = {name for name in module.__all__ if not {f"{module.__name__}.{name}", f"neuromancer.{name}"} & set(NAMES)}
    assert not missing


def test_every_error_has_an_entry():
    classes = {c.__name__ for c in vars(errors).values() if isclass(c) and c.__module__ == errors.__name__}
    assert len(classes) > 15 and {f"neuromancer.errors.{name}" for name in classes} <= set(NAMES)


def test_every_entry_exists_once():
    assert len(NAMES) > 180 and len(set(NAMES)) == len(NAMES)
    for name in NAMES:
        module, _, last = name.rpartition(".")
        assert hasattr(import_module(module), last), name


def test_every_command_is_described_by_its_parser():
    page = (ROOT / "docs" / "reference" / "commands.rst").read_text(encoding="utf-8")
    described = dict(zip(*(re.findall(rf":{field}: (\S+)", page) for field in ("prog", "module")), strict=True))
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert set(described) == set(scripts)
    for program, module in described.items():
        assert import_module(module).parser().prog == program
