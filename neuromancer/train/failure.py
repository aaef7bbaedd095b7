"""A step whose loss is not finite: undone, and described."""

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
"""How many parameters a message names."""

UNDONE = KEPT_PARAMETER_SETS - 1
"""By how many steps the parameters go back behind those that gave a loss that is not finite."""


def undo(
    model: Model, optimiser: str, step: int, loss: float, batch: tuple[np.ndarray, ...], kept: Path | None
) -> TrainingError:
    """Go back to finite parameters after a step without a finite loss; returns an error that says what is known.

    Parameters
    ----------
    model : Model
    optimiser : str
        That did the step.
    step : int
        Number of the step and its batch.
    loss : float
    batch : tuple of numpy.ndarray
    kept : Path, optional
        The last checkpoint, from which parameters are taken if those of three steps ago are not finite either.
    """
    lr, spoilt = model.lr, not_finite(model)
    model.repair(optimiser)
    state = f"those after {max(0, step - UNDONE)} steps"
    if not_finite(model) and kept is not None:
        model.set_param_values(kept)
        state = f"those of {kept}"
    name, size = _largest(model)
    sources = model.loss_node.input_nodes  # type: ignore[union-attr]
    parts = [f"{source.name} {_range(array)}" for source, array in zip(sources, batch, strict=True)]
    if spoilt:
        more = f" and {len(spoilt) - NAMED} more" if len(spoilt) > NAMED else ""
        parts.append(f"not finite after it: {', '.join(spoilt[:NAMED])}{more}")
    parts.append(f"largest parameter before: {name}, {size:.3g}")
    return TrainingError(
        f"the loss is {loss} at step {step}",
        where=f"training of model {model.name}",
        got="; ".join([*parts, f"lr {lr:g}"]),
        expected=f"finite numbers; the parameters are now {state}"
        + (f", the last checkpoint is {kept}" if kept else ""),
        nearest=_advice(lr, kept),
    )


def is_finite(batch: tuple[np.ndarray, ...]) -> bool:
    """Whether it cannot be the data that a loss is not finite."""
    return all(np.isfinite(array).all() for array in map(np.asarray, batch) if array.dtype.kind == "f")


def _advice(lr: float, kept: Path | None) -> str:
    if kept is None:
        return "a smaller learning rate, a warm-up, or clip_norm=1"
    smaller = f"optimiser_params={{'lr': {lr / 10:.1g}, 'clip_norm': 1}}"
    return f"Trainer.resume(folder, data, {smaller}), which goes on from there; or a schedule that starts lower"


def _largest(model: Model) -> tuple[str, float]:
    """Name and greatest magnitude of the parameter that has the greatest."""
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
