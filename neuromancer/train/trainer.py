"""The training loop: data in, a trained model, its history and its files out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.errors import ArgumentError, FileError, NeuromancerError, TrainingError
from neuromancer.io.load import modelload
from neuromancer.train.data.loader import BackgroundLoader
from neuromancer.train.history import History
from neuromancer.train.plots import plot_history, require_matplotlib
from neuromancer.train.preview import Preview
from neuromancer.train.reporting import Report
from neuromancer.train.schedules import Schedule, make_schedules
from neuromancer.train.sources import as_source, fingerprint, require_loss
from neuromancer.train.stopping import EarlyStopping, Interruption
from neuromancer.train.validation import Validation

if TYPE_CHECKING:
    from neuromancer.model import Model

COLUMNS = ("step", "seconds", "loss", "loss_smooth", "lr", "mom", "step_time", "wait_time")
PLOT_EVERY = 30.0
NEVER = 1 << 62


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
        Loss, error and metrics at the end.
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
        Steps between validations.
    n_validation : int
        Batches per validation.
    metrics : dict of str to callable, optional
        ``metric(prediction, *targets)`` -> float, evaluated in validations as ``val_<name>``.
    early_stopping : EarlyStopping, optional
        Its metric also decides which checkpoint is the best.
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
                batches = _Kept([batches.batch(n) for n in range(n_validation)])
            self.validation = Validation(model, batches, n_validation, metrics or {})
        elif metrics or early_stopping:
            raise ArgumentError("metrics and early stopping need validation data", node=self._label)
        self.stopping = early_stopping
        self._watch = early_stopping or EarlyStopping(patience=NEVER)
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
        self.folder = None if folder is None else Path(folder)
        columns = [*COLUMNS, *(self.validation.names if self.validation else [])]
        self.history = History(columns, None if self.folder is None else self.folder / "history.csv")
        self.files: dict[str, Path] = {}
        self.step, self.seconds, self.best_step = 0, 0.0, 0
        self._since: list[float] = []
        self._times = [0.0, 0.0]
        self._voxels, self._validated = 0, dict[str, float]()
        self._resumed = self._opened = False
        self._first = None if getattr(self.source, "in_order", False) else fingerprint(self.source.batch(0))

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
        folder = Path(folder)
        path = Path(checkpoint) if checkpoint is not None else _last_of(folder)
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
        self.step, self.seconds, self.best_step = int(state["step"]), float(state["seconds"]), int(state["best_step"])
        self._since, self._times = [float(v) for v in state["since"]], [float(v) for v in state["times"]]
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
        if self.folder is None or self._opened:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError("the folder cannot be made", node=str(self.folder), got=error.strerror) from error
        if not (self._resumed or self.overwrite) and (self.folder / f"{self.name}-last.h5").exists():
            raise ArgumentError(
                "the folder holds a training",
                node=self._label,
                got=str(self.folder),
                expected="Trainer.resume(folder, data, ...) to go on, overwrite=True to begin anew, or another folder",
            )
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
        if self.folder is None:
            return None
        bad = [
            f"{node}_{key}"
            for node, params in self.model.get_param_values().items()
            for key, value in params.items()
            if not np.isfinite(value).all()
        ]
        if bad:
            raise TrainingError(f"parameters are not finite after step {self.step}", node=self._label, got=bad)
        self.model.history = self.history.arrays()
        self.model.training_state = {
            "name": self.name, "step": self.step, "seconds": self.seconds, "optimiser": self.optimiser,
            "data": self._first, "best_step": self.best_step, "since": self._since, "times": self._times,
            "watch": self._watch.get_state(),
            "starts": {s.target: np.asarray(s.start).tolist() for s in self.schedules},
        }  # fmt: skip
        path = self.folder / f"{self.name}-{kind}.h5"
        self.model.save(path)
        self.files[kind] = path
        return path

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
            If the loss is no longer finite. Parameters go back by three steps; no checkpoint is written.
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
            BackgroundLoader(self.source, **self.loading) as loader,
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
            if reason in ("steps", "early stopping"):
                self.checkpoint("final")
            self._draw()
            final = {} if self.validation is None else self.validation()
            report.update(self.step, self._text(final), True)
            report.note(f"{self._label} ended: {reason}, {self.step} steps in {self.seconds:.0f} s")
        return TrainingResult(
            reason, self.step, self.seconds, final, float(self._watch.best), self.best_step, dict(self.files)
        )

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
            self._fail(loss, batch)
        self.step += 1
        self.seconds = time.perf_counter() - begin
        self._since.append(loss)
        self._times = [self._times[0] + seconds, self._times[1] + waited]
        self._voxels = _voxels(self.model, batch)
        early = False
        validating = self.validation is not None and self.step % self.validate_every == 0
        if validating or self.step % self.history_every == 0:
            values = self._row()
            if self.validation is not None and validating:
                self._validated = self.validation()
                values.update(self._validated)
                early = self._watch.update(values) and self.stopping is not None
                if self._watch.waited == 0:
                    self.best_step = self.step
            self.history.add(values)
            if validating and self._watch.waited == 0:
                self.checkpoint("best")
            report.update(self.step, self._text(self._validated), validating)
        if self.keep_every and self.step % self.keep_every == 0:
            self.checkpoint(str(self.step))
        if self.preview is not None and self.folder is not None and self.step % self.preview_every == 0:
            self.preview.write(self.folder, self.step)
        return early

    def _row(self) -> dict[str, float]:
        n, model = len(self._since), self.model
        row = {
            "step": self.step, "seconds": self.seconds, "loss": float(np.mean(self._since)),
            "loss_smooth": model.loss_smooth, "lr": model.lr, "mom": model.mom,
            "step_time": self._times[0] / n, "wait_time": self._times[1] / n,
        }  # fmt: skip
        self._since, self._times = [], [0.0, 0.0]
        return row

    def _text(self, validation: dict[str, float]) -> str:
        """The state in a few words."""
        each = self.model.time_per_step
        parts = [f"loss {self.model.loss_smooth:.4f}"]
        parts += [f"{1 / each:.1f} it/s"] if each else []
        parts += [f"{self._voxels / each / 1e6:.2f} MVx/s"] if each and self._voxels else []
        return ", ".join([*parts, *(f"{name} {value:.4f}" for name, value in validation.items())])

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

    def _fail(self, loss: float, batch: tuple[np.ndarray, ...]) -> None:
        """Undo what a step without a finite loss did, and say what is known about it."""
        lr = self.model.lr
        self.model.repair(self.optimiser)
        sources = self.model.loss_node.input_nodes  # type: ignore[union-attr]
        data = ", ".join(f"{n.name} {_range(array)}" for n, array in zip(sources, batch, strict=True))
        kept = self.files.get("last")
        raise TrainingError(
            f"the loss is {loss} at step {self.step}",
            node=self._label,
            got=f"{data}; lr {lr:g}",
            expected="finite numbers; the parameters are those of three steps ago"
            + (f", the last checkpoint is {kept}" if kept else ""),
            nearest="a smaller learning rate, a warm-up, or clip_norm=1",
        )


class _Kept:
    """Batches that were taken from an iterator."""

    def __init__(self, batches: list[tuple[np.ndarray, ...]]) -> None:
        self.batches = batches

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        return self.batches[step]


def _check_numbers(counts: Mapping[str, int | None], times: Mapping[str, float | None]) -> None:
    for name, value in counts.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1):
            raise ArgumentError(f"unusable {name}", node="Trainer", got=value, expected="a whole number of at least 1")
    for name, minutes in times.items():
        if minutes is not None and not minutes >= 0:
            raise ArgumentError(f"unusable {name}", node="Trainer", got=minutes, expected="at least 0")


def _last_of(folder: Path) -> Path:
    found = sorted(folder.glob("*-last.h5"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise FileError("no checkpoint in the folder", node=str(folder), expected="a file <name>-last.h5")
    return found[-1]


def _from_json(value: Any) -> Any:
    return np.asarray(value, "float64") if isinstance(value, list) else float(value)


def _voxels(model: Model, batch: tuple[np.ndarray, ...]) -> int:
    """Voxels of the raw data of a batch; 0 without spatial axes."""
    node = model.loss_node.input_nodes[0]  # type: ignore[union-attr]
    if node.shape is None or not node.shape.spatial_axes:
        return 0
    shape = batch[0].shape
    n = shape[node.shape.tag2index("b")] if node.shape.hastag("b") else 1
    return int(n * np.prod([shape[axis] for axis in node.shape.spatial_axes]))


def _range(array: np.ndarray) -> str:
    array = np.asarray(array)
    finite = array[np.isfinite(array)]
    bad = array.size - finite.size
    span = f"from {finite.min():g} to {finite.max():g}" if finite.size else "nothing finite"
    return f"{span}, {bad} values not finite" if bad else span
