"""Docstrings are written for other readers than Sphinx, too: what it has to be told about them."""

from __future__ import annotations

import re
from typing import Any

STARRED = re.compile(r"(?<![\w*`\\])\*(?=\w+\b(?!\*))")
"""The star of ``*spatial``, outside of literals and emphasis."""
FULL = re.compile(r"(:\w+:`)(?=neuromancer\.)")
"""Beginning of a reference by a full name."""
LITERAL = re.compile(r"(``.+?``)")
PROMPTS = (">>> ", "... ")
PAGE = re.compile(r"(?:``)?docs/([\w-]+)\.md(?:``)?")
"""The file of a page of the documentation."""
OPTIONAL = re.compile(r"import pytest; (\w+) = pytest\.importorskip\(.*\)")
"""Import of a package without which an example cannot be tested."""


def adapt_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape the stars of shapes such as (f, *spatial), and show the last part of full names only.

    In plain text, both read best as they are written. Pages are linked, and examples import what they need.
    """
    for number, line in enumerate(lines):
        if line.lstrip().startswith(PROMPTS):
            lines[number] = OPTIONAL.sub(r"import \1", line)
        else:
            parts = LITERAL.split(PAGE.sub(r":doc:`/\1`", line))
            parts[::2] = [STARRED.sub(r"\\*", part) for part in parts[::2]]
            lines[number] = FULL.sub(r"\1~", "".join(parts))


def adapt_signature(app: Any, what: str, name: str, obj: Any, options: Any, signature: str, returns: str) -> Any:
    """Leave out the signature that Python gives to classes that are never called."""
    return ("", None) if what == "class" and signature == "(*args, **kwargs)" else None


def skip_field(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Skip the fields of named tuples, which are described with the class."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


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


def setup(app: Any) -> dict[str, Any]:
    """Connect with Sphinx; docstrings are adapted before numpydoc looks at their sections."""
    app.connect("autodoc-process-docstring", adapt_docstring, priority=100)
    app.connect("autodoc-process-signature", adapt_signature)
    app.connect("autodoc-skip-member", skip_field)
    app.connect("missing-reference", by_last_name)
    return {"parallel_read_safe": True}
