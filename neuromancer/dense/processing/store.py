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


def recall_or_measure(source: ProcessedSource, folder: Path | None) -> None:
    """Take the statistics that a run with the same journal has measured, or measure them.

    Values that are damaged, or those of another image or other steps, are measured again.

    Parameters
    ----------
    source : ProcessedSource
    folder : Path or None
        Folder of the journal; may not exist.
    """
    if folder is not None and source.is_measured and (folder / NAME).exists():
        found = _read(folder / NAME, _key(source), len(source.steps))
        source.statistics = found if found is not None and source.fits(found) else None
    source.measure()


def keep_statistics(source: ProcessedSource, folder: Path | None) -> None:
    """Store the statistics of a source in the folder of the journal, unless they are there.

    Parameters
    ----------
    source : ProcessedSource
    folder : Path or None
    """
    if folder is None or not source.is_measured:
        return
    path, key = folder / NAME, _key(source)
    if _read(path, key, len(source.steps)) is None:
        plain = statistics_to_plain(source.statistics or ())
        write_whole(path, json.dumps({"image": key, "statistics": plain, "digest": _digest(plain)}).encode())


def _key(source: ProcessedSource) -> str:
    return sha256(source.fingerprint().encode()).hexdigest()


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
