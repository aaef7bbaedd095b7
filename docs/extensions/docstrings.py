"""Docstrings and pages are written for other readers than Sphinx, too: what it has to be told about them."""

from __future__ import annotations

import re
from typing import Any

STARRED = re.compile(r"(?<![\w*`\\])\*(?=\w+\b(?!\*))")
"""The star of ``*spatial``, outside of literals and emphasis."""
LITERAL = re.compile(r"(``.+?``)")
PROMPTS = (">>> ", "... ")
OUTSIDE = re.compile(r"\[([^]]+)\]\(\.\./[^)]+\)")
"""A link to a file of the repository, which is not on the site."""


def escape_stars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape the stars of shapes such as (f, *spatial), which read best as they are where docstrings are plain text."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith(PROMPTS):
            parts = LITERAL.split(line)
            parts[::2] = [STARRED.sub(r"\\*", part) for part in parts[::2]]
            lines[number] = "".join(parts)


def public_base(app: Any, name: str, obj: type, options: Any, bases: list[Any]) -> None:
    """Name the nearest base class that has a page, instead of those in between."""
    for base in obj.__mro__[1:]:
        for public in (f"neuromancer.{base.__name__}", f"neuromancer.errors.{base.__name__}"):
            if f"auto_api/{public}" in app.env.found_docs:
                bases[:] = [f":class:`{public}`"]
                return
    bases[:] = [base for base in bases if base.__module__ == "builtins"] or ["``object``"]


def by_last_name(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Resolve a reference by the module in which a name is defined to the page of the public name."""
    if node.get("refdomain") != "py":
        return None
    objects = env.domains["py"].objects
    parts = node["reftarget"].split(".")
    for count in (1, 2):
        last = ".".join(parts[-count:])
        found = [name for name in objects if name.endswith(f".{last}") and name.startswith("neuromancer.")]
        # A class before an attribute of the same name.
        found = [name for name in found if objects[name].objtype in ("class", "function", "exception")] or found
        if len({objects[name].node_id for name in found}) == 1:
            return env.domains["py"].resolve_xref(
                env, node["refdoc"], app.builder, "obj", found[0], node, contnode
            )
    return None


def link_within(app: Any, docname: str, source: list[str]) -> None:
    """Make links to files of the repository plain text, and one to the scripts of the gallery one to its pages."""
    source[0] = OUTSIDE.sub(r"\1", source[0].replace("](gallery)", "](auto_gallery/index.rst)"))


def setup(app: Any) -> dict[str, Any]:
    """Connect with Sphinx; stars are escaped before numpydoc looks at the sections."""
    app.connect("autodoc-process-docstring", escape_stars, priority=100)
    app.connect("autodoc-process-bases", public_base)
    app.connect("missing-reference", by_last_name)
    app.connect("source-read", link_within)
    return {"parallel_read_safe": True}
