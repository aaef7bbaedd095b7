"""The page docs/performance.md: every benchmark writes its own section and leaves the others as they are."""

from __future__ import annotations

import re
from pathlib import Path

SECTIONS = (
    "Start and first calls",
    "Dense prediction",
    "Large volumes",
    "MeshNet, 5 channels",
    "MeshNet, 20 channels",
    "nnU-Net",
    "MONAI",
    "U-Nets and blocks",
    "Training in 3-D",
    "Training in 2-D",
    "Plans",
)
"""Headings in the order of the page."""

INTRODUCTION = """# Performance

Written by `make bench`, part by part: every section names the machine and the day of its numbers. Both sides of a
comparison are first checked to give the same results, and then run in turns in one process; the tables have medians.
**A ratio below 1 means that neuromancer is faster.** [benchmarks/](../benchmarks) says how to run a part.
"""


def sections_of(text: str) -> dict[str, str]:
    """Split a page at its headings of the second level."""
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)[1:]
    return {heading: body.strip() for heading, body in zip(parts[::2], parts[1::2], strict=True)}


def write(path: Path, heading: str, body: str) -> None:
    """Replace a section of the page, or add it in its place.

    Parameters
    ----------
    path : Path
        Page; created if it does not exist.
    heading : str
        One of `SECTIONS`.
    body : str
        Text below the heading.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     page = Path(folder) / "page.md"
    ...     for heading, body in (("Plans", "1"), ("MONAI", "2"), ("Plans", "3")):
    ...         write(page, heading, body)
    ...     print(sections_of(page.read_text()))
    {'MONAI': '2', 'Plans': '3'}
    """
    sections = sections_of(path.read_text()) if path.exists() else {}
    sections[heading] = body.strip()
    unknown = sections.keys() - set(SECTIONS)
    if unknown:
        raise SystemExit(f"{path}: no benchmark writes the sections {', '.join(sorted(unknown))}")
    texts = [f"## {name}\n\n{sections[name]}\n" for name in SECTIONS if name in sections]
    path.write_text("\n".join([INTRODUCTION, *texts]))
    print(f"wrote '{heading}' to {path}")
