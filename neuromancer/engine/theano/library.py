"""Import of Theano 1.0.5 on a Python and a NumPy newer than itself.

All workarounds are applied here, before and right after the import; the other modules of this engine import this one
first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.errors import EngineError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator

FLAGS = "THEANO_FLAGS"


def blas_flags(compiler: str) -> str:
    """Return the linker flags of a BLAS: SciPy's OpenBLAS, else an installed one, else none.

    Without a BLAS, Theano's C code calls NumPy's matrix product.
    """
    found = PathFinder.find_spec("scipy")
    for root in found.submodule_search_locations or () if found else ():
        for library in sorted((Path(root).parent / "scipy.libs").glob("libopenblasp-*.so")):
            # No -L: Theano would look in that folder for a file named after the library and warn.
            return f"-Wl,--no-as-needed -Wl,{library} -Wl,-rpath,{library.parent}"
    if compiler and _links(compiler, "-lopenblas"):
        return "-lopenblas"
    return ""


def _links(compiler: str, flag: str) -> bool:
    """Return whether a program links with `flag`."""
    with TemporaryDirectory() as folder:
        command = [compiler, "-shared", "-x", "c", os.devnull, flag, "-o", str(Path(folder) / "probe.so")]
        try:
            return subprocess.run(command, capture_output=True).returncode == 0
        except OSError:
            return False


@contextmanager
def _blas_left_open() -> Iterator[bool]:
    """Set placeholder BLAS flags during the import: Theano would look for them in a module that NumPy has removed.

    Yields True if the user has set none. The environment is restored on exit.
    """
    before = os.environ.get(FLAGS)
    unset = "blas.ldflags" not in (before or "")
    if unset:
        os.environ[FLAGS] = ",".join(filter(None, (before, "blas.ldflags=-lm")))
    try:
        yield unset
    finally:
        if before is not None:
            os.environ[FLAGS] = before
        else:
            os.environ.pop(FLAGS, None)


def _import() -> Any:
    if np.lib.NumpyVersion(np.__version__) >= "1.24.0":
        raise EngineError(
            "Theano 1.0.5 cannot use this NumPy",
            where="engine",
            got=np.__version__,
            expected="numpy 1.23: an environment of its own, see docs/engines.md",
        )
    # The C code of scan does not compile on Python 3.11; None makes Theano fall back to Python.
    sys.modules["theano.scan_module.scan_perform_ext"] = None  # type: ignore[assignment]
    # Theano changes NumPy's error handling and the warning filters of the whole process: both are restored.
    with _blas_left_open() as unset, np.errstate(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its source files open
        import theano
    if unset:
        theano.config.blas.ldflags = blas_flags(theano.config.cxx)
    return theano


def require_compiler(node: str) -> None:
    """Raise MissingDependencyError if there is no C++ compiler, which Theano's convolutions and pools need."""
    if not theano.config.cxx:
        raise MissingDependencyError("this operation of Theano is C++ code", node=node, expected="g++ to be installed")


def _always_compile(*classes: Any) -> None:
    """Compile operations to C in every mode that have no NumPy implementation, or one in Python loops.

    In the mode FAST_COMPILE Theano would refuse convolutions, and pool window by window.
    """
    for cls in classes:
        cls.make_thunk = _compiled(cls.make_thunk)


def _compiled(make_thunk: Any) -> Any:
    def compiled(self: Any, node: Any, storage: Any, computed: Any, no_recycling: Any, impl: Any = None) -> Any:
        return make_thunk(self, node, storage, computed, no_recycling, impl="c" if theano.config.cxx else impl)

    return compiled


theano = _import()

from theano.tensor.nnet.conv import ConvOp  # noqa: E402
from theano.tensor.nnet.corr import BaseCorrMM  # noqa: E402
from theano.tensor.nnet.corr3d import BaseCorr3dMM  # noqa: E402
from theano.tensor.signal.pool import Pool, PoolGrad  # noqa: E402

_always_compile(BaseCorrMM, BaseCorr3dMM, ConvOp, Pool, PoolGrad)
