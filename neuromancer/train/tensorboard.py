"""Curves, previews and settings of a training for TensorBoard."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from neuromancer.errors import MissingDependencyError, naming

PATTERN = "events.out.tfevents.*"
PNG_SIZE = slice(16, 24)
"""Place of width and height in a PNG file."""


def require_tensorboard() -> None:
    """Raise MissingDependencyError without the package tensorboard."""
    if find_spec("tensorboard") is None:
        raise MissingDependencyError(
            "the package is not installed", where="tensorboard",
            expected="pip install 'neuromancer-graph[tensorboard]', or tensorboard=False",
        )  # fmt: skip


class EventLog:
    """Event file of a run.

    Written in this thread, unlike by the writers of the package, whose threads show a full disk as a traceback.

    Parameters
    ----------
    folder : Path
        Several files in it are one run: curves of resumed runs continue those before.

    Raises
    ------
    MissingDependencyError
        Without the package tensorboard.
    """

    def __init__(self, folder: Path) -> None:
        require_tensorboard()
        self.folder = folder
        self._file: BinaryIO | None = None
        self._records: Any = None

    def files(self) -> list[Path]:
        """Return the event files in the folder."""
        return sorted(self.folder.glob(PATTERN))

    def open(self, step: int, settings: Mapping[str, Any]) -> None:
        """Begin a file.

        Parameters
        ----------
        step : int
            Steps done. What earlier files hold after it is no longer shown.
        settings : mapping of str to value
            Hyperparameters; numbers, strings and switches as such, others by their representation.

        Raises
        ------
        FileError
            If the file cannot be written.
        """
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.record_writer import RecordWriter

        path = self.folder / f"{PATTERN[:-1]}{int(time.time()):010d}.{time.time_ns()}.{os.getpid()}"
        with naming(path):
            self.folder.mkdir(exist_ok=True)
            self._file = path.open("xb")
        self._records = RecordWriter(self._file)
        self._add(file_version="brain.Event:2")
        self._add(step=step + 1, session_log=SessionLog(status=SessionLog.START))
        plain = {key: v if isinstance(v, (bool, int, float, str)) else repr(v) for key, v in settings.items()}
        self._add(step=0, summary=hparams_pb(plain, trial_id=str(self.folder.resolve())))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write the finite values of a row of the history."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        found = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in values.items()
            if name != "step" and np.isfinite(value)
        ]
        self._add(step=step, summary=Summary(value=found))

    def picture(self, step: int, name: str, path: Path) -> None:
        """Write a PNG file."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        png = path.read_bytes()
        width, height = struct.unpack(">II", png[PNG_SIZE])
        image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
        self._add(step=step, summary=Summary(value=[Summary.Value(tag=name, image=image)]))

    def _add(self, **fields: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        assert self._file is not None
        with naming(self._file.name):
            self._records.write(Event(wall_time=time.time(), **fields).SerializeToString())
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def scalars_of(values: Mapping[str, float], voxels: int) -> dict[str, float]:
    """Return a row of the history with speeds, which are shown as curves.

    Examples
    --------
    >>> scalars_of({"loss": 0.5, "step_time": 0.25}, voxels=1000)
    {'loss': 0.5, 'step_time': 0.25, 'steps_per_second': 4.0, 'voxels_per_second': 4000.0}
    """
    each = values.get("step_time", 0)
    speeds = {"steps_per_second": 1 / each, "voxels_per_second": voxels / each} if each > 0 else {}
    return {**values, **{name: speed for name, speed in speeds.items() if speed}}
