"""neuromancer: neural networks as graphs of nodes, and exact dense prediction of volumetric images.

Compose nodes into a graph, call them like functions on arrays, train them through a model, and evaluate them at every
voxel of a volume with ``predict_dense``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuromancer.config import config as config  # its module has the same name, so it cannot wait for its first use
from neuromancer.provided import MODULES
from neuromancer.version import __version__ as __version__

MODULES.update(
    Model="neuromancer.models.model",
    export="neuromancer.interop.export",
    export_bioimageio="neuromancer.interop.export_bioimageio",
    to_torch="neuromancer.interop.export",
)

if TYPE_CHECKING:
    from neuromancer.public import *
    from neuromancer.public import __all__ as __all__
else:

    def __getattr__(name):
        """Import a module of the package, or all public names, when one is first used: they need torch."""
        import gc
        from importlib import import_module
        from importlib.util import find_spec

        if name == "__all__" or not name.startswith("__"):
            if find_spec(f"{__name__}.{name}"):
                return import_module(f"{__name__}.{name}")
            # torch's hundred thousands of objects are no garbage: searching them takes a tenth of the time
            collecting = gc.isenabled()
            gc.disable()
            try:
                public = import_module(f"{__name__}.public")
            finally:
                if collecting:
                    gc.enable()
            globals().update({key: getattr(public, key) for key in ("__all__", *public.__all__)})
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*__getattr__("__all__"), *globals()})
