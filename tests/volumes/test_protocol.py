"""Locators of volumes, and the interfaces that any class may implement."""

from __future__ import annotations

import pickle

import numpy as np

from neuromancer.volumes import Sink, Source, create_sink, open_source
from neuromancer.volumes.protocol import Locator

ADDRESS = "https://user:" + "word@host/a.zarr"


def test_links_are_resolved_in_local_paths_only(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    locator = Locator("npy", str(tmp_path / "link" / "a.npy"), "", "zyx", "zyx", "fill")
    assert locator.resolved().path == str(tmp_path.resolve() / "real" / "a.npy")
    assert locator.resolved() == Locator("npy", locator.resolved().path, "", "zyx", "zyx", "fill")
    for other in (Locator("zarr", "s3://bucket/../a.zarr"), Locator("tensorstore", '{"driver": "zarr"}')):
        assert other.resolved() == other


def test_locators_are_shown_without_credentials_and_sent_with_them():
    locator = Locator("zarr", ADDRESS, "raw")
    assert "word" not in str(locator) + repr(locator) and str(locator).endswith("host/a.zarr:raw")
    assert pickle.loads(pickle.dumps(locator)).path == ADDRESS
    assert str(Locator("npy", "a\x1b.npy")) == "a\\x1b.npy"


def test_sources_and_sinks_are_told_apart_by_their_methods(tmp_path):
    sink = create_sink(tmp_path / "a.npy", (1, 2, 3), "uint8", spatial="yx")
    source = open_source(np.zeros((2, 3)), spatial="yx")
    assert isinstance(sink, Sink) and not isinstance(source, Sink)
    assert isinstance(source, Source) and not isinstance(sink, Source)
    assert not isinstance(np.zeros((1, 2, 3)), (Source, Sink))
    sink.close()
