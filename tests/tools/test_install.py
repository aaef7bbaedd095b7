"""How packages are installed: what is shown, and where torch comes from."""

from __future__ import annotations

import socket

import pytest

from tools import install

PRINTED = """\
Looking in indexes: https://example.org/simple
Collecting torch==2.13.0 (from -c constraints.txt (line 2))
  Downloading torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (30 kB)
  Downloading torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl (190.5 MB)
Processing /wheels/numpy-2.4.6-cp311-none-any.whl (from neuromancer-graph==0.2.0)
  Using cached https://example.org/old-1.0.tar.gz (12 kB)
Requirement already satisfied: tqdm in ./lib (4.67)
Installing collected packages: torch, numpy, old
"""


def test_a_log_has_a_line_per_package():
    expected = ["  torch-2.13.0+cpu (190.5 MB)", "  numpy-2.4.6", "  old-1.0 (12 kB)", "installing 3 packages"]
    assert list(install.progress(PRINTED.splitlines(keepends=True))) == expected


@pytest.fixture
def closed():
    """An address of this machine at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def test_torch_comes_from_where_all_comes_from_without_its_index(closed):
    assert not install.reachable(closed)
    assert install.index_options("cpu", closed) == []


def test_a_silent_index_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not install.reachable(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.05)


def test_the_index_is_asked_for_the_build_for_cpus_only(monkeypatch):
    monkeypatch.setattr(install, "reachable", lambda address: address == f"{install.CPU_INDEX}/torch/")
    assert install.index_options("cpu") == ["--extra-index-url", install.CPU_INDEX]
    assert install.index_options("default") == []


def test_the_status_is_that_of_pip(capfd):
    assert install.main(["--no-index", "--torch", "default", "no-such-package-of-ours"]) != 0
    assert "No matching distribution" in capfd.readouterr().err
