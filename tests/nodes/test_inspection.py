from __future__ import annotations

from neuromancer.nodes import inspection


def test_times_are_medians_without_warm_ups_and_runs_alternate(monkeypatch):
    clock, calls = [0.0], []
    seconds = {"whole": iter([9, 9, 1, 5, 3]), "parents": iter([8, 8, 1, 1, 2])}

    def timed(name):
        def run(*data):
            calls.append((name, data))
            clock[0] += next(seconds[name])

        return run

    monkeypatch.setattr(inspection.time, "perf_counter", lambda: clock[0])
    assert inspection.median_times([timed("whole"), timed("parents")], [7], 3, 2) == [3000.0, 1000.0]
    assert calls == [("whole", (7,)), ("parents", (7,))] * 5
