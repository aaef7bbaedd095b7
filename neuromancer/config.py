"""Settings of the package, initialised from the environment and changeable at run time.

``neuromancer.config`` is the only instance. Functions are compiled for the settings in effect at their first call and
recompiled on the next call after the device, backend or precision has changed.
"""

from __future__ import annotations

import os
import re

from neuromancer.errors import ArgumentError

FLOAT_TYPES = ("float32", "float64")
BACKENDS = ("auto", "torch", "openvino")
DEVICE = re.compile(r"cpu|cuda(:\d+)?|auto|meta")


class Config:
    """Settings: precision, device, backend, random seed and progress display.

    Attributes
    ----------
    floatX : {'float32', 'float64'}
        dtype of inputs and parameters created afterwards (environment variable ``NEUROMANCER_FLOATX``).
    device : {'cpu', 'cuda', 'cuda:N', 'auto', 'meta'}
        Device on which graphs run (environment variable ``NEUROMANCER_DEVICE``). ``auto`` uses a GPU if there is one;
        ``meta`` computes shapes only, without data.
    backend : {'auto', 'torch', 'openvino'}
        Backend for float32 inference on the CPU (environment variable ``NEUROMANCER_BACKEND``). ``auto`` uses OpenVINO,
        if installed, where it is faster, ``openvino`` always. Everything else runs on torch.
    seed : int or None
        Seed of weight initialisation and of all random streams created afterwards (environment variable
        ``NEUROMANCER_SEED``); None takes one from the operating system.
    progress : bool or None
        Whether to show progress bars; None shows them only on a terminal.

    Raises
    ------
    ArgumentError
        If a setting is given an invalid value.

    Examples
    --------
    >>> from neuromancer.config import Config
    >>> settings = Config()
    >>> settings.floatX = "float64"
    >>> settings.floatX
    'float64'
    """

    def __init__(self) -> None:
        self.floatX = os.environ.get("NEUROMANCER_FLOATX", "float32")
        self.device = os.environ.get("NEUROMANCER_DEVICE", "cpu")
        self.backend = os.environ.get("NEUROMANCER_BACKEND", "auto")
        seed = os.environ.get("NEUROMANCER_SEED")
        try:
            self.seed = None if seed is None else int(seed)
        except ValueError:
            raise ArgumentError(
                "invalid seed in NEUROMANCER_SEED", where="config", got=seed, expected="an integer"
            ) from None
        self.progress: bool | None = None

    @property
    def floatX(self) -> str:
        """Name of the floating-point dtype of inputs and parameters."""
        return self._floatX

    @floatX.setter
    def floatX(self, value: str) -> None:
        if value not in FLOAT_TYPES:
            raise ArgumentError("unknown floatX", where="config", got=value, expected=f"one of {FLOAT_TYPES}")
        self._floatX = value

    @property
    def device(self) -> str:
        """Name of the device on which graphs run."""
        return self._device

    @device.setter
    def device(self, value: str) -> None:
        if not isinstance(value, str) or not DEVICE.fullmatch(value):
            raise ArgumentError(
                "unknown device",
                where="config",
                got=value,
                expected="'cpu', 'cuda', 'cuda:N', 'auto' or 'meta'",
            )
        self._device = value

    @property
    def backend(self) -> str:
        """Name of the backend for float32 inference on the CPU."""
        return self._backend

    @backend.setter
    def backend(self, value: str) -> None:
        if value not in BACKENDS:
            raise ArgumentError("unknown backend", where="config", got=value, expected=f"one of {BACKENDS}")
        self._backend = value

    @property
    def seed(self) -> int | None:
        """Seed of initial weights and random streams; setting it restarts both."""
        return self._seed

    @seed.setter
    def seed(self, value: int | None) -> None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise ArgumentError("invalid seed", where="config", got=value, expected="a non-negative integer or None")
        self._seed = value
        self.seed_generation = getattr(self, "seed_generation", 0) + 1

    def __repr__(self) -> str:
        return (
            f"Config(floatX={self.floatX!r}, device={self.device!r}, backend={self.backend!r}, seed={self.seed!r}, "
            f"progress={self.progress!r})"
        )


config = Config()
