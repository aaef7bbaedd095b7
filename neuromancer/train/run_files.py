"""Files of one training run: checkpoints, history, plots and previews."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromancer.train.batch_picture import has_image, plot_batch, save_figure
from neuromancer.train.checkpoints import AVERAGED, Checkpoints, at
from neuromancer.train.files import claimed
from neuromancer.train.history import History
from neuromancer.train.plots import plot_history
from neuromancer.train.preview import Preview
from neuromancer.train.sources import require_loss
from neuromancer.train.tensorboard import EventLog, scalars_of

if TYPE_CHECKING:
    from neuromancer.models.model import Model

FIRST = "first_batch.png"


class RunFiles:
    """Files of one training run: checkpoints, history, plots and previews.

    Parameters
    ----------
    folder : Path, optional
        None: nothing is written.
    name : str
        Name of the checkpoints.
    title : str
        Title of the plot of the history.
    columns : sequence of str
        Columns of the history.
    plots : bool
        Whether to plot the first batch, and the history when it is written.
    preview : Preview, optional
    averaged : callable
        Returns the context in which parameters are their moving averages; None: there are none.
    events : bool
        Whether to write event files for TensorBoard.

    Attributes
    ----------
    history : History
    paths : dict of str to Path
        Files written, by kind.
    saved_at : int
        Step of the checkpoint ``last`` if this object has written it, else -1.

    Raises
    ------
    FileError
        If the folder is not writable.
    MissingDependencyError
        For event files without the package tensorboard.
    """

    def __init__(
        self,
        folder: Path | None,
        name: str,
        title: str,
        columns: Iterable[str],
        plots: bool,
        preview: Preview | None,
        averaged: Callable[[], AbstractContextManager[None]] | None = None,
        events: bool = False,
    ) -> None:
        self.folder, self.title, self.plots, self.preview = folder, title, plots, preview
        self.averaged = averaged
        self.events = EventLog(folder / "tensorboard") if folder is not None and events else None
        self.checkpoints = None if folder is None else Checkpoints(folder, name)
        self.history = History(list(columns), None if folder is None else folder / "history.csv")
        self.paths: dict[str, Path] = {}
        self.saved_at = self._previewed_at = -1
        self._resumed = self._in_place = self._opened = False

    def resume(self, checkpoint: Path, same_name: bool) -> None:
        """Continue the files of the run that wrote a checkpoint, if they are those of this run."""
        # Files of another name, or in another folder, may belong to another run.
        self._in_place = self.folder is not None and checkpoint.parent.resolve() == self.folder.resolve()
        self._resumed = same_name and self._in_place
        if self._resumed and self.checkpoints is not None and checkpoint == self.checkpoints.path("last"):
            self.paths["last"] = checkpoint

    def open(self, overwrite: bool, others: Iterable[Path] = ()) -> None:
        """Create the folder and start the history in it, once.

        Parameters
        ----------
        overwrite : bool
            Whether files of other runs may be replaced.
        others : iterable of Path
            Files that the caller will write into the folder.

        Raises
        ------
        ArgumentError
            If files would be replaced without permission, or another training is running in the folder.
        FileError
            If the folder cannot be created.
        """
        if self.checkpoints is not None and not self._opened:
            own = [] if self._in_place else self._replaced_files()
            with claimed(self.folder) if self.folder is not None and self.folder.is_dir() else nullcontext():
                self.checkpoints.open(self._resumed or overwrite, [*own, *others])
                self.history.start()
            self._opened = True

    def claimed(self) -> AbstractContextManager[None]:
        """Refuse other trainings in the folder within the block."""
        return nullcontext() if self.folder is None else claimed(self.folder)

    def _replaced_files(self) -> list[Path]:
        """Return the files besides checkpoints that the run would replace, as far as they exist."""
        assert self.folder is not None
        names = ["history.h5", *(["history.png"] if self.plots else [])]
        csv = [self.folder / "history.csv"] if self.history.would_replace() else []
        events, previews = (self.events.files() if self.events else []), self.preview
        return [*csv, *(self.folder / n for n in names), *events, *(previews.files(self.folder) if previews else [])]

    def begin(self, step: int, settings: Mapping[str, Any], trying: bool) -> None:
        """Begin a run: if `trying`, make previews on a small scale; begin an event file with its settings."""
        if self.preview is not None and trying:
            self.preview.trial()
        if self.events is not None:
            self.events.open(step, settings)
            self.paths["tensorboard"] = self.events.folder

    def draw_first(self, model: Model, batch: tuple[Any, ...]) -> None:
        """Draw the first batch, if plots are wanted and it holds images."""
        sources = require_loss(model).input_nodes
        if self.folder is not None and self.plots and any(map(has_image, sources)):
            self.paths["batch"] = self.folder / FIRST
            grid = None if model.prediction_node is None else model.prediction_node.shape
            save_figure(plot_batch(sources, batch, grid, "batch of step 0"), self.paths["batch"])
            if self.events is not None:
                self.events.picture(0, "batch", self.paths["batch"])

    def __enter__(self) -> RunFiles:
        return self

    def __exit__(self, *problem: object) -> None:
        if self.events is not None:
            self.events.close()

    def add_row(self, values: Mapping[str, float], voxels: int) -> None:
        """Add a row to the history, of steps on batches of `voxels` voxels."""
        self.history.add(values)
        if self.events is not None:
            self.events.scalars(int(values["step"]), scalars_of(values, voxels))

    def write_checkpoint(self, model: Model, kind: str, state: dict[str, Any]) -> Path | None:
        """Write a checkpoint and return its path; see :meth:`Checkpoints.write`."""
        if self.checkpoints is None:
            return None
        self.paths[kind] = self.checkpoints.write(model, kind, state, self.history.arrays())
        if kind == "last":
            self.saved_at = state["step"]
        if self.averaged is not None and kind in AVERAGED:
            with self.averaged():
                self.paths[f"{kind}-ema"] = self.checkpoints.write_averages(model, kind, state, self.history.arrays())
        return self.paths[kind]

    def replace_last(self, model: Model, state: dict[str, Any], step: int) -> None:
        """Replace the last checkpoint by one of an earlier step, to which the model has been rolled back."""
        if self.checkpoints is not None:
            self.checkpoints.write(model, "last", {**state, **at(step)}, self.history.until(step))

    def write_history(self) -> None:
        """Write the history as HDF5, and plot it."""
        if self.folder is None:
            return
        self.paths["csv"], self.paths["history"] = self.folder / "history.csv", self.folder / "history.h5"
        self.history.save(self.paths["history"])
        if self.plots and self.history.rows:
            self.paths["plot"] = self.folder / "history.png"
            plot_history(self.history, self.paths["plot"], self.title)

    def write_previews(self, step: int) -> None:
        """Write previews of a step, unless they have been written."""
        if self.preview is not None and self.folder is not None and self._previewed_at != step:
            with nullcontext() if self.averaged is None else self.averaged():
                paths = self.preview.write(self.folder, step)
            self._previewed_at = step
            for path in paths if self.events is not None else ():
                if path.suffix == ".png":
                    self.events.picture(step, path.stem.removesuffix(f"-{step}"), path)  # type: ignore[union-attr]
