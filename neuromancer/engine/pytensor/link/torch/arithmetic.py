"""Precision of products on a GPU: full float32 unless less is requested, whatever torch's own settings are.

By default torch computes float32 convolutions on a GPU in TF32 (11 significant bits). Its switches belong to the whole
process, so they are set while work is submitted to the device and restored afterwards; the device uses the values at
the time of submission.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import torch

from neuromancer.engine.pytensor.kernels.conv import channels_last
from neuromancer.errors import DeviceError

ROUNDED = {"bf16": torch.bfloat16, "f16": torch.float16}
"""Precision -> dtype to which the operands of convolutions are rounded."""
NEEDS = {"tf32": (8, 0), "bf16": (8, 0), "f16": (7, 0)}
"""Precision -> minimum compute capability of a GPU that supports it in hardware."""

NEW_NAMES = hasattr(torch.backends.cudnn, "conv")
"""torch 2.9 has renamed the switches. Its kernels read the new ones, and reading the old ones fails if both kinds were
set; the old ones also affect the CPU."""
EXACT, FAST = (("ieee", "ieee"), ("tf32", "tf32")) if NEW_NAMES else ((False, "highest"), (True, "high"))

_one_at_a_time = RLock()


def _read() -> tuple[Any, Any]:
    """Return torch's settings for convolutions and matrix products."""
    if NEW_NAMES:
        return torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision
    return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()


def _write(convolutions: Any, matrices: Any) -> None:
    if NEW_NAMES:
        torch.backends.cudnn.conv.fp32_precision = convolutions
        torch.backends.cuda.matmul.fp32_precision = matrices
    else:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(matrices)


@contextmanager
def arithmetic(device: torch.device, precision: str = "f32") -> Iterator[None]:
    """Compute float32 products on a GPU in full precision, or in TF32 for ``precision="tf32"``, inside this context."""
    if device.type != "cuda":
        yield
        return
    with _one_at_a_time:
        before = _read()
        _write(*(FAST if precision == "tf32" else EXACT))
        try:
            yield
        finally:
            _write(*before)


def require_units(device: torch.device, precision: str, label: str) -> None:
    """Raise DeviceError if the GPU does not support `precision`: it would run slower, or silently in float32."""
    if device.type != "cuda" or precision not in NEEDS:
        return
    found, needed = torch.cuda.get_device_capability(device), NEEDS[precision]
    if found < needed:
        raise DeviceError(
            f"this GPU does not compute in {precision}",
            where=label,
            got="compute capability {}.{}".format(*found),
            expected="at least {}.{}".format(*needed),
            nearest="f32",
        )


class Rounded:
    """A convolution with operands rounded to a smaller dtype; bias and result are float32.

    Parameters
    ----------
    kernel : callable
        The convolution of x and w.
    dtype : torch.dtype
    lasting : bool
        The kernel changes only when a parameter is set, so its rounded copy is cached.
    """

    def __init__(self, kernel: Callable[..., torch.Tensor], dtype: torch.dtype, lasting: bool) -> None:
        self.kernel, self.dtype, self.lasting = kernel, dtype, lasting
        self._kept_for: torch.Tensor | None = None
        self._kept: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Return the convolution of x and w."""
        y = self.kernel(channels_last(x.to(self.dtype)), self._rounded(w)).to(x.dtype)
        return y if bias is None else y.add_(bias.view(-1, *(1,) * (x.ndim - 2)))

    def _rounded(self, w: torch.Tensor) -> torch.Tensor:
        if not self.lasting:
            return channels_last(w.to(self.dtype))
        if self._kept is None or self._kept_for is not w:
            self._kept_for, self._kept = w, channels_last(w.to(self.dtype))
        return self._kept
