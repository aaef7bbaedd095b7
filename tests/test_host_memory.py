"""Memory of the host that is free."""

from __future__ import annotations

import psutil

from neuromancer import host_memory


def test_memory_of_the_control_group_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(host_memory, "CGROUP", tmp_path)
    free = host_memory.available()
    assert 0 < free <= psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert host_memory.available() == 600000
    (tmp_path / "memory.current").write_text("1200000\n")
    assert host_memory.available() == 0
    (tmp_path / "memory.max").write_text("max\n")
    assert host_memory.available() > 600000
