"""Result of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class TrainingResult:
    """Result of a training run.

    Attributes
    ----------
    reason : {'steps', 'time', 'early stopping', 'interrupted'}
        Why the run ended.
    steps : int
        Steps done, including those before a resume.
    seconds : float
        Time spent, including that before a resume.
    validation : dict of str to float
        Loss, error and metrics at the end; after an interruption, the last ones measured.
    best, best_step : float, int
        Best value of the monitored metric, and its step; NaN and 0 without validation.
    files : dict of str to Path
        Files written, by kind: last, best, final, csv, history, plot.
    """

    reason: str
    steps: int
    seconds: float
    validation: dict[str, float]
    best: float
    best_step: int
    files: dict[str, Path] = field(default_factory=dict)
