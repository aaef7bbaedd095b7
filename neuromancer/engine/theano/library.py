"""Import of Theano 1.0.5 on a Python and a NumPy that are younger than it.

Everything that Theano needs to be told is told here, before and right after its import; other modules of this engine
import it from here first.
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
    """Linker flags of a BLAS: OpenBLAS as SciPy brings it, else one that is installed, else none.

    Without one Theano uses NumPy's matrix product from its C code.
    """
    found = PathFinder.find_spec("scipy")
    for root in found.submodule_search_locations or () if found else ():
        for library in sorted((Path(root).parent / "scipy.libs").glob("libopenblasp-*.so")):
            # No -L: Theano would search that folder for a file named after the library and complain.
            return f"-Wl,--no-as-needed -Wl,{library} -Wl,-rpath,{library.parent}"
    if compiler and _links(compiler, "-lopenblas"):
        return "-lopenblas"
    return ""


def _links(compiler: str, flag: str) -> bool:
    """Whether a program links with `flag`."""
    with TemporaryDirectory() as folder:
        command = [compiler, "-shared", "-x", "c", os.devnull, flag, "-o", str(Path(folder) / "probe.so")]
        try:
            return subprocess.run(command, capture_output=True).returncode == 0
        except OSError:
            return False


@contextmanager
def _blas_left_open() -> Iterator[bool]:
    """Name Theano some library while it is imported: it would ask for BLAS a part of NumPy that is gone.

    Yields whether the user has not chosen one; the environment is as before afterwards.
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
    # The C code of its loop does not compile on Python 3.11; None makes Theano use its Python form.
    sys.modules["theano.scan_module.scan_perform_ext"] = None  # type: ignore[assignment]
    # Theano sets NumPy's error handling and warning filters for the whole process: that is the user's to decide.
    with _blas_left_open() as unset, np.errstate(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its source files open
        import theano
    if unset:
        theano.config.blas.ldflags = blas_flags(theano.config.cxx)
    return theano


def require_compiler(node: str) -> None:
    """Raise MissingDependencyError if there is no C++ compiler: Theano's convolutions and pools have no other form."""
    if not theano.config.cxx:
        raise MissingDependencyError("this operation of Theano is C++ code", node=node, expected="g++ to be installed")


def _always_compile(*classes: Any) -> None:
    """Let operations without a NumPy form, or with one in Python loops, be compiled in every mode.

    Theano's mode FAST_COMPILE would refuse convolutions, and pool window by window.
    """
    for cls in classes:
        cls.make_thunk = _compiled(cls.make_thunk)


def _compiled(make_thunk: Any) -> Any:
    def compiled(self: Any, node: Any, storage: Any, computed: Any, no_recycling: Any, impl: Any = None) -> Any:
        return make_thunk(self, node, storage, computed, no_recycling, impl="c" if theano.config.cxx else impl)

    return compiled


theano = _import()

from theano.tensor.nnet.corr import BaseCorrMM  # noqa: E402
from theano.tensor.nnet.corr3d import BaseCorr3dMM  # noqa: E402
from theano.tensor.signal.pool import Pool, PoolGrad  # noqa: E402

_always_compile(BaseCorrMM, BaseCorr3dMM, Pool, PoolGrad)
