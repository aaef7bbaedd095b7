"""Base of the widgets that run one task at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from magicgui.widgets import Container, PushButton

from neuromancer.napari_plugin.task import Task


class TaskWidget(Container):
    """A container with a button that stops its task.

    Parameters
    ----------
    widgets : sequence of magicgui widgets
    idle : sequence of magicgui widgets
        Those that can be used only while nothing runs.
    stop : PushButton
        Can be used only while a task runs.

    Attributes
    ----------
    task : Task or None
        The task that runs, or ran last.
    """

    def __init__(self, widgets: Sequence[Any], idle: Sequence[Any], stop: PushButton) -> None:
        super().__init__(widgets=list(widgets))
        self.task: Task | None = None
        self._idle, self.stop = list(idle), stop
        stop.enabled = False
        stop.changed.connect(self._stop)
        self.native.destroyed.connect(self._gone)

    def _enable(self, ready: bool) -> None:
        for widget in self._idle:
            widget.enabled = ready
        self.stop.enabled = not ready

    def _stop(self) -> None:
        if self.task is not None:
            self.task.stop()
            self.stop.enabled = False

    def _gone(self) -> None:
        if self.task is not None:
            self.task.abandon()
