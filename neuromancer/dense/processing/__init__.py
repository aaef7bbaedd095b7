"""Pre- and postprocessing of dense predictions: named steps, some of which need statistics of the whole image."""

from __future__ import annotations
