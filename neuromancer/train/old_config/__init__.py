"""Configuration files of the original library: their settings become the arguments of a Trainer."""

from __future__ import annotations

from neuromancer.train.old_config.names import OLD
from neuromancer.train.old_config.translation import Translation, is_old

__all__ = ["OLD", "Translation", "is_old"]
