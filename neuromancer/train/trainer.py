"""The training loop: data in, a trained model, its history and its files out."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.errors import NeuromancerError, TrainingError
from neuromancer.optim.optimisers import OPTIMISERS
from neuromancer.places import local_file
from neuromancer.train.arguments import check_loading, check_meta, check_metric, check_needs, check_starts, check_values
from neuromancer.train.binding import BoundSchedule, Schedule
from neuromancer.train.checkpoints import Position
from neuromancer.train.data.loader import BackgroundLoader
from neuromancer.train.failure import UNDONE, is_finite, undo
from neuromancer.train.plots import require_matplotlib
from neuromancer.train.preview import Preview
from neuromancer.train.reporting import ProgressReport, head_text, state_text, voxels_of
from neuromancer.train.result import TrainingResult
from neuromancer.train.resume import checkpoint_of, load_checkpoint, require_options, require_schedules, restore
from neuromancer.train.run_files import RunFiles
from neuromancer.train.schedules import make_schedules
from neuromancer.train.sources import (
    ArrayBatches,
    as_source,
    fingerprint,
    made,
    require_fitting,
    require_loss,
    require_used,
)
from neuromancer.train.stopping import EarlyStopping, Interruption
from neuromancer.train.validation import Measurements, validation_of

if TYPE_CHECKING:
    from neuromancer.models.model import Model

COLUMNS = ("step", "seconds", "loss", "loss_smooth", "lr", "mom", "step_time", "wait_time")
PLOT_EVERY = 30.0
NEVER = 1 << 62


class Trainer:
    """Trains a model, and writes checkpoints from which training can be resumed.

    The trajectory is a function of model, data and seed: validations, previews, checkpoints and interruptions do not
    affect it, and on a CPU a resumed run is bitwise identical to an uninterrupted one. Arguments take effect or are
    refused; all that can be checked before the first step is checked here.

    Parameters
    ----------
    model : Model
        With a loss node; an error and a prediction node are used if designated.
    data : object with ``batch(step)``, tuple of array, iterable of tuples, or callable
        Source of batches: a :class:`PatchSampler` or the like; arrays in the order of the loss's sources, one example
        per index of axis b; an iterator of batches; or a function of the model that returns one of these.
    validation : like `data`, optional
        Held-out data, of which the first `n_validation` batches are evaluated.
    optimiser : {'SGD', 'AdaGrad', 'AdaDelta', 'Adam', 'AdamW'}
    optimiser_params : dict of str to float, optional
        Meta-parameters to set: lr, mom, wd, beta2, clip_value, clip_norm. If lr is set neither here nor on the model,
        it is 0.001 for Adam and AdamW, 0.01 for SGD and AdaGrad, 1 for AdaDelta.
    schedules : dict of str to Schedule, optional
        By target, as for ``make_schedules``.
    folder : path, optional
        Output folder: ``<name>-last.h5``, ``<name>-best.h5``, ``<name>-final.h5``, ``<name>-<step>.h5``,
        ``history.csv``, ``history.h5``, ``history.png`` and previews. None: nothing is written.
    n_steps : int, optional
        Last step.
    minutes : float, optional
        Time limit, including time before a resume. Without it and `n_steps`, training runs until interrupted.
    batch_size : int, optional
        For arrays only; default: that of the input node, or 1. Other data makes its own batches.
    seed : int
        For arrays only.
    history_every : int
        Steps per row of the history.
    validate_every : int
        Steps between validations, and between measurements of the error of a training batch.
    n_validation : int
        Batches per validation.
    metrics : dict of str to callable, optional
        ``metric(prediction, *targets)`` -> float, evaluated in validations as ``val_<name>``.
    early_stopping : EarlyStopping, optional
        Its metric also decides which checkpoint is the best. The object is not modified.
    checkpoint_minutes : float
        Time between checkpoints.
    keep_every : int, optional
        Steps between checkpoints that are kept permanently.
    preview : array, (raw, labels), or dict of these, optional
        Volumes to predict densely during training.
    preview_every : int
        Steps between previews; the last step has one, too.
    plots : bool, optional
        Plot curves and previews. None: if matplotlib is installed.
    workers, ahead, processes
        Background loading, see :class:`BackgroundLoader`.
    progress : bool, optional
        Show a bar on a terminal, lines elsewhere. None: only on a terminal.
    name : str, optional
        Name of the files; default: that of the model. File names use a safe form of it.
    overwrite : bool
        Start over in a folder that holds a training run, or files that this run would replace.

    Raises
    ------
    GraphError
        Without a loss.
    ArgumentError, InputTypeError, ShapeError, UnknownNameError
        For arguments that are invalid or have no effect, and for data that does not fit.
    FileError
        For a folder that is not writable.

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
        options = {name: value for name, value in locals().items() if name in OPTIONS}
        loss = require_loss(model)
        check_values(options)
        params, schedules = check_meta(optimiser, optimiser_params, schedules)
        self.model, self.name, self.seed, self.optimiser = model, name or model.name, seed, optimiser
        self.n_steps, self.minutes = n_steps, minutes
        self.history_every, self.validate_every, self.preview_every = history_every, validate_every, preview_every
        self.checkpoint_minutes, self.keep_every = checkpoint_minutes, keep_every
        self.progress, self.overwrite = progress, overwrite
        self.source = as_source(made(data, model), loss, batch_size, seed)
        require_used(self.source, batch_size, seed)
        in_order = getattr(self.source, "in_order", False)
        if in_order:
            check_loading(workers, processes)
        self.loading: dict[str, Any] = {"workers": workers, "ahead": ahead, "processes": processes}
        self.validation = validation_of(model, made(validation, model), batch_size, seed + 1, n_validation, metrics)
        self.watch = self._watched(early_stopping)
        self.plots = self._plotted(plots)
        self.preview = None if preview is None else Preview(model, preview, self.plots)
        self.measured = Measurements(model, self.validation)
        check_needs(options, DEFAULTS, bool(self.measured.names))
        self.folder = None if folder is None else local_file(folder, "folder")
        columns, title = [*COLUMNS, *self.measured.names], f"{self.name}, {self.optimiser}"
        self._files = RunFiles(self.folder, self.name, title, columns, self.plots, self.preview)
        self.history, self.files = self._files.history, self._files.paths
        self._set_meta(params, schedules)
        self.first = None if in_order else fingerprint(require_fitting(model, self.source.batch(0), "training data"))
        self.position, self._began, self._voxels = Position(), 0, 0
        self._loader: BackgroundLoader | None = None

    def _watched(self, early_stopping: EarlyStopping | None) -> EarlyStopping:
        """Return a copy of the stopping rule; without one, a rule that never stops training."""
        watch = replace(early_stopping or EarlyStopping(patience=NEVER))
        if self.validation is not None:
            check_metric(watch.metric, self.validation.names)
        return watch

    @staticmethod
    def _plotted(plots: bool | None) -> bool:
        """Whether to draw plots: by default where matplotlib is installed."""
        if plots is None:
            return find_spec("matplotlib") is not None
        if plots:
            require_matplotlib()
        return bool(plots)

    def _set_meta(self, params: dict[str, float], schedules: dict[str, Any]) -> None:
        """Set meta-parameters, including a default learning rate if nothing else sets one, and bind schedules."""
        meta = self.model.meta
        self.model.set_opt_meta_params(self.optimiser, params)
        self.default_lr = "lr" not in meta.given
        if self.default_lr:
            meta.set({"lr": OPTIMISERS[self.optimiser].default_lr})
            meta.given.discard("lr")
        self._given_params = set(params)
        self.schedules = make_schedules(self.model, schedules)
        check_starts(self.schedules, params)
        if self.n_steps is not None:
            for schedule in self.schedules:
                schedule.check([self.n_steps - 1])

    @property
    def step(self) -> int:
        """Steps done."""
        return self.position.step

    @property
    def seconds(self) -> float:
        """Time spent, including that before a resume."""
        return self.position.seconds

    @property
    def drawing(self) -> dict[str, int]:
        """Parameters of random batches of arrays; empty for other data."""
        return self.source.drawing if isinstance(self.source, ArrayBatches) else {}

    @property
    def _label(self) -> str:
        return f"training of {self.name}"

    # ---- files
    @classmethod
    def resume(
        cls,
        folder: str | Path,
        data: Any,
        *,
        checkpoint: str | Path | None = None,
        functors: Mapping[str, Callable[..., Any]] | None = None,
        **options: Any,
    ) -> Trainer:
        """Return a trainer that resumes from the last checkpoint in a folder.

        Parameters
        ----------
        folder : path
        data : as for the class
            The same data as before: its first batch must be identical. A function of the model is called with the
            loaded model.
        checkpoint : path, optional
            Another checkpoint to resume from.
        functors : mapping of str to callable, optional
            Your own functions that the network uses, see :func:`neuromancer.modelload`.
        **options
            Further arguments of the class. Meta-parameters in `optimiser_params` and start values of `schedules`
            replace those of the checkpoint; all others are kept. `n_steps` and `minutes` count from the start of
            training. A checkpoint records which values were scheduled, but not how: pass the same `schedules`, others,
            or ``{}`` to continue without. Validation, previews, metrics and intervals are not stored either: pass the
            same, or others.

        Raises
        ------
        FileError
            If there is no checkpoint, or it cannot be read.
        ArgumentError
            If optimiser or data differ from those of the checkpoint, `n_steps` is below the steps done, or `schedules`
            is missing although there were some.
        InputTypeError
            For an option that does not exist.
        """
        require_options(options, OPTIONS)
        path = checkpoint_of(local_file(folder, "folder"), checkpoint)
        return cls.from_checkpoint(load_checkpoint(path, functors), path, folder, data, options)

    @classmethod
    def from_checkpoint(
        cls, model: Model, path: Path, folder: str | Path, data: Any, options: Mapping[str, Any]
    ) -> Trainer:
        """Return a trainer that resumes with a model loaded from a checkpoint; see :meth:`resume`."""
        state = model.training_state
        # Values from a checkpoint count as set by the user, even those equal to the defaults.
        model.meta.given |= set(model.meta.params)
        require_schedules(state["starts"], options, state["name"])
        options = {"name": state["name"], "optimiser": state["optimiser"], **options}
        trainer = cls(model, data, folder=folder, **options)
        restore(trainer, state, path)
        return trainer

    def _head(self) -> str:
        rates = [repr(schedule) for schedule in self.schedules if schedule.target == "lr"]
        rate = rates[0] if rates else f"lr {self.model.lr:g}"
        return head_text(self.optimiser, rate, self.default_lr, self.step, self.n_steps)

    def continue_at(self, position: Position, path: Path, same_name: bool) -> None:
        """Continue at the position of a checkpoint."""
        self.position, self._began = position, position.step
        self._files.resume(path, same_name)

    def has_own_start(self, schedule: BoundSchedule) -> bool:
        """Whether a schedule starts at a value passed to this trainer, rather than at that of a checkpoint."""
        return not schedule.from_target or schedule.target in self._given_params

    def open_folder(self, others: Iterable[Path] = ()) -> None:
        """Create the folder and start the history in it; ``run`` does this too.

        Parameters
        ----------
        others : iterable of Path
            Files that the caller will write into the folder.

        Raises
        ------
        ArgumentError
            If the folder holds another training run, or any other file that would be replaced.
        FileError
            If it cannot be created.
        """
        self._files.open(self.overwrite, others)

    def checkpoint(self, kind: str = "last") -> Path | None:
        """Write ``<name>-<kind>.h5``, a model file with all that a resume needs; return its path.

        Raises
        ------
        TrainingError
            If a parameter is not finite; nothing is written.
        FileError
            If the file cannot be written; an existing one is left unchanged.
        """
        self.open_folder()
        return self._files.write_checkpoint(self.model, kind, self.state())

    def state(self) -> dict[str, Any]:
        """Return the training state that a checkpoint holds besides the model, as JSON values."""
        return {
            "optimiser": self.optimiser, "data": self.first, "arrays": self.drawing,
            "watch": self.watch.get_state(), "criterion": self.watch.criterion,
            "starts": {s.target: np.asarray(s.start).tolist() for s in self.schedules}, **self.position.get_state(),
        }  # fmt: skip

    # ---- running
    def run(self) -> TrainingResult:
        """Train until the last step, the time limit, early stopping, or an interruption.

        The first Ctrl-C or SIGTERM ends the run after the current step and saves everything; the second one ends it
        immediately.

        Returns
        -------
        TrainingResult

        Raises
        ------
        TrainingError
            If the loss is not finite. Parameters and running statistics are rolled back by three steps; no checkpoint
            is written.
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
            self._batch_loader() as loader,
            ProgressReport(self.name, self.n_steps, self.step, self.progress) as report,
        ):
            report.note(f"{self._label}: {self._head()}")
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
                        self._files.write_history()
                        drawn = time.perf_counter()
            except TrainingError:
                raise
            except Exception as error:
                self._rescue(error)
                raise
            self.checkpoint()
            if reason != "interrupted":
                self.checkpoint("final")
                self._files.write_previews(self.step)
            self._files.write_history()
            if reason != "interrupted":
                self.measured.finish(self.step)
            report.update(self.step, state_text(self.model, self._voxels, self.measured.values))
            report.note(f"{self._label} ended: {reason}, {self.step} steps in {self.seconds:.0f} s")
        final = {name: value for name, value in self.measured.values.items() if name.startswith("val_")}
        best = float(self.watch.best)
        return TrainingResult(reason, self.step, self.seconds, final, best, self.position.best_step, dict(self.files))

    def _batch_loader(self) -> AbstractContextManager[BackgroundLoader]:
        """Return the loader of a run; that of an iterator is kept for the next run, as it holds prefetched batches."""
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

    def _advance(self, loader: BackgroundLoader, report: ProgressReport, begin: float) -> bool:
        """Do one step, and whatever is due after it; return True if early stopping ends the run."""
        for schedule in self.schedules:
            schedule.apply(self.step)
        start = time.perf_counter()
        batch = loader.batch(self.step)
        waited = time.perf_counter() - start
        loss, seconds, _ = self.model.trainingstep(*batch, optimiser=self.optimiser)
        if not math.isfinite(loss):
            raise self._undone(loss, batch)
        self.position.advance(loss, seconds, waited)
        self.position.seconds = time.perf_counter() - begin
        self._voxels = voxels_of(self.model, batch)
        measuring = self.step % self.validate_every == 0 and bool(self.measured.names)
        early = False
        if measuring or self.step % self.history_every == 0:
            values = {
                "step": self.step, "seconds": self.seconds, "loss_smooth": self.model.loss_smooth, "lr": self.model.lr,
                "mom": self.model.mom, **self.position.row(),
            }  # fmt: skip
            if measuring:
                values |= self.measured.measure(self.step, batch)
            better = False
            if measuring and self.validation is not None:
                early = self.watch.update(values)
                better = self.watch.waited == 0
            if better:
                self.position.best_step = self.step
            self.history.add(values)
            if better:
                self.checkpoint("best")
        if measuring or report.due():
            report.update(self.step, state_text(self.model, self._voxels, self.measured.values))
        if self.keep_every and self.step % self.keep_every == 0:
            self.checkpoint(str(self.step))
        if self.step % self.preview_every == 0:
            self._files.write_previews(self.step)
        return early

    def _undone(self, loss: float, batch: tuple[np.ndarray, ...]) -> TrainingError:
        """Roll back after a loss that is not finite; also replace a checkpoint of the parameters that gave it."""
        error = undo(self.model, self.optimiser, self.step, loss, batch, self.files.get("last"))
        back = self.step - UNDONE
        if self._files.saved_at == self.step and back >= self._began and is_finite(batch):
            try:
                self._files.replace_last(self.model, self.state(), back)
            except NeuromancerError as other:
                error.add_note(
                    f"the last checkpoint gives a loss that is not finite, and could not be replaced: {other}"
                )
        return error

    def _rescue(self, error: Exception) -> None:
        """Save the state before the step that failed, and note in the error where it is."""
        try:
            path = self.checkpoint()
        except NeuromancerError as other:
            error.add_note(f"the state after step {self.step} could not be saved: {other}")
        else:
            error.add_note(f"the state after step {self.step} is in {path}" if path else f"after step {self.step}")


_PARAMETERS = inspect.signature(Trainer).parameters
OPTIONS = tuple(name for name in _PARAMETERS if name not in ("model", "data"))
"""Names of a Trainer's keyword arguments."""
DEFAULTS = {name: _PARAMETERS[name].default for name in OPTIONS}
