"""The directive ``functions-table``: the functions of a namespace, with the first sentence of their documentation."""

from __future__ import annotations

import re
from inspect import getdoc, isclass, ismodule
from operator import attrgetter
from typing import Any

import numpy
from docutils import nodes
from docutils.parsers.rst import Directive

TYPED = re.compile(r"[bwilfdcz](scalar|vector|matri|row|col|tensor\d)\w*|(scalar|vector|row|col|tensor\d)s|matrices")
"""Constructors of variables of one dtype, and of several variables."""
INNER = {"make_slice", "none_type_t", "slicetype", "values_eq_approx_always_true"}
"""Names for the engine's own use."""
WORDS = {
    "Lop": "Product of a vector and the Jacobian, by reverse differentiation",
    "Rop": "Product of the Jacobian and a vector, by forward differentiation",
    "alloc": "Tensor of a shape, filled with a value",
    "det": "Determinant of a matrix",
    "expm": "Exponential of a matrix",
    "extract_diag": "Diagonal of a matrix",
    "hessian": "Matrix of second derivatives",
    "iround": "Round to integers",
    "isinf_": "Whether elements are infinite",
    "isnan_": "Whether elements are not a number",
    "lstsq": "Least-squares solution of a linear system",
    "matrix_inverse": "Inverse of a matrix",
    "permute_row_elements": "Permute the elements of every row",
    "round_half_away_from_zero": "Round, halves away from zero",
    "round_half_to_even": "Round, halves to the even number",
    "scalar_from_tensor": "Turn a tensor without axes into a scalar",
    "tensor_copy": "Copy of a tensor",
    "tensor_from_scalar": "Turn a scalar into a tensor without axes",
}
"""What functions do that are not described where they come from."""
SECTION = re.compile(r"(Parameters|Returns|Examples|Notes) ?-+")
SIGNATURE = re.compile(r"\w+\(.*\)( ->.*)?")
SENTENCE = re.compile(r"(?<!i\.e)(?<!e\.g)\. ")
"""End of a sentence."""


def functions(namespace: Any) -> dict[str, str]:
    """Return what the public functions of a namespace do, by name."""
    found = {}
    for name, value in sorted(vars(namespace).items()):
        hidden = name.startswith("_") or name in INNER or TYPED.fullmatch(name) or isclass(value) or ismodule(value)
        typing = getattr(value, "__module__", "").startswith(("typing", "collections"))
        if callable(value) and not hidden and not typing:
            found[name] = summary(value) or WORDS.get(name) or summary(getattr(numpy, name, None))
    return found


def summary(value: Any) -> str:
    """Return the first sentence of a docstring; empty if it has none of its own."""
    if value is None or type(value).__doc__ == value.__doc__:
        return ""
    paragraphs = [" ".join(part.split()) for part in (getdoc(value) or "").split("\n\n")]
    first = next((part for part in paragraphs if not SIGNATURE.fullmatch(part)), "").replace("`", "")
    return "" if SECTION.match(first) else SENTENCE.split(first)[0].rstrip(".")


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
