"""The speed of the machine is measured once and cached."""

from __future__ import annotations

import json

from neuromancer.dense import calibration


def test_measured_once_and_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(calibration, "measured", {})
    speed = calibration.seconds_per_work()
    assert 1e-14 < speed < 1e-6
    assert json.loads(calibration.cache_path().read_text()).values()
    monkeypatch.setattr(calibration, "measure", lambda: 1 / 0)
    assert calibration.seconds_per_work() == speed
    monkeypatch.setattr(calibration, "measured", {})
    assert calibration.seconds_per_work() == speed  # from the file


def test_damaged_and_unwritable_files_are_no_obstacle(monkeypatch, tmp_path):
    monkeypatch.setattr(calibration, "measure", lambda: 3e-12)
    for content in ("{", "[1]", '{"a": "b"}', '{"a": -1}'):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(calibration, "measured", {})
        calibration.cache_path().parent.mkdir(exist_ok=True)
        calibration.cache_path().write_text(content)
        assert calibration.seconds_per_work() == 3e-12
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(calibration, "measured", {})
    assert calibration.seconds_per_work() == 3e-12


def test_a_user_without_a_home_measures_again(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(calibration.Path, "home", _no_home)
    monkeypatch.setattr(calibration, "measured", {})
    monkeypatch.setattr(calibration, "measure", lambda: 2.0)
    assert calibration.cache_path() is None and calibration.seconds_per_work() == 2.0


def _no_home():
    raise RuntimeError("Could not determine home directory.")


def test_apart_for_every_device_and_precision(monkeypatch):
    keys = {calibration.machine_key()}
    monkeypatch.setattr(calibration.config, "floatX", "float64")
    keys.add(calibration.machine_key())
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    keys.add(calibration.machine_key())
    assert len(keys) == 3
