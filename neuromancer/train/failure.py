"""Recovery from a loss that is not finite, and the error that describes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuromancer.errors import TrainingError
from neuromancer.optim.trainable import KEPT_PARAMETER_SETS
from neuromancer.train.checkpoints import not_finite

if TYPE_CHECKING:
    from neuromancer.models.model import Model

NAMED = 4
"""Number of parameters that a message names."""

UNDONE = KEPT_PARAMETER_SETS - 1
"""Number of steps by which parameters are rolled back from those that gave a loss that is not finite."""


def undo(
    model: Model, optimiser: str, step: int, loss: float, batch: tuple[np.ndarray, ...], checkpoint: Path | None
) -> TrainingError:
    """Roll back to finite parameters after a loss that is not finite, and return an error that describes it.

    Parameters
    ----------
    model : Model
    optimiser : str
        Optimiser that did the step.
    step : int
        Number of the step and its batch.
    loss : float
    batch : tuple of numpy.ndarray
    checkpoint : Path, optional
        The last checkpoint; its parameters are used if those of three steps ago are not finite either.
    """
    lr, bad = model.lr, not_finite(model)
    model.repair(optimiser)
    state = f"those after {max(0, step - UNDONE)} steps"
    if not_finite(model) and checkpoint is not None:
        model.set_param_values(checkpoint)
        averages = model.optimiser(optimiser).averages
        if averages is not None:
            averages.restart()
        state = f"those of {checkpoint}"
    name, size = _largest(model)
    sources = model.loss_node.input_nodes  # type: ignore[union-attr]
    parts = [f"{source.name} {_range(array)}" for source, array in zip(sources, batch, strict=True)]
    if bad:
        more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        parts.append(f"not finite after it: {', '.join(bad[:NAMED])}{more}")
    parts.append(f"largest parameter before: {name}, {size:.3g}")
    return TrainingError(
        f"the loss is {loss} at step {step}",
        where=f"training of model {model.name}",
        got="; ".join([*parts, f"lr {lr:g}"]),
        expected=f"finite numbers; the parameters are now {state}"
        + (f", the last checkpoint is {checkpoint}" if checkpoint else ""),
        nearest=_advice(lr, checkpoint),
    )


def is_finite(batch: tuple[np.ndarray, ...]) -> bool:
    """Whether a batch is finite, and so not the cause of a loss that is not."""
    return all(np.isfinite(array).all() for array in map(np.asarray, batch) if array.dtype.kind == "f")


def _advice(lr: float, checkpoint: Path | None) -> str:
    if checkpoint is None:
        return "a smaller learning rate, a warm-up, or clip_norm=1"
    smaller = f"optimiser_params={{'lr': {lr / 10:.1g}, 'clip_norm': 1}}"
    return f"Trainer.resume(folder, data, {smaller}), which continues from there; or a schedule that starts lower"


def _largest(model: Model) -> tuple[str, float]:
    """Return the name of the parameter with the largest magnitude, and that magnitude."""
    sizes = {
        f"{node}_{key}": float(np.abs(value).max())
        for node, params in model.get_param_values().items()
        for key, value in params.items()
        if value.size
    }
    return max(sizes.items(), key=lambda item: item[1], default=("none", 0.0))


def _range(array: np.ndarray) -> str:
    array = np.asarray(array)
    finite = array[np.isfinite(array)]
    bad = array.size - finite.size
    span = f"from {finite.min():g} to {finite.max():g}" if finite.size else "nothing finite"
    return f"{span}, {bad} values not finite" if bad else span
