"""Files about the project agree with each other: versions, Pythons, targets of the Makefile, where torch comes from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import neuromancer as nm
from tools import install

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = {name for line in re.findall(r"^([\w %.-]+):(?![=])", MAKEFILE, re.MULTILINE) for name in line.split()}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r"Python :: 3\.", c)]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def exists(target: str) -> bool:
    """Tell whether the Makefile has a target, by name or by a pattern."""
    return any(re.fullmatch(re.escape(name).replace("%", ".+"), target) for name in TARGETS)


def workflows() -> list[dict]:
    yaml = pytest.importorskip("yaml")
    found = [yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    assert found
    return found


def test_one_version():
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    logged = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited and logged and cited[1] == logged[1] == nm.__version__


def test_the_same_pythons_are_declared_tested_and_documented():
    matrices = [job["strategy"]["matrix"] for flow in workflows() for job in flow["jobs"].values() if "strategy" in job]
    assert PYTHONS in [matrix["python"] for matrix in matrices]
    assert f"Python {PYTHONS[0]} to {PYTHONS[-1]}." in README and PROJECT["requires-python"] == f">={PYTHONS[0]}"


def test_workflows_run_targets_that_exist():
    commands = [s["run"] for flow in workflows() for job in flow["jobs"].values() for s in job["steps"] if "run" in s]
    targets = [name for command in commands for name in re.findall(r"\bmake ([\w-]+)", command)]
    assert {"lint", "test", "dist"} <= set(targets) and all(map(exists, targets))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/testing.md", "docs/examples.md", "Makefile"])
def test_pages_name_targets_that_exist(name: str):
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.findall(r"(?:`|^|echo \")make ([a-z][\w-]*)", text, re.MULTILINE)
    assert found and [target for target in found if not exists(target)] == []


def test_every_file_in_yaml_is_valid():
    yaml = pytest.importorskip("yaml")
    paths = [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff"]
    assert all(isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict) for path in paths)


def test_the_readme_installs_torch_as_the_makefile_does():
    assert f"-c constraints.txt torch --index-url {install.CPU_INDEX} " in README
    assert "torch==" in (ROOT / "constraints.txt").read_text()


def test_extras_of_the_readme_exist():
    named = re.findall(r"'(?:neuromancer-graph|\.)\[([\w,]+)\]'", README)
    assert named and {extra for group in named for extra in group.split(",")} <= set(PROJECT["optional-dependencies"])
