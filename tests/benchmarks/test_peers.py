"""Every way to run a torch module gives its values."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["torch", "torch, channels last", "OpenVINO"])
def test_whole_image_and_sliding_window(how):
    pytest.importorskip("monai")
    if how == "OpenVINO":
        pytest.importorskip("openvino")
    import peers

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv3d(1, 3, 3, padding=1), torch.nn.ELU(), torch.nn.Conv3d(3, 2, 1)).eval()
    raw = np.random.default_rng(0).random((1, 9, 10, 12), dtype="float32")
    with torch.inference_mode():
        want = module(torch.from_numpy(raw[None]))[0].numpy()
    np.testing.assert_allclose(peers.whole(module, raw, (how,))[how]()(), want, atol=1e-5)
    windows = peers.sliding(module, raw, (9, 10, 12), 0.5, (how,))
    assert list(windows) == [f"MONAI with {how}"]
    np.testing.assert_allclose(windows[f"MONAI with {how}"]()(), want, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["chain of 5 layers, 48", "chain of 5 layers, 64", "perceptron"])
def test_steps_of_the_peers_are_those_of_the_model(start):
    import training

    case = next(case for case in training.CASES if case.name.startswith(start))
    step, others = training.prepared(case, quick=True)
    ours = training.losses(step)
    for how in others.keys() - {"torch.compile"}:
        np.testing.assert_allclose(ours, training.losses(others[how]()), rtol=training.TOLERANCE)
