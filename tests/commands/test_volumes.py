"""The command ``neuromancer``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.commands import volumes as cli
from neuromancer.commands.pool import set_device
from neuromancer.config import config
from neuromancer.volumes import open_source

zarr = pytest.importorskip("zarr", reason="zarr is an extra")


@pytest.fixture
def model(fresh_model, tmp_path):
    inp = nm.Input((1, 1, 9, 10, 10), "b,f,z,y,x", name="raw", print_repr=False)
    out = nm.Conv(inp, 4, (2, 3, 3), (1, 2, 2), name="conv", print_repr=False)
    scores = nm.Conv(out, 2, (1, 1, 1), (1, 1, 1), activation_func="lin", name="scores", print_repr=False)
    fresh_model.designate_nodes(input_node=inp, prediction_node=nm.Softmax(scores, name="probs", print_repr=False))
    path = tmp_path / "model.h5"
    fresh_model.save(path)
    return path


@pytest.fixture
def raw(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (20, 24, 22)).astype("uint8")
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_dataset("em", data=values, chunks=(8, 8, 8))
    return f"{tmp_path / 'raw.h5'}:/em", values


def expected(path, values, **options):
    return nm.modelload(path).prediction_node.predict_dense(values[None], **options)


def test_predict(model, raw, tmp_path, capsys):
    out = tmp_path / "probs.zarr"
    assert cli.main(["predict", str(model), raw[0], str(out), "--quiet", "--memory", "200MB"]) == cli.DONE
    wanted = expected(model, raw[1])
    np.testing.assert_allclose(np.asarray(zarr.open(str(out))[:]), wanted, atol=1e-6)
    assert cli.main(["predict", str(model), raw[0], str(out), "--quiet"]) == cli.FAILED
    assert "probs.zarr" in capsys.readouterr().err
    np.testing.assert_allclose(np.asarray(zarr.open(str(out))[:]), wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["probs.nii.gz", "probs.nii", "probs.nrrd", "probs.mrc", "probs.precomputed"])
def test_predict_into_other_formats(model, raw, tmp_path, capsys, name):
    pytest.importorskip({"nrrd": "nrrd", "mrc": "mrcfile", "precomputed": "tensorstore"}.get(name[6:], "nibabel"))
    out = str(tmp_path / name)
    arguments = ["predict", str(model), raw[0], out, "--quiet", "--voxel-size", "40", "4", "4", "--unit", "nm"]
    assert cli.main(arguments) == cli.DONE
    found = open_source(out)
    np.testing.assert_allclose(found[:], expected(model, raw[1]), atol=1e-6)
    assert found.voxel_size[0] == 10 * found.voxel_size[1]
    assert cli.main([*arguments, "--resume"]) == (cli.FAILED if name.endswith("gz") else cli.DONE)
    assert ("written at once" in capsys.readouterr().err) == name.endswith("gz")


def test_predict_with_options(model, raw, tmp_path):
    out = tmp_path / "labels.h5"
    options = ["--reduce", "argmax", "--pad", "--roi", "2:10,:,3:12", "--quiet"]
    assert cli.main(["predict", str(model), raw[0], f"{out}:/labels", *options]) == cli.DONE
    wanted = expected(model, raw[1], pad_raw=True).argmax(0)[2:10, :, 3:12]
    with h5py.File(out) as file:
        np.testing.assert_array_equal(np.squeeze(file["labels"][()]), wanted)


def test_shards_make_the_whole(model, raw, tmp_path):
    out = tmp_path / "probs.zarr"
    for i in range(3):
        command = ["predict", str(model), raw[0], str(out), "--quiet", "--shard", f"{i}/3", "--uint8"]
        assert cli.main(command) == cli.DONE
    np.testing.assert_array_equal(np.asarray(zarr.open(str(out))[:]), expected(model, raw[1], as_uint8=True))


def test_missing_parts(model, raw, tmp_path, capsys):
    stored = zarr.create_array(tmp_path / "raw.zarr", shape=raw[1].shape, chunks=(8, 8, 8), dtype="uint8")
    stored[:] = raw[1]
    (tmp_path / "raw.zarr/c/1/1/1").write_bytes(b"")
    arguments = ["predict", str(model), str(tmp_path / "raw.zarr"), str(tmp_path / "a.zarr"), "--quiet"]
    assert cli.main(arguments) == cli.FAILED
    said = capsys.readouterr().err
    assert "chunk c/1/1/1" in said and said.count("\n") == 1
    arguments[3] = str(tmp_path / "b.zarr")
    assert cli.main([*arguments, "--on-missing", "fill"]) == cli.INCOMPLETE
    assert "1 part of the image missing or damaged" in capsys.readouterr().err
    raw[1][8:16, 8:16, 8:16] = 0
    np.testing.assert_allclose(np.asarray(zarr.open(arguments[3])[:]), expected(model, raw[1]), atol=1e-6)


def test_info(model, capsys):
    assert cli.main(["info", str(model)]) == cli.DONE
    text = capsys.readouterr().out
    assert "probs" in text and "prediction" in text and "field of view [2, 4, 4]" in text
    assert cli.main(["info", str(model), "--json"]) == cli.DONE
    facts = json.loads(capsys.readouterr().out)
    assert facts["prediction_node"] == "probs" and facts["fov"] == [2, 4, 4]
    assert facts["parameters"] == 4 * 18 + 4 + 2 * 4 + 2


def test_plan_and_bench(model, capsys):
    assert cli.main(["plan", str(model), "200", "300", "300", "--memory", "2GB"]) == cli.DONE
    text = capsys.readouterr().out
    assert "1 tile of" in text and "of memory in use" in text and "on this machine" in text
    assert cli.main(["bench", str(model), "--shape", "12", "30", "30", "--runs", "2"]) == cli.DONE
    assert "MVx/s (median of 2 runs)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["info", "nothing.h5"], "nothing.h5"),
        (["predict", "MODEL", "nothing.zarr", "out.zarr", "--quiet"], "nothing.zarr"),
        (["predict", "MODEL", "RAW", "OUT", "--node", "prob", "--quiet"], "prob"),
        (["predict", "MODEL", "RAW", "OUT", "--roi", "1:x", "--quiet"], "--roi"),
        (["predict", "MODEL", "RAW", "OUT", "--memory", "lots", "--quiet"], "lots"),
        (["plan", "MODEL", "2", "2", "2"], "field of view"),
        (["plan", "MODEL", "20", "20", "20", "--device", "tpu"], "tpu"),
        (["plan", "MODEL", *["1000000000000"] * 3], "voxels"),
        (["plan", "MODEL", "1" + "0" * 30, "20", "20"], "voxels"),
        (["bench", "MODEL", "--shape", *["1000000000000"] * 3], "voxels"),
        *[
            (["predict", "MODEL", "HUGE", f"OUT{end}", "--quiet"], "voxels")
            for end in ("", "/a", ".npy", ".h5", ".tif")
        ],
        *[
            (["predict", "MODEL", "RAW", f"OUT{end}", "--quiet"], "not the name of")
            for end in ("/.", ".h5:/.", ".h5:a/../b")
        ],
        *[(["predict", "MODEL", "RAW", f"no folder/a{end}", "--quiet"], "no such folder") for end in (".npy", ".zarr")],
        (["predict", "MODEL", "RAW", "MODEL/a.npy", "--quiet"], "not a usable path"),
        *[([command, "FOLDER", *more], "not a regular file") for command, more in (("info", []), ("plan", ["9"] * 3))],
        *[(["predict", *paths, "--quiet"], "empty path") for paths in (("", "a", "b"), ("MODEL", "", "OUT"))],
        (["predict", "MODEL", "RAW", "", "--quiet"], "empty path"),
        *[
            (["predict", "MODEL", "RAW", "OUT", f"--roi={roi}", "--quiet"], "--roi")
            for roi in (":::,:", "", "5,:,:", "::2,:,:", ":,,:", "nan:,:,:", "9" * 30 + ":,:,:")
        ],
        *[
            (["predict", "MODEL", "RAW", "OUT", f"--memory={memory}", "--quiet"], "amount of memory")
            for memory in ("-1", "nan", "inf", "1e400GB", "0", "", "9" * 400 + "GB")
        ],
        (["predict", "MODEL", "RAW", "OUT", "--mask", "a" * 300 + ".npy", "--quiet"], "aaa"),
        (["predict", "MODEL", "no\0name.npy", "OUT", "--quiet"], "null character"),
        (["predict", "MODEL", "https://me:word@host/a.npy", "OUT", "--quiet"], "https://***@host/a.npy"),
        (["predict", "MODEL", "RAW", "OUT", "--node", "\x1b[2J", "--quiet"], "\\x1b[2J"),
    ],
)
def test_errors_are_one_message(arguments, text, model, raw, tmp_path, capsys):
    names = {"MODEL": model, "RAW": raw[0], "OUT": tmp_path / "out.zarr", "HUGE": tmp_path / "huge.zarr"}
    zarr.create_array(names["HUGE"], shape=[10**12] * 3, chunks=[64] * 3, dtype="uint8")
    before = sorted(tmp_path.rglob("*"))
    for name, path in [*names.items(), ("FOLDER", tmp_path)]:
        arguments = [a.replace(name, str(path)) for a in arguments]
    assert cli.main(arguments) == cli.FAILED
    error = capsys.readouterr().err
    assert error.startswith("neuromancer: ") and text in error and "Traceback" not in error
    assert "unexpected" not in error and error[:-1].isprintable() and len(error) < 3000
    assert sorted(tmp_path.rglob("*")) == before


def test_as_a_module():
    found = subprocess.run([sys.executable, "-m", "neuromancer", "--version"], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, f"neuromancer {nm.__version__}\n"), found.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict"],
        ["x\x1b"],
        ["plan", "a", "1e12"],
        ["plan", "a", "0", "20", "20"],
        ["bench", "a", "--runs", "0"],
        *[["predict", "a", "b", "c", f"--shard={shard}"] for shard in ("3/3", "5/3", "0/0", "-1/3", "1/2/3", "a/b")],
        *[["predict", "a", "b", "c", f"--workers={workers}"] for workers in ("-1", "nan", "1.5")],
        *[
            ["predict", "a", "b", "c", f"--reduce={reduce}"]
            for reduce in ("best", "threshold=nan", "{}", "0.5", "True", "(" * 999)
        ],
    ],
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    text = capsys.readouterr().err
    assert ended.value.code == 2 and "usage" in text and "\x1b" not in text


def test_names_of_a_model_are_shown_safely(tmp_path, capsys):
    model = nm.model_manager.newmodel("na\x1bme")
    nm.Input((1, 3), "b,f", name="r\u202eaw\n", print_repr=False)
    model.save(tmp_path / "model.h5")
    for options in ([], ["--json"]):
        assert cli.main(["info", str(tmp_path / "model.h5"), *options]) == cli.DONE
        text = capsys.readouterr().out
        assert "r\\u202eaw\\n" in text and text.replace("\n", "").isprintable()


def test_help_and_completion(capsys):
    assert cli.main([]) == 2
    assert "exit status" in capsys.readouterr().out
    for shell in ("bash", "zsh", "tcsh"):
        assert cli.main(["--completion", shell]) == cli.DONE
        assert "--on-error" in capsys.readouterr().out


def test_device_is_set(model, monkeypatch):
    monkeypatch.setattr(config, "device", config.device)
    assert cli.main(["plan", str(model), "20", "20", "20", "--device", "auto"]) == cli.DONE
    assert config.device == "auto"
    monkeypatch.setenv("NEUROMANCER_DEVICE", "cpu")
    set_device(None)
    assert os.environ["NEUROMANCER_DEVICE"] == "cpu"
    set_device("cuda:1")  # in a worker
    assert config.device == os.environ["NEUROMANCER_DEVICE"] == "cuda:1"


def test_interrupted_and_resumed(model, tmp_path):
    raw = np.random.default_rng(0).random((60, 200, 200), dtype="float32")
    np.save(tmp_path / "raw.npy", raw)
    out = tmp_path / "probs.zarr"
    command = [
        sys.executable, "-m", "neuromancer.commands.volumes", "predict", str(model), str(tmp_path / "raw.npy"),
        str(out), "--quiet", "--memory", "200MB",
    ]  # fmt: skip
    for sent in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            command if sent == signal.SIGINT else [*command, "--resume"],
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        deadline = time.monotonic() + 60
        while not out.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(sent)
        error = process.communicate(timeout=60)[1].decode()
        # before the command has begun, a signal ends it as any other program
        assert process.returncode in (cli.INTERRUPTED, cli.DONE, -sent), error
        assert "Traceback" not in error
    assert cli.main([*command[3:], "--resume"]) == cli.DONE
    wanted = expected(model, raw)
    np.testing.assert_allclose(np.asarray(zarr.open(str(out))[:]), wanted, atol=1e-6)


def test_voxel_sizes(model, raw, tmp_path, capsys):
    with h5py.File(tmp_path / "raw.h5", "r+") as file:
        file["em"].attrs.update({"voxel_size": [0, 4, 4], "unit": "furlong"})

    def predict(out, *options):
        return cli.main(["predict", str(model), raw[0], str(tmp_path / out), "--quiet", *options])

    assert predict("a.zarr") == cli.DONE
    said = capsys.readouterr().err
    assert said.count("neuromancer: ") == 1 and "voxel size of z: 0" in said and "--voxel-size" in said
    assert zarr.open(str(tmp_path / "a.zarr")).attrs["voxel_size"] == [None, 4, 4]
    for k, lengths in enumerate((["40", "4.5", "4"], ["40,4.5,4"])):
        assert predict(f"b{k}.zarr", "--voxel-size", *lengths, "--unit", "nm") == cli.DONE
        found = zarr.open(str(tmp_path / f"b{k}.zarr")).attrs
        assert found["voxel_size"] == [40, 4.5, 4] and found["unit"] == "nanometer"
    capsys.readouterr()
    for wrong in (
        ["--voxel-size", "0", "4", "4"],
        ["--voxel-size", "4"],
        ["--voxel-size", "a", "4", "4"],
        ["--unit", "x"],
    ):
        assert predict("c.zarr", *wrong) == cli.FAILED
        assert "neuromancer: '" in capsys.readouterr().err and not (tmp_path / "c.zarr").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--fill", "-1", "--uint8"],
        ["--fill", "nan", "--reduce", "argmax"],
        ["--fill", "0.5", "--reduce", "threshold=0.5"],
        ["--fill", "1e300"],
        ["--reduce", "7"],
        ["--roi", "0:1.5,:,:"],
        ["--roi", "1:2:3,:,:"],
        ["--roi", ":::,:"],
        ["--roi", "1,2,3"],
        ["--roi", ":"],
        ["--memory", "much"],
        ["--memory", "1"],
        ["--axes", "zyxt"],
        ["--precision", "tf32"],
    ],
)
def test_nothing_is_made_for_options_that_cannot_be(model, raw, tmp_path, capsys, options):
    before = sorted(tmp_path.iterdir())
    for name in ("out.zarr", "out.h5:/x", "out.npy", "out.tif"):
        assert cli.main(["predict", str(model), raw[0], str(tmp_path / name), "--quiet", *options]) == cli.FAILED
        error = capsys.readouterr().err
        assert error.startswith("neuromancer: ") and error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--fill", "one"),
        ("--fill", "1e999"),
        ("--fill", ""),
        ("--workers", "-1"),
        ("--workers", "1.5"),
        ("--workers", "many"),
        ("--shard", "2/2"),
        ("--shard", "-1/2"),
        ("--reduce", "None"),
        ("--reduce", "1.5"),
        ("--reduce", "threshold=nan"),
        ("--reduce", "threshold=high"),
        ("--reduce", "(" * 1000),
        ("--reduce", "{}"),
    ],
)
def test_options_that_are_none_are_wrong_usage(model, raw, tmp_path, capsys, option, value):
    with pytest.raises(SystemExit) as end:
        cli.main(["predict", str(model), raw[0], str(tmp_path / "out.npy"), f"{option}={value}"])
    assert end.value.code == 2 and option in capsys.readouterr().err
    assert not (tmp_path / "out.npy").exists()


def test_plans_need_sizes(model, capsys):
    for sizes in (["0", "5", "5"], ["-1", "5", "5"], ["a", "5", "5"]):
        with pytest.raises(SystemExit):
            cli.main(["plan", str(model), "--", *sizes])
    assert cli.main(["plan", str(model), "1000000000000", "1000000000000", "1000000000000"]) == cli.FAILED
    assert "more voxels" in capsys.readouterr().err


def test_import_looks_at_the_output_first(tmp_path, capsys):
    """The translation of a large network takes minutes."""
    assert cli.main(["import", str(tmp_path / "none.onnx"), str(tmp_path / "no" / "out.h5")]) == cli.FAILED
    assert "the folder does not exist" in capsys.readouterr().err


def test_statistics_of_the_volume(tmp_path, capsys):
    nm.model_manager.newmodel("norm")
    node = nm.Conv(nm.Input((None, 1, None, None), "b,f,y,x", name="image"), 2, (3, 3), name="conv")
    node = nm.InstanceNorm(node, name="norm")
    model = nm.model_manager["norm"]
    model.designate_nodes("image", prediction_node=node)
    model.save(tmp_path / "norm.h5")
    plane = np.random.default_rng(1).random((1, 40, 50)).astype("float32")
    np.save(tmp_path / "plane.npy", plane)
    command = ["predict", str(tmp_path / "norm.h5"), str(tmp_path / "plane.npy"), str(tmp_path / "out.npy"), "--quiet"]
    assert cli.main(command) == cli.FAILED
    assert "statistics='volume'" in capsys.readouterr().err
    assert cli.main([*command, "--statistics", "volume"]) == cli.DONE
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), node.infer(plane[None])[0], atol=1e-5)
    plan = ["plan", str(tmp_path / "norm.h5"), "4000", "5000", "--statistics", "volume", "--memory", "100MB"]
    assert cli.main(plan) == cli.DONE
    assert "before that, 1 pass of" in capsys.readouterr().out


def test_sliding_windows(model, raw, tmp_path, capsys):
    out = tmp_path / "probs.h5"
    window = ["--sliding-window", "9,10,10", "--overlap", "0.6", "--convention", "monai"]
    assert cli.main(["predict", str(model), raw[0], f"{out}:/probs", "--quiet", *window]) == cli.DONE
    wanted = expected(model, raw[1], sliding_window=nm.SlidingWindow((9, 10, 10), 0.6, convention="monai"))
    with h5py.File(out) as file:
        np.testing.assert_array_equal(file["probs"][()], wanted)
    assert cli.main(["plan", str(model), "200", "300", "300", *window]) == cli.DONE
    assert "patches of 9 × 10 × 10" in capsys.readouterr().out
    assert cli.main(["plan", str(model), "200", "300", "300", "--overlap", "0.5"]) == cli.FAILED
    assert "'--overlap': requires --sliding-window" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=str(cli.USAGE)):
        cli.main(["plan", str(model), "200", "300", "300", "--sliding-window", "9,0"])
    assert cli.main(["plan", str(model), "200", "300", "300", "--sliding-window", "9,11,10"]) == cli.FAILED
    assert "size 10 or 12" in capsys.readouterr().err
