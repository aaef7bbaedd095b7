"""Run the doctests of the installed engine only, since the libraries of the other one are missing."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec

ENGINE = os.environ.get("NEUROMANCER_ENGINE", "pytensor")
OTHERS = {"pytensor", "theano"} - {ENGINE}
collect_ignore_glob = [f"neuromancer/engine/{name}/*" for name in OTHERS]
if find_spec("torch") is None:
    collect_ignore_glob += [
        "neuromancer/interop/pytorch/*",
        "neuromancer/interop/from_*.py",
        "neuromancer/interop/export.py",
    ]
if find_spec("onnx") is None:
    collect_ignore_glob += [
        "neuromancer/interop/onnx/*",
        "neuromancer/interop/from_onnx.py",
        "neuromancer/interop/export.py",
    ]
if find_spec("bioimageio") is None:
    collect_ignore_glob += ["neuromancer/interop/bioimageio/*", "neuromancer/interop/from_bioimageio.py"]
if find_spec("openvino") is None:
    collect_ignore_glob.append("neuromancer/engine/pytensor/link/openvino/*")
if find_spec("zarr") is None:
    collect_ignore_glob.append("neuromancer/volumes/zarr_store.py")
if not all(map(find_spec, ("napari", "qtpy"))):
    collect_ignore_glob.append("neuromancer/napari_plugin/*")

# Theano locks its compilation folder while compiling, so every worker process gets its own.
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER and "base_compiledir=" in os.environ.get("THEANO_FLAGS", ""):
    os.environ["THEANO_FLAGS"] = re.sub(r"(base_compiledir=[^,]+)", rf"\1/{WORKER}", os.environ["THEANO_FLAGS"])


def pytest_configure(config):
    """Ignore warnings that Theano leaves its C source files open, which cannot be fixed here."""
    if ENGINE == "theano":
        config.addinivalue_line("filterwarnings", "ignore:unclosed file.*theano:ResourceWarning")
