"""Statistics of an image kept in the folder of a journal, so that shards and resumed runs do not measure them again."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from neuromancer.dense.processing.source import ProcessedSource
from neuromancer.dense.processing.statistics import statistics_from_plain, statistics_to_plain
from neuromancer.files import read_small, write_whole

NAME = "statistics.json"
LIMIT = 1 << 26


def measure_once(source: ProcessedSource, folder: Path | None) -> None:
    """Measure the statistics of a source, or take those that a run with the same journal has measured.

    Values that are damaged, or those of another image or other steps, are measured again.

    Parameters
    ----------
    source : ProcessedSource
    folder : Path or None
        Folder of the journal, if there is one.
    """
    if not any(step.measured for step in source.steps):
        source.measure()
        return
    key = "" if folder is None else sha256(source.fingerprint().encode()).hexdigest()
    known = None if folder is None else _read(folder / NAME, key, len(source.steps))
    if known is not None:
        source.statistics = known
        return
    source.measure()
    if folder is not None:
        plain = statistics_to_plain(source.statistics or ())
        content = {"image": key, "statistics": plain, "digest": _digest(plain)}
        write_whole(folder / NAME, json.dumps(content).encode())


def _read(path: Path, key: str, count: int) -> list[Any] | None:
    try:
        content = json.loads(read_small(path, LIMIT).decode())
        plain = content["statistics"]
        if content["image"] != key or content["digest"] != _digest(plain) or len(plain) != count:
            return None
        return statistics_from_plain(plain)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _digest(plain: Any) -> str:
    return sha256(json.dumps(plain).encode()).hexdigest()
