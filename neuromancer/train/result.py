"""What a run of a training came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class TrainingResult:
    """What a run came to.

    Attributes
    ----------
    reason : {'steps', 'time', 'early stopping', 'interrupted'}
        Why it ended.
    steps : int
        Steps done, those before a resumption included.
    seconds : float
        Time spent, that before a resumption included.
    validation : dict of str to float
        Loss, error and metrics at the end; of an interrupted run, those measured last.
    best, best_step : float, int
        Best value of the metric that is watched, and after how many steps; NaN and 0 without validation.
    files : dict of str to Path
        What was written, by kind: last, best, final, csv, history, plot.
    """

    reason: str
    steps: int
    seconds: float
    validation: dict[str, float]
    best: float
    best_step: int
    files: dict[str, Path] = field(default_factory=dict)
