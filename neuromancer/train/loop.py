"""The training loop: steps, and what is due between them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.errors import ArgumentError, NeuromancerError, TrainingError
from neuromancer.train.batches import BatchCheck
from neuromancer.train.binding import BoundSchedule
from neuromancer.train.checkpoints import Position
from neuromancer.train.commands import CommandFile, Commands, ask, has_terminal
from neuromancer.train.data.loader import BackgroundLoader, BatchSource
from neuromancer.train.failure import UNDONE, is_finite, undo
from neuromancer.train.history import History
from neuromancer.train.live import LiveValues
from neuromancer.train.reporting import ProgressReport, head_text, state_text, voxels_of
from neuromancer.train.result import TrainingResult
from neuromancer.train.run_files import RunFiles
from neuromancer.train.sources import ArrayBatches
from neuromancer.train.stopping import EarlyStopping, Ended, Interruption
from neuromancer.train.validation import Measurements, Validation

if TYPE_CHECKING:
    from neuromancer.models.model import Model

PLOT_EVERY = 30.0


class TrainingLoop:
    """Steps, measurements, checkpoints and commands of a run; base of :class:`Trainer`, which sets it up."""

    model: Model
    name: str
    optimiser: str
    n_steps: int | None
    minutes: float | None
    history_every: int
    validate_every: int
    preview_every: int
    checkpoint_minutes: float
    keep_every: int | None
    progress: bool | None
    overwrite: bool
    default_lr: bool
    source: BatchSource
    loading: Mapping[str, Any]
    validation: Validation | None
    watch: EarlyStopping
    measured: Measurements
    schedules: list[BoundSchedule]
    history: History
    position: Position
    first: int | None
    remarks: list[str]
    live: LiveValues
    _files: RunFiles
    _fitting: BatchCheck
    _loader: BackgroundLoader | None
    _report: ProgressReport
    _began: int
    _voxels: int
    _start: float
    _saved: float
    _drawn: float

    @property
    def step(self) -> int:
        """Steps done."""
        return self.position.step

    @property
    def seconds(self) -> float:
        """Time spent, including that before a resume."""
        return self.position.seconds

    @property
    def files(self) -> dict[str, Path]:
        """Files written, by kind."""
        return self._files.paths

    @property
    def drawing(self) -> dict[str, int]:
        """Parameters of random batches of arrays; empty for other data."""
        return self.source.drawing if isinstance(self.source, ArrayBatches) else {}

    @property
    def _label(self) -> str:
        return f"training of {self.name}"

    # ---- files
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
        if kind == "last":
            self._saved = time.perf_counter()
        return self._files.write_checkpoint(self.model, kind, self.state())

    def state(self) -> dict[str, Any]:
        """Return the training state that a checkpoint holds besides the model, as JSON values."""
        return {
            "optimiser": self.optimiser, "data": self.first, "arrays": self.drawing,
            "watch": self.watch.get_state(), "criterion": self.watch.criterion,
            "starts": {s.target: np.asarray(s.start).tolist() for s in self.schedules}, **self.position.get_state(),
            "changes": self.live.changes, "ema": self.model.ema,
        }  # fmt: skip

    def _head(self) -> str:
        scheduled = [schedule for schedule in self.schedules if schedule.target == "lr"]
        rate = repr(scheduled[0]) if scheduled else f"lr {self.model.lr:g}"
        is_default = self.default_lr and all(schedule.from_target for schedule in scheduled)
        return head_text(self.optimiser, rate, is_default, self.step, self.n_steps)

    # ---- running
    def run(self) -> TrainingResult:
        """Train until the last step, the time limit, early stopping, or an interruption.

        The first Ctrl-C shows a menu on a terminal: change values, preview, save, end. Elsewhere, it ends the run after
        the current step and saves everything, as SIGTERM does. The second one ends it immediately. ``commands.txt`` in
        the folder is read for the same commands.

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
        ArgumentError
            If another training is running in the folder.
        InputTypeError, ShapeError, ArgumentError
            For batches that do not fit. The state before that batch is saved.
        """
        self.open_folder()
        with self._files.claimed():
            return self._run()

    def _run(self) -> TrainingResult:
        """Train in a folder that is open."""
        limit = self._limit()
        self._files.begin(self.step, self._settings(), trying=limit is None)
        self._start = time.perf_counter() - self.seconds
        self._saved = self._drawn = time.perf_counter()
        with (
            Interruption() as stop,
            self._batch_loader() as loader,
            ProgressReport(self.name, self.n_steps, self.step, self.progress) as self._report,
            self._files,
        ):
            for text in (self._head(), *self.remarks):
                self._report.note(f"{self._label}: {text}")
            try:
                reason = self._train(loader, stop, limit)
            except TrainingError:
                raise
            except Exception as error:
                self._rescue(error)
                raise
            self._finish(reason)
        final = {name: value for name, value in self.measured.values.items() if name.startswith("val_")}
        best = float(self.watch.best)
        return TrainingResult(reason, self.step, self.seconds, final, best, self.position.best_step, dict(self.files))

    def _settings(self) -> dict[str, Any]:
        """Return what distinguishes this run from others of the same model."""
        meta = {name: self.model.meta[name] for name in self.live.names}
        schedules = {f"schedule of {s.target}": repr(s.schedule) for s in self.schedules}
        ema = {} if self.model.ema is None else {"ema": self.model.ema}
        return {"optimiser": self.optimiser, **meta, **schedules, **ema, **self.drawing}

    def _train(self, loader: BackgroundLoader, stop: Interruption, reason: str | None) -> str:
        """Do steps until there is a reason to end, and return it."""
        commands = Commands(
            lambda name, value: self.live.set(name, value, self.step), lambda: self.live.targets, self._actions()
        )
        file = None if self._files.folder is None else CommandFile(self._files.folder)
        while reason is None:
            self._obey(commands, file)
            if commands.ending:
                return "interrupted"
            early = self._advance(loader)
            if stop.asked and self._ends(stop, commands):
                return "interrupted"
            reason = "early stopping" if early else self._limit()
            now = time.perf_counter()
            if now - self._saved >= 60 * self.checkpoint_minutes:
                self.checkpoint()
            if now - self._drawn >= PLOT_EVERY:
                self._files.write_history()
                self._drawn = time.perf_counter()
        return reason

    def _actions(self) -> dict[str, Any]:
        """Return the commands that do something now, and return what they did."""

        def save() -> str:
            path = self.checkpoint()
            return f"saved {path}" if path else "there is no folder"

        def preview() -> str:
            if self._files.preview is None:
                raise ArgumentError("there is no preview", where="Trainer", expected="preview=...")
            self._files.write_previews(self.step)
            return f"previews of step {self.step} are in {self._files.folder}"

        return {"save": save, "preview": preview}

    def _obey(self, commands: Commands, file: CommandFile | None) -> None:
        """Execute the commands in the file of the folder; what is wrong with them ends no training."""
        if file is None:
            return
        try:
            for line in file.lines():
                answer = commands.execute(line)
                self._report.note(f"{self._label}: {file.answer(self.step, line, answer)}")
        except NeuromancerError as error:
            self._report.note(f"{self._label}: {error}")
        if commands.ending == "kill":
            raise KeyboardInterrupt

    def _ends(self, stop: Interruption, commands: Commands) -> bool:
        """Whether an interruption ends the run; on a terminal, a menu asks."""
        if not (stop.by_key and has_terminal()):
            return True
        began = time.perf_counter()
        try:
            with stop.ended():
                ask(commands, f"{self._label} pauses after step {self.step}")
        except (Ended, OSError):  # the terminal may be gone
            return True
        if commands.ending == "kill":
            raise KeyboardInterrupt
        self._start += time.perf_counter() - began
        stop.arm()
        return bool(commands.ending)

    def _finish(self, reason: str) -> None:
        """Write what a run leaves at its end."""
        self.checkpoint()
        if reason != "interrupted":
            self.checkpoint("final")
            self._files.write_previews(self.step)
        self._files.write_history()
        if reason != "interrupted":
            self.measured.finish(self.step)
        self._report.update(self.step, state_text(self.model, self._voxels, self.measured.values))
        self._report.note(f"{self._label} ended: {reason}, {self.step} steps in {self.seconds:.0f} s")

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

    def _advance(self, loader: BackgroundLoader) -> bool:
        """Do one step, and whatever is due after it; return True if early stopping ends the run."""
        for schedule in self.schedules:
            schedule.apply(self.step)
        start = time.perf_counter()
        batch = self._fitting(loader.batch(self.step), self.step)
        waited = time.perf_counter() - start
        if self.step == 0:
            self._files.draw_first(self.model, batch)
        loss, seconds, _ = self.model.trainingstep(*batch, optimiser=self.optimiser)
        if not math.isfinite(loss):
            raise self._undone(loss, batch)
        self.position.advance(loss, seconds, waited)
        self.position.seconds = time.perf_counter() - self._start
        self._voxels = voxels_of(self.model, batch)
        early = self._measure(batch)
        if self.keep_every and self.step % self.keep_every == 0:
            self.checkpoint(str(self.step))
        if self.step % self.preview_every == 0:
            self._files.write_previews(self.step)
        return early

    def _measure(self, batch: tuple[np.ndarray, ...]) -> bool:
        """Validate and write a row of the history if they are due; return True if early stopping ends the run."""
        measuring = self.step % self.validate_every == 0 and bool(self.measured.names)
        early = better = False
        if measuring or self.step % self.history_every == 0:
            values = {
                "step": self.step, "seconds": self.seconds, "loss_smooth": self.model.loss_smooth, "lr": self.model.lr,
                "mom": self.model.mom, **self.position.row(),
            }  # fmt: skip
            if measuring:
                values |= self.measured.measure(self.step, batch)
            if measuring and self.validation is not None:
                early = self.watch.update(values)
                better = self.watch.waited == 0
            if better:
                self.position.best_step = self.step
            self._files.add_row(values, self._voxels)
            if better:
                self.checkpoint("best")
        if measuring or self._report.due():
            self._report.update(self.step, state_text(self.model, self._voxels, self.measured.values))
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
