"""Errors about configurations of the original library."""

from __future__ import annotations

import sys

import pytest

from neuromancer.commands.train import main
from neuromancer.errors import ArgumentError
from neuromancer.train.config_file import load_config
from tests.train.old_config.texts import CUBES, OWN, changed, problems


def test_all_problems_of_a_file_are_one_error(config, data, capsys):
    text = (
        CUBES.replace("max_runtime = 24 * 3600", "max_runtime = 'long'\nminutes = 5")
        .replace("history_freq", "histroy_freq")
        .replace("'raw_%i.h5' % i, 'raw'", "'raw_%i.h5' % i, 'rav'")
        .replace("'ignore_thresh': False", "'ignore_thresh': 0.3, 'force_dnse': True")
        .replace("'perspective': False", "'perspective': True")
        .replace("optimiser = 'Adam'", "optimiser = 'CG'")
        .replace("{'dec': 0.995}", "{'permut': 3}")
        .replace("max_z_pred", "max_zpred")
    )
    path = config(text)
    assert main([str(path)]) == 1
    shown = capsys.readouterr().err
    for part in (
        "max_runtime", "given twice", "'history_freq'", "'raw'", "ignore_thresh", "balance", "'force_dense'",
        "perspective", "'Adam'", "'max_z_pred'", "docs/from-elektronn2.md",
    ):  # fmt: skip
        assert part in shown, part
    assert len(problems(path)) >= 9
    assert not (data / "out").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("save_path = 3", "save_path = 3: needs a string"),
        ("background_processes = -1", "background_processes = -1"),
        ("monitor_batch_size = 0", "at least 1"),
        ("data_class = 'BatchCreaterImage'", "'BatchCreatorImage'"),
        ("data_class = 'PianoData'", "gone"),
        ("data_class = ('nowhere.py', 'A')", "no such Python file"),
        ("data_class = object", "getbatch"),
        ("data_init_kwargs = 4", "needs a dict"),
        ("data_init_kwargs = dict(data_init_kwargs, valid_cubes=[5])", "0 to 1"),
        ("data_init_kwargs = dict(data_init_kwargs, valid_cubes=[0, 1])", "no cube for training"),
        ("data_init_kwargs = dict(data_init_kwargs, l_files=data_init_kwargs['l_files'][:1])", "one per d_files"),
        ("data_init_kwargs = dict(data_init_kwargs, border_mode='0-pad')", "'mirror'"),
        ("data_init_kwargs = dict(data_init_kwargs, target_vec_ix=[1])", "rotate vectors"),
        ("data_init_kwargs = dict(data_init_kwargs, cube_prios=[1, 2, 3])", "one per training cube"),
        ("data_batch_args = {'warp': 7}", "probability"),
        ("data_batch_args = {'affinities': 'malis'}", "AffinityTargets"),
        ("optimiser_params = {'lr': 1, 'moment': 2}", "nearest valid: 'mom'"),
        ("use_ortho_init = True", "initweights"),
        ("model_load_path = 'none.h5'", "no such file"),
        ("model_load_args = {'name': 'a'}", "without model_load_path"),
        ("preview_data_path = 'none.h5'", "no such file"),
        ("lr_schedule = {'dec': 0.9}", "given twice"),
        ("data_class = 'MNISTData'; data_init_kwargs = {'path': 'm.pkl.gz'}", "x_train"),
    ],
)
def test_what_to_write_instead(config, change, expected):
    path = config(f"{CUBES}\n{change}\n")
    [line] = [line for line in problems(path) if expected in line]
    assert ":" in line


def test_own_variables_are_remarked_on(config):
    configured = load_config(config(f"{CUBES}\nzzz = 4\n"))
    assert any(remark.startswith("zzz: not a setting") for remark in configured.remarks)
    assert "zzz" not in configured.settings


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data_batch_args": "{'brigt': 2}"}, "nearest valid: 'bright'"),
        ({"data_init_kwargs": "{'sound': 2}"}, "unexpected keyword argument 'sound'"),
        ({"data_class": "'Sqares'"}, "nearest valid: 'Squares'"),
        ({"data_class": "Squares(__import__('neuromancer').Node, 0) if 0 else 3"}, "getbatch"),
        ({"param_save_it": "1.5"}, "whole number"),
        ({"max_runtime": "True"}, "needs a number"),
    ],
)
def test_arguments_of_an_own_class_are_checked(config, changes, expected):
    [line] = [line for line in problems(config(changed(OWN, **changes))) if expected in line]
    assert line


def test_what_getbatch_returns_is_checked(config, data):
    text = OWN.replace("return raw.astype(np.float32), target.astype(np.float32)", "return 7")
    assert main([str(config(text)), "--quiet"]) == 1
    text = OWN.replace("return raw.astype(np.float32), target.astype(np.float32)", "return 1 / 0")
    with pytest.raises(ArgumentError, match=r"'valid'.*ZeroDivisionError.*old_style.py:\d+.*validation = None"):
        load_config(config(text)).trainer(data / "x", resume=False)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("from elektronn2 import neuromancer", "import neuromancer"),
        ("import elektronn2.utils as utils", "import neuromancer"),
        ("import theano.tensor as T", "from neuromancer import T"),
        ("import no_such_module", None),
    ],
)
def test_an_old_import_line_names_the_new_one(config, line, expected, monkeypatch):
    for name in ("elektronn2", "theano"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(OSError, match=r"old_style.py:1\b") as caught:
        load_config(config(f"{line}\n{CUBES}"))
    assert (caught.value.expected or "").startswith(expected or "") and bool(expected) is bool(caught.value.expected)
