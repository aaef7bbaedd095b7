"""Functions in a worker thread: what they tell."""

from __future__ import annotations

import time

from qtpy.QtWidgets import QApplication

from neuromancer.napari_plugin import task


class Bar:
    """A bar that handles waiting events when it is drawn, as that of napari does."""

    n = total = 0

    def __init__(self, **options):
        pass

    def update(self, n):
        self.n += n
        QApplication.processEvents()

    def reset(self, total):
        QApplication.processEvents()

    def close(self):
        pass


def test_numbers_never_go_back(qtbot, monkeypatch):
    monkeypatch.setattr(task, "progress", Bar)
    told = []

    def function(tell):
        for done in range(20):
            tell(done, 20)

    running = task.Task("counting", function, lambda result: None, told=lambda done, total: told.append(done))
    time.sleep(0.2)  # all of them wait
    qtbot.waitUntil(lambda: not running.running)
    assert told == list(range(20))
