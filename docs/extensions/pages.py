"""Markdown pages are written for the repository: what the site makes of their links, names and pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import imagesize
from docutils import nodes
from sphinx.addnodes import pending_xref

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"\[[\w-]+\.md\]\(([\w-]+\.md(#[\w-]+)?)\)")
"""A link whose text is the name of the page."""
OUTSIDE = re.compile(r"\[([^]]+)\]\(\.\./[^)]+\)")
"""A link to a file of the repository, which is not on the site."""
FILES = {"changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md"}
"""Pages that only name a file at the top of the repository: the site shows the file."""
TOP = re.compile(r"\[([^]]+)\]\((?!http)(?:docs/)?([\w-]+)(\.md)?\)")
"""A link to a page or another file, in such a file."""
CODE = re.compile(r"(nm\.|neuromancer\.|model\.|node\.)?([A-Za-z][\w.]*)(\(.*\))?", re.DOTALL)
OWNERS = {"model.": ("Model.",), "node.": ("Node.",)}
PLACES = ("", "train.", "volumes.", "affinities.", "instances.", "dense.", "errors.")
FOREIGN = {"export", "importing", "coming-from", "decisions", "architecture"}
"""Pages with many names of other libraries that are names here, too."""
WIDE = 900
"""Pictures of more pixels than this are shown smaller, so that their text may be hard to read."""


def adapt_source(app: Any, docname: str, source: list[str]) -> None:
    """Show titles of pages instead of file names, no links out of the site, and the pages of the gallery's scripts."""
    if docname in FILES:
        source[0] = TOP.sub(_link, (ROOT / FILES[docname]).read_text(encoding="utf-8"))
        return
    text = source[0].replace("](gallery)", "](auto_gallery/index.rst)")
    for page, name in FILES.items():
        text = text.replace(f"[{name}](../{name})", f"[]({page}.md)")
    source[0] = OUTSIDE.sub(r"\1", NAMED.sub(r"[](\1)", text))


def _link(found: re.Match[str]) -> str:
    page = next((page for page, name in FILES.items() if name == f"{found[2]}.md"), found[2])
    return f"[]({page}.md)" if (ROOT / "docs" / f"{page}.md").exists() else found[1]


def enlarge(app: Any, doctree: nodes.document) -> None:
    """Link wide pictures to their files."""
    for image in doctree.findall(nodes.image):
        path = Path(app.srcdir) / image["uri"]
        if path.suffix == ".png" and path.exists() and imagesize.get(path)[0] > WIDE:
            image["width"] = "100%"


def target_of(text: str, objects: Any) -> str | None:
    """Return the full name of what a piece of code names; None if it is nothing public, or may be something else."""
    match = CODE.fullmatch(text)
    if match is None:
        return None
    prefix, name, call = match.groups()
    sure = prefix or call or "_" in name or not name.islower()
    places = OWNERS.get(prefix or "", PLACES)
    return next((f"neuromancer.{p}{name}" for p in places if sure and f"neuromancer.{p}{name}" in objects), None)


def link_code(app: Any, doctree: nodes.document, docname: str) -> None:
    """Link names in the text to the reference, once per section."""
    if docname in FOREIGN or Path(app.env.doc2path(docname)).suffix != ".md":
        return
    domain, linked = app.env.domains["py"], set()
    for code in list(doctree.findall(nodes.literal)):
        parents = [type(parent) for parent in _above(code)]
        target = target_of(code.astext(), domain.objects)
        section = next((id(parent) for parent in _above(code) if isinstance(parent, nodes.section)), 0)
        if target is None or {nodes.reference, nodes.title} & set(parents) or (section, target) in linked:
            continue
        linked.add((section, target))
        asked = pending_xref("", refdomain="py", reftype="obj", reftarget=target)
        found = domain.resolve_xref(app.env, docname, app.builder, "obj", target, asked, code.deepcopy())
        if found is not None:
            code.replace_self(found)


def _above(node: Any) -> Any:
    while (node := node.parent) is not None:
        yield node


def setup(app: Any) -> dict[str, Any]:
    """Connect with Sphinx."""
    app.connect("source-read", adapt_source)
    app.connect("doctree-read", enlarge)
    app.connect("doctree-resolved", link_code)
    return {"parallel_read_safe": True}
