"""The directive ``functions-table``: the functions of a namespace, with the first sentence of their documentation."""

from __future__ import annotations

import re
from inspect import getdoc, isclass, ismodule
from operator import attrgetter
from typing import Any

import numpy
from docutils import nodes
from docutils.parsers.rst import Directive

TYPED = re.compile(r"[bwilfdcz](scalar|vector|matri|row|col|tensor\d)\w*")
"""Constructors of variables of one dtype."""
SECTIONS = ("Parameters", "Returns", "Examples", "Notes")
SIGNATURE = re.compile(r"\w+\(.*\)( ->.*)?")
SENTENCE = re.compile(r"(?<!i\.e)(?<!e\.g)\. ")
"""End of a sentence."""


def functions(namespace: Any) -> dict[str, str]:
    """Return what the public functions of a namespace do, by name."""
    found = {}
    for name, value in sorted(vars(namespace).items()):
        hidden = name.startswith("_") or TYPED.fullmatch(name) or isclass(value) or ismodule(value)
        typing = getattr(value, "__module__", "").startswith(("typing", "collections"))
        if callable(value) and not hidden and not typing:
            found[name] = summary(value) or summary(getattr(numpy, name, None))  # of the same meaning
    return found


def summary(value: Any) -> str:
    """Return the first sentence of a docstring; empty if it has none of its own."""
    if value is None or type(value).__doc__ == value.__doc__:
        return ""
    paragraphs = [" ".join(part.split()) for part in (getdoc(value) or "").split("\n\n")]
    first = next((part for part in paragraphs if not SIGNATURE.fullmatch(part)), "").replace("`", "")
    return "" if first.startswith(SECTIONS) else SENTENCE.split(first)[0].rstrip(".")


class FunctionsTable(Directive):
    """Table of the functions of a namespace, such as ``neuromancer.T.nnet``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        import neuromancer

        namespace = attrgetter(self.arguments[0].removeprefix("neuromancer."))(neuromancer)
        group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in (25, 75)), cols=2)
        body = nodes.tbody()
        for name, what in functions(namespace).items():
            cells = nodes.literal("", name), nodes.inline("", what)
            body += nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))
        group += body
        return [nodes.table("", group, classes=["functions"])]


def setup(app: Any) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("functions-table", FunctionsTable)
    return {"parallel_read_safe": True}
