"""Machine code that numba caches on disk is recompiled when any source of the kernels has changed."""

from __future__ import annotations

from pathlib import Path

from neuromancer.engine.pytensor.kernels import machine_code, maxima


def test_digest_covers_every_source(tmp_path):
    digests = []
    for name, text in (("a.py", "x = 1"), ("b.py", "y = 1"), ("b.py", "y = 2"), ("notes.txt", "z")):
        (tmp_path / name).write_text(text)
        machine_code.sources_digest.cache_clear()
        digests.append(machine_code.sources_digest(tmp_path))
    assert len(set(digests[:3])) == 3
    assert digests[3] == digests[2], "only Python files are sources"


def test_cache_files_are_named_by_the_digest():
    run = maxima.compiled()
    digest = machine_code.sources_digest(Path(machine_code.__file__).parent)
    assert run.__qualname__ == f"_pool_{digest}"
