"""Docstrings and pages are written for other readers than Sphinx, too: what it has to be told about them."""

from __future__ import annotations

import re
from typing import Any

STARRED = re.compile(r"(?<![\w*`\\])\*(?=\w+\b(?!\*))")
"""The star of ``*spatial``, outside of literals and emphasis."""
FULL = re.compile(r"(:\w+:`)(?=neuromancer\.)")
"""Beginning of a reference by a full name."""
LITERAL = re.compile(r"(``.+?``)")
PROMPTS = (">>> ", "... ")
NAMED = re.compile(r"\[[\w-]+\.md\]\(([\w-]+\.md(#[\w-]+)?)\)")
"""A link whose text is the name of the page."""
OUTSIDE = re.compile(r"\[([^]]+)\]\(\.\./[^)]+\)")
"""A link to a file of the repository, which is not on the site."""


def adapt_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape the stars of shapes such as (f, *spatial), and show the last part of full names only.

    In plain text, both read best as they are written.
    """
    for number, line in enumerate(lines):
        if not line.lstrip().startswith(PROMPTS):
            parts = LITERAL.split(line)
            parts[::2] = [STARRED.sub(r"\\*", part) for part in parts[::2]]
            lines[number] = FULL.sub(r"\1~", "".join(parts))


def by_last_name(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Resolve a reference by the module in which a name is defined to the page of the public name."""
    if node.get("refdomain") != "py":
        return None
    objects = env.domains["py"].objects
    parts = node["reftarget"].split(".")
    for count in (2, 1):  # Class.method before method
        last = ".".join(parts[-count:])
        found = [name for name in objects if name.endswith(f".{last}") and name.startswith("neuromancer.")]
        # A class before an attribute of the same name.
        found = [name for name in found if objects[name].objtype in ("class", "function", "exception")] or found
        if len({objects[name].node_id for name in found}) == 1:
            return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", found[0], node, contnode)
    return None


def adapt_links(app: Any, docname: str, source: list[str]) -> None:
    """Show titles of pages instead of file names, no links out of the site, and the pages of the gallery's scripts."""
    text = source[0].replace("](gallery)", "](auto_gallery/index.rst)")
    source[0] = OUTSIDE.sub(r"\1", NAMED.sub(r"[](\1)", text))


def setup(app: Any) -> dict[str, Any]:
    """Connect with Sphinx; docstrings are adapted before numpydoc looks at their sections."""
    app.connect("autodoc-process-docstring", adapt_docstring, priority=100)
    app.connect("missing-reference", by_last_name)
    app.connect("source-read", adapt_links)
    return {"parallel_read_safe": True}
