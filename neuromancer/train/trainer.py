"""The training loop: data in, a trained model, its history and its files out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.errors import ArgumentError, FileError, NeuromancerError, TrainingError
from neuromancer.io.load import modelload
from neuromancer.places import local_file
from neuromancer.train.checkpoints import Checkpoints, Position, last_of
from neuromancer.train.data.loader import BackgroundLoader
from neuromancer.train.failure import undo
from neuromancer.train.history import History
from neuromancer.train.plots import plot_history, require_matplotlib
from neuromancer.train.preview import Preview
from neuromancer.train.reporting import Report, voxels_of
from neuromancer.train.result import TrainingResult
from neuromancer.train.schedules import Schedule, make_schedules
from neuromancer.train.sources import FirstBatches, as_source, fingerprint, require_loss
from neuromancer.train.stopping import EarlyStopping, Interruption
from neuromancer.train.validation import Validation, training_error

if TYPE_CHECKING:
    from neuromancer.model import Model

COLUMNS = ("step", "seconds", "loss", "loss_smooth", "lr", "mom", "step_time", "wait_time")
PLOT_EVERY = 30.0
NEVER = 1 << 62


class Trainer:
    """Trains a model with data, and keeps files from which it can go on.

    The trajectory is a function of model, data and seed: validations, previews, checkpoints and interruptions leave no
    trace in it. Interrupted and resumed, it is the same bit for bit on a CPU.

    Parameters
    ----------
    model : Model
        With a loss node; an error and a prediction node are used where designated.
    data : object with ``batch(step)``, tuple of array, iterable of tuples, or callable
        Where batches come from: a :class:`PatchSampler` or the like; arrays in the order of the loss's sources, one
        example per index of their axis b; an iterator of batches; or a function of the model that returns one of them.
    validation : like `data`, optional
        Other data, of which the first `n_validation` batches are evaluated.
    optimiser : {'SGD', 'AdaGrad', 'AdaDelta', 'Adam', 'AdamW'}
    optimiser_params : dict of str to float, optional
        Meta-parameters to set: lr, mom, wd, beta2, clip_value, clip_norm.
    schedules : dict of str to Schedule, optional
        By target, as for ``make_schedules``.
    folder : path, optional
        Where files go: ``<name>-last.h5``, ``<name>-best.h5``, ``<name>-final.h5``, ``<name>-<step>.h5``,
        ``history.csv``, ``history.h5``, ``history.png`` and previews. None: nothing is written.
    n_steps : int, optional
        Last step.
    minutes : float, optional
        Time limit, over all runs together. Without this and `n_steps` it trains until it is interrupted.
    batch_size : int, optional
        For arrays; default that of the input node, or 1.
    seed : int
        For arrays.
    history_every : int
        Steps per row of the history.
    validate_every : int
        Steps between validations, and between measurements of the error of a training batch.
    n_validation : int
        Batches per validation.
    metrics : dict of str to callable, optional
        ``metric(prediction, *targets)`` -> float, evaluated in validations as ``val_<name>``.
    early_stopping : EarlyStopping, optional
        Its metric also decides which checkpoint is the best. The object itself is not changed.
    checkpoint_minutes : float
        Time between checkpoints.
    keep_every : int, optional
        Steps between checkpoints that are kept for good.
    preview : array, (raw, labels), or dict of these, optional
        Volumes that are predicted densely while training.
    preview_every : int
        Steps between previews.
    plots : bool, optional
        Draw curves and previews. None: if matplotlib is installed.
    workers, ahead, processes
        Loading in the background, see :class:`BackgroundLoader`.
    progress : bool, optional
        Show a bar on a terminal, lines elsewhere. None: only on a terminal.
    name : str, optional
        Name of the files; default that of the model.
    overwrite : bool
        Begin anew in a folder that holds a training.

    Raises
    ------
    GraphError
        Without a loss.
    ArgumentError, InputTypeError, ShapeError, UnknownNameError
        For arguments that cannot be, and for a folder that holds a training.

    Examples
    --------
    >>> import neuromancer as nm
    >>> model = nm.model_manager.newmodel("trainer")
    >>> x = nm.Input((8, 1), "b,f", name="x", print_repr=False)
    >>> y = nm.Perceptron(x, 1, activation_func="lin", name="y", print_repr=False)
    >>> t = nm.Input_like(y, name="t", print_repr=False)
    >>> loss = nm.AggregateLoss(nm.SquaredLoss(y, t, print_repr=False), name="loss", print_repr=False)
    >>> model.designate_nodes("x", target_node="t", loss_node="loss", prediction_node="y")
    >>> data = np.linspace(-1, 1, 50, dtype="float32")[:, None]
    >>> trainer = Trainer(model, (data, 3 * data), n_steps=200, optimiser_params={"lr": 0.05})
    >>> result = trainer.run()
    >>> result.reason, result.steps, bool(model.loss(data[:8], 3 * data[:8]) < 0.1)
    ('steps', 200, True)
    >>> nm.model_manager.delmodel("trainer")
    """

    def __init__(
        self,
        model: Model,
        data: Any,
        *,
        validation: Any = None,
        optimiser: str = "Adam",
        optimiser_params: dict[str, float] | None = None,
        schedules: dict[str, Schedule | dict[str, Any]] | None = None,
        folder: str | Path | None = None,
        n_steps: int | None = None,
        minutes: float | None = None,
        batch_size: int | None = None,
        seed: int = 0,
        history_every: int = 10,
        validate_every: int = 500,
        n_validation: int = 8,
        metrics: Mapping[str, Callable[..., float]] | None = None,
        early_stopping: EarlyStopping | None = None,
        checkpoint_minutes: float = 5.0,
        keep_every: int | None = None,
        preview: Any = None,
        preview_every: int = 1000,
        plots: bool | None = None,
        workers: int = 1,
        ahead: int = 4,
        processes: bool = False,
        progress: bool | None = None,
        name: str | None = None,
        overwrite: bool = False,
    ) -> None:
        loss = require_loss(model)
        counts = dict(
            history_every=history_every, validate_every=validate_every, n_validation=n_validation,
            preview_every=preview_every, n_steps=n_steps, keep_every=keep_every,
        )  # fmt: skip
        _check_numbers(counts, {"minutes": minutes, "checkpoint_minutes": checkpoint_minutes})
        self.model, self.name, self.seed = model, name or model.name, seed
        data, validation = (self._made(d) for d in (data, validation))
        self.source = as_source(data, loss, batch_size, seed)
        model.set_opt_meta_params(optimiser, optimiser_params or {})
        self.optimiser = optimiser
        self.schedules = make_schedules(model, schedules or {})
        self.n_steps, self.minutes = n_steps, minutes
        self.history_every, self.validate_every = history_every, validate_every
        self.validation = None
        if validation is not None:
            batches = as_source(validation, loss, batch_size, seed + 1)
            if getattr(batches, "in_order", False):
                batches = FirstBatches(batches, n_validation)
            self.validation = Validation(model, batches, n_validation, metrics or {})
        elif metrics or early_stopping:
            raise ArgumentError("metrics and early stopping need validation data", node=self._label)
        self._watch = replace(early_stopping or EarlyStopping(patience=NEVER))
        if self.validation is not None and self._watch.metric not in self.validation.names:
            raise ArgumentError(
                "unknown metric",
                node="early_stopping",
                got=self._watch.metric,
                expected=f"one of {self.validation.names}",
            )
        self.checkpoint_minutes, self.keep_every = checkpoint_minutes, keep_every
        self.plots = find_spec("matplotlib") is not None if plots is None else plots
        if self.plots:
            require_matplotlib()
        self.preview = None if preview is None else Preview(model, preview, self.plots)
        self.preview_every = preview_every
        self.loading: dict[str, Any] = {"workers": workers, "ahead": ahead, "processes": processes}
        if getattr(self.source, "in_order", False):
            self.loading = {"workers": 1, "ahead": ahead}
        self.progress, self.overwrite = progress, overwrite
        self.folder = None if folder is None else local_file(folder, "folder")
        self._checkpoints = None if self.folder is None else Checkpoints(self.folder, self.name)
        self._training_error = training_error(model)
        columns = [*COLUMNS, *(["train_error"] if self._training_error else [])]
        columns += self.validation.names if self.validation else []
        self.history = History(columns, None if self.folder is None else self.folder / "history.csv")
        self.files: dict[str, Path] = {}
        self._position = Position()
        self._voxels, self._measured, self._measured_at = 0, dict[str, float](), -1
        self._resumed = self._opened = False
        self._loader: BackgroundLoader | None = None
        self._first = None if getattr(self.source, "in_order", False) else fingerprint(self.source.batch(0))

    @property
    def step(self) -> int:
        """Steps done."""
        return self._position.step

    @property
    def seconds(self) -> float:
        """Time spent, in all runs together."""
        return self._position.seconds

    def _made(self, data: Any) -> Any:
        return data(self.model) if callable(data) and not hasattr(data, "batch") else data

    @property
    def _label(self) -> str:
        return f"training of {self.name}"

    # ---- files
    @classmethod
    def resume(cls, folder: str | Path, data: Any, *, checkpoint: str | Path | None = None, **options: Any) -> Trainer:
        """A trainer that goes on from the last checkpoint of a folder.

        Parameters
        ----------
        folder : path
        data : as for the class
            The same as before: at the first step it must give the same batch. A function of the model is called with
            the model that is loaded.
        checkpoint : path, optional
            Another file of the folder to go on from.
        **options
            Further arguments of the class, as before; `n_steps` and `minutes` may be larger.

        Raises
        ------
        FileError
            If there is no checkpoint, or it cannot be read.
        ArgumentError
            If optimiser or data are not those of the checkpoint.
        """
        folder = local_file(folder, "folder")
        path = local_file(checkpoint, "checkpoint") if checkpoint is not None else last_of(folder)
        model = modelload(path)
        options.setdefault("name", model.training_state.get("name", model.name))
        options.setdefault("optimiser", model.training_state.get("optimiser", "Adam"))
        state = model.training_state
        meta = {key: float(p.get_value()) for key, p in model.meta.params.items()}
        trainer = cls(model, data, folder=folder, **options)
        model.meta.set(meta)
        trainer._restore(state, path)
        return trainer

    def _restore(self, state: dict[str, Any], path: Path) -> None:
        if "step" not in state:
            raise FileError("no checkpoint of a training", node=str(path), expected="a file written by a Trainer")
        for what, now in (("optimiser", self.optimiser), ("data", self._first)):
            if state[what] != now:
                raise ArgumentError(
                    f"a training cannot go on with another {what}", node=self._label, got=now, expected=state[what]
                )
        self._position = Position.from_state(state)
        if self._checkpoints is not None and path == self._checkpoints.path("last"):
            self.files["last"] = path
        self._watch.set_state(state["watch"])
        self.history.load(self.model.history)
        for schedule in self.schedules:
            if schedule.target in state["starts"]:
                schedule.start = _from_json(state["starts"][schedule.target])
        self._resumed = True

    def open_folder(self) -> None:
        """Make the folder and begin the history in it; ``run`` does this too.

        Raises
        ------
        ArgumentError
            If it holds a training that this is not.
        FileError
            If it cannot be made.
        """
        if self._checkpoints is not None and not self._opened:
            self._checkpoints.open(self._resumed or self.overwrite)
            self.history.start()
            self._opened = True

    def checkpoint(self, kind: str = "last") -> Path | None:
        """Write ``<name>-<kind>.h5``: the model with all that is needed to go on; returns its path.

        Raises
        ------
        TrainingError
            If a parameter is not finite; nothing is written then.
        FileError
            If the file cannot be written; one that exists is left as it is.
        """
        if self._checkpoints is None:
            return None
        self.open_folder()
        state = {
            "optimiser": self.optimiser, "data": self._first, "watch": self._watch.get_state(),
            "starts": {s.target: np.asarray(s.start).tolist() for s in self.schedules}, **self._position.get_state(),
        }  # fmt: skip
        self.files[kind] = self._checkpoints.write(self.model, kind, state, self.history.arrays())
        return self.files[kind]

    # ---- running
    def run(self) -> TrainingResult:
        """Train until the last step, the time limit, no more progress, or an interruption.

        The first Ctrl-C (or request to terminate) ends the run after the present step, with everything saved; the
        second one at once.

        Returns
        -------
        TrainingResult

        Raises
        ------
        TrainingError
            If the loss is no longer finite. Parameters and running statistics go back to before the last three steps;
            no checkpoint is written.
        FileError
            If a file cannot be written.
        InputTypeError, ShapeError, ArgumentError
            For batches that do not fit. The state before that batch is saved.
        """
        self.open_folder()
        begin = time.perf_counter() - self.seconds
        saved = drawn = time.perf_counter()
        with (
            Interruption() as stop,
            self._loading() as loader,
            Report(self.name, self.n_steps, self.step, self.progress) as report,
        ):
            reason = self._limit()
            try:
                while reason is None:
                    early = self._advance(loader, report, begin)
                    reason = "interrupted" if stop.asked else "early stopping" if early else self._limit()
                    now = time.perf_counter()
                    if now - saved >= 60 * self.checkpoint_minutes:
                        self.checkpoint()
                        saved = time.perf_counter()
                    if now - drawn >= PLOT_EVERY:
                        self._draw()
                        drawn = time.perf_counter()
            except TrainingError:
                raise
            except Exception as error:
                self._rescue(error)
                raise
            self.checkpoint()
            if reason != "interrupted":
                self.checkpoint("final")
            self._draw()
            if reason != "interrupted" and self._measured_at != self.step and self.validation is not None:
                self._measured = self.validation()
            report.update(self.step, self._text())
            report.note(f"{self._label} ended: {reason}, {self.step} steps in {self.seconds:.0f} s")
        final = {name: value for name, value in self._measured.items() if name.startswith("val_")}
        best = float(self._watch.best)
        return TrainingResult(reason, self.step, self.seconds, final, best, self._position.best_step, dict(self.files))

    def _loading(self) -> AbstractContextManager[BackgroundLoader]:
        """What loads batches during a run; that of an iterator is kept, as what it has taken cannot come again."""
        if not getattr(self.source, "in_order", False):
            return BackgroundLoader(self.source, **self.loading)
        self._loader = self._loader or BackgroundLoader(self.source, **self.loading)
        return nullcontext(self._loader)

    def _limit(self) -> str | None:
        if self.n_steps is not None and self.step >= self.n_steps:
            return "steps"
        if self.minutes is not None and self.seconds >= 60 * self.minutes:
            return "time"
        return None

    def _advance(self, loader: BackgroundLoader, report: Report, begin: float) -> bool:
        """One step with what is due after it; True if validation says that it is enough."""
        for schedule in self.schedules:
            schedule.apply(self.step)
        start = time.perf_counter()
        batch = loader.batch(self.step)
        waited = time.perf_counter() - start
        loss, seconds, _ = self.model.trainingstep(*batch, optimiser=self.optimiser)
        if not math.isfinite(loss):
            raise undo(self.model, self.optimiser, self.step, loss, batch, self.files.get("last"))
        self._position.advance(loss, seconds, waited)
        self._position.seconds = time.perf_counter() - begin
        self._voxels = voxels_of(self.model, batch)
        measuring = self.step % self.validate_every == 0 and bool(self.validation or self._training_error)
        early = False
        if measuring or self.step % self.history_every == 0:
            values = {
                "step": self.step, "seconds": self.seconds, "loss_smooth": self.model.loss_smooth, "lr": self.model.lr,
                "mom": self.model.mom, **self._position.row(), **(self._measure(batch) if measuring else {}),
            }  # fmt: skip
            better = False
            if measuring and self.validation is not None:
                early = self._watch.update(values)
                better = self._watch.waited == 0
            if better:
                self._position.best_step = self.step
            self.history.add(values)
            if better:
                self.checkpoint("best")
        if measuring or report.due():
            report.update(self.step, self._text())
        if self.keep_every and self.step % self.keep_every == 0:
            self.checkpoint(str(self.step))
        if self.preview is not None and self.folder is not None and self.step % self.preview_every == 0:
            self.preview.write(self.folder, self.step)
        return early

    def _measure(self, batch: tuple[np.ndarray, ...]) -> dict[str, float]:
        """Error of a training batch, and the validation."""
        errors = self._training_error(batch) if self._training_error else {}
        self._measured = {name: float(np.mean(value)) for name, value in errors.items()}
        if self.validation is not None:
            self._measured |= self.validation()
        self._measured_at = self.step
        return self._measured

    def _text(self) -> str:
        """The state in a few words."""
        each = self.model.time_per_step
        parts = [f"loss {self.model.loss_smooth:.4f}"]
        parts += [f"{1 / each:.1f} it/s"] if each else []
        parts += [f"{self._voxels / each / 1e6:.2f} MVx/s"] if each and self._voxels else []
        return ", ".join([*parts, *(f"{name} {value:.4f}" for name, value in self._measured.items())])

    def _draw(self) -> None:
        if self.folder is None:
            return
        self.files["csv"], self.files["history"] = self.folder / "history.csv", self.folder / "history.h5"
        self.history.save(self.files["history"])
        if self.plots and self.history.rows:
            self.files["plot"] = self.folder / "history.png"
            plot_history(self.history, self.files["plot"], f"{self.name}, {self.optimiser}")

    def _rescue(self, error: Exception) -> None:
        """Keep the state before the step that failed, unless that is what failed."""
        try:
            path = self.checkpoint()
        except NeuromancerError as other:
            error.add_note(f"the state after step {self.step} could not be saved: {other}")
        else:
            error.add_note(f"the state after step {self.step} is in {path}" if path else f"after step {self.step}")


def _check_numbers(counts: Mapping[str, int | None], times: Mapping[str, float | None]) -> None:
    for name, value in counts.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1):
            raise ArgumentError(f"unusable {name}", node="Trainer", got=value, expected="a whole number of at least 1")
    for name, minutes in times.items():
        if minutes is not None and not minutes >= 0:
            raise ArgumentError(f"unusable {name}", node="Trainer", got=minutes, expected="at least 0")


def _from_json(value: Any) -> Any:
    return np.asarray(value, "float64") if isinstance(value, list) else float(value)
