"""Networks of nodes, translated for other libraries: what every node is, apart from any of them."""

from __future__ import annotations
