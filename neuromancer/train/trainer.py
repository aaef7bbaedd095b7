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
from neuromancer.train.checkpoints import Checkpoints, Position, at
from neuromancer.train.data.loader import BackgroundLoader
from neuromancer.train.failure import UNDONE, is_finite, undo
from neuromancer.train.history import History
from neuromancer.train.plots import plot_history, require_matplotlib
from neuromancer.train.preview import Preview
from neuromancer.train.reporting import ProgressReport, head_text, state_text, voxels_of
from neuromancer.train.result import TrainingResult
from neuromancer.train.resume import checkpoint_of, load_checkpoint, require_options, require_schedules, restore
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
from neuromancer.train.validation import training_error, validation_of

if TYPE_CHECKING:
    from neuromancer.models.model import Model

COLUMNS = ("step", "seconds", "loss", "loss_smooth", "lr", "mom", "step_time", "wait_time")
PLOT_EVERY = 30.0
NEVER = 1 << 62


class Trainer:
    """Trains a model with data, and keeps files from which it can go on.

    The trajectory is a function of model, data and seed: validations, previews, checkpoints and interruptions leave no
    trace in it. Interrupted and resumed, it is the same bit for bit on a CPU. An argument has an effect, or is refused;
    what can be known before the first step is checked here.

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
        Meta-parameters to set: lr, mom, wd, beta2, clip_value, clip_norm. Where lr is set neither here nor on the
        model, it is 0.001 for Adam and AdamW, 0.01 for SGD and AdaGrad, 1 for AdaDelta.
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
        For arrays; default that of the input node, or 1. Other data makes its batches itself.
    seed : int
        For arrays, too.
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
        Steps between previews; there is one of the last step, too.
    plots : bool, optional
        Draw curves and previews. None: if matplotlib is installed.
    workers, ahead, processes
        Loading in the background, see :class:`BackgroundLoader`.
    progress : bool, optional
        Show a bar on a terminal, lines elsewhere. None: only on a terminal.
    name : str, optional
        Name of the files; default that of the model. Where no file can be called so, it is changed in the file names.
    overwrite : bool
        Begin anew in a folder that holds a training, or files of the names of those that are written.

    Raises
    ------
    GraphError
        Without a loss.
    ArgumentError, InputTypeError, ShapeError, UnknownNameError
        For arguments that cannot be or have no effect, data that does not fit, and a folder that holds a training.
    FileError
        For a folder into which nothing can be written.

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
        given = {name: value for name, value in locals().items() if name in OPTIONS}
        loss = require_loss(model)
        check_values(given)
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
        self.watch = replace(early_stopping or EarlyStopping(patience=NEVER))
        if self.validation is not None:
            check_metric(self.watch.metric, self.validation.names)
        self.plots = find_spec("matplotlib") is not None if plots is None else bool(plots)
        if self.plots:
            require_matplotlib()
        self.preview = None if preview is None else Preview(model, preview, self.plots)
        self._training_error = training_error(model)
        check_needs(given, DEFAULTS, bool(self.validation or self._training_error))
        self._make_records(None if folder is None else local_file(folder, "folder"))
        self._set_meta(params, schedules)
        self.first = None if in_order else fingerprint(require_fitting(model, self.source.batch(0), "training data"))

    def _make_records(self, folder: Path | None) -> None:
        """History and files, and where the training is: at its beginning."""
        self.folder = folder
        self._checkpoints = None if folder is None else Checkpoints(folder, self.name)
        columns = [*COLUMNS, *(["train_error"] if self._training_error else [])]
        columns += self.validation.names if self.validation else []
        self.history = History(columns, None if folder is None else folder / "history.csv")
        self.files: dict[str, Path] = {}
        self._position = Position()
        self._began, self._saved_at = 0, -1
        self._voxels, self._measured, self._measured_at, self._previewed_at = 0, dict[str, float](), -1, -1
        self._resumed = self._in_place = self._opened = False
        self._loader: BackgroundLoader | None = None

    def _set_meta(self, params: dict[str, float], schedules: dict[str, Any]) -> None:
        """Set meta-parameters, the learning rate too where nobody has, and bind schedules."""
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
        return self._position.step

    @property
    def seconds(self) -> float:
        """Time spent, in all runs together."""
        return self._position.seconds

    @property
    def drawing(self) -> dict[str, int]:
        """How batches of arrays are drawn; empty for other data."""
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
        """A trainer that goes on from the last checkpoint of a folder.

        Parameters
        ----------
        folder : path
        data : as for the class
            The same as before: at the first step it must give the same batch. A function of the model is called with
            the model that is loaded.
        checkpoint : path, optional
            Another file of the folder to go on from.
        functors : mapping of str to callable, optional
            Functions of your own that the network uses, see :func:`neuromancer.modelload`.
        **options
            Further arguments of the class. What is given is obeyed: meta-parameters in `optimiser_params` and starts of
            `schedules` replace those of the checkpoint, all others stay as they were there. `n_steps` and `minutes`
            count from the beginning of the training. A checkpoint knows what was scheduled, but not how: give
            `schedules` as before, others, or ``{}`` to go on without. Validation, previews, metrics and intervals are
            not stored: give them as before, or others.

        Raises
        ------
        FileError
            If there is no checkpoint, or it cannot be read.
        ArgumentError
            If optimiser or data are not those of the checkpoint, `n_steps` is less than what is done, or nothing is
            said about `schedules` where there were any.
        InputTypeError
            For an option that does not exist.
        """
        require_options(options, OPTIONS)
        path = checkpoint_of(local_file(folder, "folder"), checkpoint)
        return cls._going_on(load_checkpoint(path, functors), path, folder, data, options)

    @classmethod
    def _going_on(cls, model: Model, path: Path, folder: str | Path, data: Any, options: Mapping[str, Any]) -> Trainer:
        """The trainer of a model that was loaded from a checkpoint."""
        state = model.training_state
        # The checkpoint's are somebody's choice, also where they are the defaults.
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

    def go_on_at(self, position: Position, path: Path, same_name: bool) -> None:
        """Begin at a position other than step 0, that of a checkpoint."""
        self._position, self._began = position, position.step
        # Files of another name, or in another folder, may be those of another training.
        self._in_place = self.folder is not None and path.parent.resolve() == self.folder.resolve()
        self._resumed = same_name and self._in_place
        if self._resumed and self._checkpoints is not None and path == self._checkpoints.path("last"):
            self.files["last"] = path

    def starts_anew(self, schedule: BoundSchedule) -> bool:
        """Whether a schedule begins at a value that this trainer was given, rather than at that of a checkpoint."""
        return not schedule.from_target or schedule.target in self._given_params

    def open_folder(self, others: Iterable[Path] = ()) -> None:
        """Make the folder and begin the history in it; ``run`` does this too.

        Parameters
        ----------
        others : iterable of Path
            Files that the caller is going to write into it.

        Raises
        ------
        ArgumentError
            If it holds a training that this is not, or anything else that would be replaced.
        FileError
            If it cannot be made.
        """
        if self._checkpoints is not None and not self._opened:
            own = [] if self._in_place else self._files_beside()
            self._checkpoints.open(self._resumed or self.overwrite, [*own, *others])
            self.history.start()
            self._opened = True

    def _files_beside(self) -> list[Path]:
        """Files that it is going to write besides checkpoints, as far as they would replace anything."""
        assert self.folder is not None
        names = ["history.h5", *(["history.png"] if self.plots else [])]
        csv = [self.folder / "history.csv"] if self.history.would_replace() else []
        return [*csv, *(self.folder / n for n in names), *(self.preview.files(self.folder) if self.preview else [])]

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
        self.files[kind] = self._checkpoints.write(self.model, kind, self._state(), self.history.arrays())
        if kind == "last":
            self._saved_at = self.step
        return self.files[kind]

    def _state(self) -> dict[str, Any]:
        """What a checkpoint says beside the model, as JSON can hold it."""
        return {
            "optimiser": self.optimiser, "data": self.first, "arrays": self.drawing,
            "watch": self.watch.get_state(), "criterion": self.watch.criterion,
            "starts": {s.target: np.asarray(s.start).tolist() for s in self.schedules}, **self._position.get_state(),
        }  # fmt: skip

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
                self._show()
            self._draw()
            if reason != "interrupted" and self._measured_at != self.step and self.validation is not None:
                self._measured = self.validation()
            report.update(self.step, state_text(self.model, self._voxels, self._measured))
            report.note(f"{self._label} ended: {reason}, {self.step} steps in {self.seconds:.0f} s")
        final = {name: value for name, value in self._measured.items() if name.startswith("val_")}
        best = float(self.watch.best)
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

    def _advance(self, loader: BackgroundLoader, report: ProgressReport, begin: float) -> bool:
        """One step with what is due after it; True if validation says that it is enough."""
        for schedule in self.schedules:
            schedule.apply(self.step)
        start = time.perf_counter()
        batch = loader.batch(self.step)
        waited = time.perf_counter() - start
        loss, seconds, _ = self.model.trainingstep(*batch, optimiser=self.optimiser)
        if not math.isfinite(loss):
            raise self._undone(loss, batch)
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
                early = self.watch.update(values)
                better = self.watch.waited == 0
            if better:
                self._position.best_step = self.step
            self.history.add(values)
            if better:
                self.checkpoint("best")
        if measuring or report.due():
            report.update(self.step, state_text(self.model, self._voxels, self._measured))
        if self.keep_every and self.step % self.keep_every == 0:
            self.checkpoint(str(self.step))
        if self.step % self.preview_every == 0:
            self._show()
        return early

    def _undone(self, loss: float, batch: tuple[np.ndarray, ...]) -> TrainingError:
        """Go back after a loss that is not finite; a checkpoint of the parameters that gave it goes back, too."""
        error = undo(self.model, self.optimiser, self.step, loss, batch, self.files.get("last"))
        back = self.step - UNDONE
        if self._checkpoints is not None and self._saved_at == self.step and back >= self._began and is_finite(batch):
            try:
                self._checkpoints.write(self.model, "last", {**self._state(), **at(back)}, self.history.until(back))
            except NeuromancerError as other:
                error.add_note(
                    f"the last checkpoint gives a loss that is not finite, and could not be replaced: {other}"
                )
        return error

    def _show(self) -> None:
        """Write previews of the present state, unless they are there."""
        if self.preview is not None and self.folder is not None and self._previewed_at != self.step:
            self.preview.write(self.folder, self.step)
            self._previewed_at = self.step

    def _measure(self, batch: tuple[np.ndarray, ...]) -> dict[str, float]:
        """Error of a training batch, and the validation."""
        errors = self._training_error(batch) if self._training_error else {}
        self._measured = {name: float(np.mean(value)) for name, value in errors.items()}
        if self.validation is not None:
            self._measured |= self.validation()
        self._measured_at = self.step
        return self._measured

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


_PARAMETERS = inspect.signature(Trainer).parameters
OPTIONS = tuple(name for name in _PARAMETERS if name not in ("model", "data"))
"""Names of a Trainer's keyword arguments."""
DEFAULTS = {name: _PARAMETERS[name].default for name in OPTIONS}
