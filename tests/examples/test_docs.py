"""All Python blocks of the README and of docs/ run, in the order of each page and in one namespace per page."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS = {
    "volumes.md": ("zarr", "xarray", "tensorstore", "nibabel"),
    "cluster.md": ("dask", "distributed"),
    "export.md": ("onnx",),
    "bioimageio.md": ("bioimageio.spec", "onnx"),
    "tutorial.md": ("h5py", "matplotlib", "skimage"),
}
FILES = {"tutorial.md": "examples/data/nuclei.h5"}
SHORTER = {"tutorial.md": ("n_steps = 400", "n_steps = 4")}
"""What a test does instead; ``make docs`` runs the page as it is."""
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for library in NEEDS.get(page.name, ()):
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    if page.name in FILES:
        (tmp_path / FILES[page.name]).parent.mkdir(parents=True)
        shutil.copy(ROOT / FILES[page.name], tmp_path / FILES[page.name])
    if page.name in SHORTER:
        assert SHORTER[page.name][0] in text
        text = text.replace(*SHORTER[page.name])
    namespace: dict[str, object] = {"__name__": "__docs__"}
    for match in BLOCK.finditer(text):
        # Leading empty lines make line numbers of tracebacks those of the page.
        code = "\n" * text[: match.start(1)].count("\n") + match.group(1)
        exec(compile(code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_have_targets(page: Path):
    targets = [t for t in LINK.findall(page.read_text()) if "://" not in t]
    missing = [t for t in targets if not (page.parent / t).exists()]
    assert not missing
