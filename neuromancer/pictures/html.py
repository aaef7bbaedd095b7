"""Interactive page of a described graph, in one self-contained HTML file."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from neuromancer.pictures.info import GraphInfo
from neuromancer.pictures.layered import HEIGHT, WIDTH, layered_layout
from neuromancer.pictures.options import PlotOptions
from neuromancer.pictures.scales import scale_layout
from neuromancer.printable import escape as printable_text


def page(graph: GraphInfo, options: PlotOptions) -> str:
    """Return the interactive page of a graph.

    Script, style and data are embedded. The content security policy allows only the embedded script and style, by
    digest, so that the page cannot send any request, whatever the names of the nodes contain.

    Parameters
    ----------
    graph : GraphInfo
    options : PlotOptions

    Returns
    -------
    str
        HTML document.
    """
    style, script = _part("page.css"), _part("page.js")
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(_part("page.html")).substitute(
        policy=policy,
        title=escape(printable_text(graph.title)),
        style=style,
        script=script,
        data=_embedded(_data(graph, options)),
    )


def _data(graph: GraphInfo, options: PlotOptions) -> dict:
    edges = [(e.source, e.target) for e in graph.edges]
    scales = scale_layout([tuple(n.strides) for n in graph.nodes], edges)
    layouts = {"layers": asdict(layered_layout(len(graph.nodes), edges))}
    if scales is not None:
        layouts["scales"] = asdict(scales)
    nodes = graph.as_dict()
    for info, entry in zip(graph.nodes, nodes["nodes"], strict=True):
        entry["shape_text"] = info.shape_text
    return {
        "graph": _shown(nodes),
        "layouts": layouts,
        "box": [WIDTH, HEIGHT],
        "options": asdict(options),
    }


def _shown(value: Any) -> Any:
    """Escape control and bidirectional characters in all strings of nested data."""
    if isinstance(value, str):
        return printable_text(value)
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, (list, tuple)) else value


def _embedded(data: dict) -> str:
    """Return JSON that is safe inside a script element: no character could end it or start a comment."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


@cache
def _part(name: str) -> str:
    return files("neuromancer.pictures").joinpath(name).read_text(encoding="utf-8")
