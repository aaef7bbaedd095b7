"""What `make dist` finds wrong with an sdist."""

from __future__ import annotations

from tools import dist

BUILT = {"PKG-INFO", "setup.cfg", "neuromancer_graph.egg-info/SOURCES.txt"}


def test_all_files_of_the_project_and_no_others():
    files = {*dist.NEEDED, "docs/dense.md"}
    assert dist.faults(files | BUILT, files) == []
    assert dist.faults(files - {"docs/dense.md"}, files) == ["docs/dense.md is missing"]
    assert dist.faults(files | {"examples/run/last.h5"}, files) == ["examples/run/last.h5 is superfluous"]


def test_without_git_what_packagers_need_and_no_caches():
    held = {*dist.NEEDED, "more.txt"}
    assert dist.faults(held, ()) == []
    assert dist.faults(held - {"LICENSE"}, ()) == ["LICENSE is missing"]
    cached = "tests/__pycache__/test_config.cpython-311.pyc"
    assert dist.faults(held | {cached}, ()) == [f"{cached} is superfluous"]


def test_what_is_needed_exists():
    assert [name for name in dist.NEEDED if not (dist.ROOT / name).is_file()] == []


def test_the_first_network_of_the_readme_is_found():
    assert "newmodel" in dist.first_block(dist.ROOT / "README.md")
