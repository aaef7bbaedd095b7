"""Processes killed while writing: files stay intact, with everything that was flushed."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from neuromancer.volumes import create_sink, open_sink, open_source
from tests.volumes.factories import STORES, numbered

WRITER = """
import pickle, sys, numpy as np
from neuromancer.volumes.create import open_sink
sink = open_sink(pickle.loads(bytes.fromhex(sys.argv[1])))
values = np.random.default_rng(0).random((1, 16, 64, 64), "float32")
for turn in range(1000):
    for z in range(0, 128, 16):
        sink[0:1, z : z + 16, 0:64, 0:64] = values + z + turn
        sink.flush()
        print(z, turn, flush=True)
"""


@pytest.mark.parametrize("name", ["a.h5:out", "a.zarr", "a.npy", "a.tif", "a.nii", "a.precomputed"])
def test_a_kill_costs_the_block_that_is_being_written_at_most(name, tmp_path):
    options = {"chunks": (1, 16, 32, 32)} if name.startswith(("a.h5", "a.z", "a.p")) else {}
    sink = create_sink(f"{tmp_path}/{name}", (1, 128, 64, 64), "float32", **options)
    sink.close()
    command = [sys.executable, "-c", WRITER, pickle.dumps(sink.locator).hex()]
    values = np.random.default_rng(0).random((1, 16, 64, 64), "float32")
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for _ in range(9):
        writer.stdout.readline()
    time.sleep(0.05 * np.random.default_rng().random())
    os.kill(writer.pid, signal.SIGKILL)
    # the kill may cut the last line
    lines = writer.stdout.read().rpartition("\n")[0].splitlines()
    writer.wait()
    writer.stdout.close()
    last, turns = [int(n) for n in lines[-1].split()] if lines else [0, 1]
    again = open_sink(sink.locator)
    for z in range(0, 128, 16):
        if z != (last + 16) % 128:  # that block may be half written
            turn = turns if z <= last else turns - 1
            np.testing.assert_array_equal(again[0:1, z : z + 16, 0:64, 0:64], values + z + turn)
    again.close()


@pytest.mark.parametrize("compression", ["gzip", None])
def test_hdf5_between_flushes_is_as_it_was_flushed(tmp_path, compression):
    shape = (1, 64, 64, 64)
    sink = create_sink(f"{tmp_path}/a.h5", shape, "uint16", chunks=(1, 4, 4, 4), compression=compression)
    values = numbered(shape)
    sink[0:1, 0:32] = values[:, 0:32]
    sink.flush()
    sink[0:1, 32:64] = values[:, 32:64]
    shutil.copy(tmp_path / "a.h5", tmp_path / "b.h5")
    copy = open_source(tmp_path / "b.h5")
    np.testing.assert_array_equal(copy[0:1, 0:32], values[:, 0:32])
    copy.close()
    sink.close()


def _sum(source):
    return int(source[0:1, 2:5].sum())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.parametrize("store", ["hdf5", "zarr", "npy", "tif_compressed"])
def test_sources_in_forked_processes(store, tmp_path):
    values = numbered((1, 8, 9, 10), "uint16")
    source = open_source(STORES[store](values, tmp_path), axes="czyx" if store != "tif_compressed" else None)
    expected = _sum(source)
    for _ in range(2):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(write, str(_sum(source)).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(write)
        assert int(os.read(read, 20)) == expected
        os.close(read)
    source.close()
