"""Volumes larger than memory, read from and written to any store in blocks (f, *spatial).

Flow: path or array -> :func:`open_source` -> blocks -> ... -> blocks -> :func:`create_sink` -> path or array.
"""

from __future__ import annotations

from neuromancer.volumes.chunks import aligned, chunks_for, shards_for
from neuromancer.volumes.create import check_sink, create_sink, output_at
from neuromancer.volumes.dataarray import is_dataarray, lazy, result_array
from neuromancer.volumes.objects import open_array
from neuromancer.volumes.output import Output, open_sink
from neuromancer.volumes.protocol import Locator, Sink, Source
from neuromancer.volumes.pyramid import write_pyramid
from neuromancer.volumes.source import ArraySource, open_source

__all__ = [
    "ArraySource",
    "Locator",
    "Output",
    "Sink",
    "Source",
    "aligned",
    "check_sink",
    "chunks_for",
    "create_sink",
    "is_dataarray",
    "lazy",
    "open_array",
    "open_sink",
    "open_source",
    "output_at",
    "result_array",
    "shards_for",
    "write_pyramid",
]
