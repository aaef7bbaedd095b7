"""Sections of the page of benchmarks."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_a_part_leaves_the_other_sections_as_they_are(tmp_path):
    import page

    path = tmp_path / "page.md"
    for heading, body in (("Plans", "one\n\n### inner\n\ntext"), ("Dense prediction", "two"), ("Plans", "three")):
        page.write(path, heading, body)
        page.write(path, "nnU-Net", "| a |\n|---|\n| 1 |")
    assert page.sections_of(path.read_text()) == {
        "Dense prediction": "two",
        "nnU-Net": "| a |\n|---|\n| 1 |",
        "Plans": "three",
    }
    assert path.read_text().startswith(page.INTRODUCTION)


def test_a_section_of_no_benchmark_is_refused(tmp_path):
    import page

    path = tmp_path / "page.md"
    path.write_text("# Performance\n\n## Written by hand\n\ntext\n")
    with pytest.raises(SystemExit, match="Written by hand"):
        page.write(path, "Plans", "one")
    assert "text" in path.read_text()


def test_the_page_of_the_documentation_has_known_sections_only():
    import page

    text = (Path(page.__file__).parents[1] / "docs" / "performance.md").read_text()
    assert text.startswith(page.INTRODUCTION)
    assert page.sections_of(text).keys() <= set(page.SECTIONS)


@pytest.mark.slow
def test_all_groups_have_their_sections():
    pytest.importorskip("torch")
    import imported
    import page
    import training

    for module in (imported, training):
        assert set(module.GROUPS.values()) <= set(page.SECTIONS)
        assert {case.group for case in module.CASES} == set(module.GROUPS)
