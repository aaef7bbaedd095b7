"""Sources that reuse their arrays."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.train import BackgroundLoader, Flip, PatchSampler, Trainer
from neuromancer.train.data.loader import copied
from tests.train.nets import classifier, line


def fresh():
    for i in range(1000):
        yield np.full((4, 1), i, "float32"), np.zeros((4, 1), "float32")


def reused(kind=tuple):
    x, t = np.zeros((4, 1), "float32"), np.zeros((4, 1), "float32")
    for i in range(1000):
        x[:] = i
        yield kind((x, t))


class Reused:
    """A source with one buffer."""

    def __init__(self):
        self.x, self.t = np.zeros((4, 1), "float32"), np.zeros((4, 1), "float32")

    def batch(self, step):
        self.x[:] = step
        return self.x, self.t


def losses(data, validation):
    trainer = Trainer(
        line("buffers"), data, validation=validation, n_steps=6, history_every=1, validate_every=6, n_validation=3,
        optimiser="SGD", optimiser_params={"lr": 0.0},
    )  # fmt: skip
    return trainer.run().validation["val_loss"], trainer.history["loss"].tolist()


@pytest.fixture(scope="module")
def expected():
    return losses(fresh(), fresh())


@pytest.mark.parametrize(
    "data", [reused(), reused(list), map(tuple, reused()), Reused()], ids=["generator", "lists", "map", "source"]
)
def test_buffers_are_copied_when_they_are_taken(data, expected):
    assert losses(data, reused()) == expected
    assert losses(fresh(), copy.copy(Reused())) == expected


def test_a_list_of_batches_that_share_an_array(expected):
    batches = [copied(batch) for batch, _ in zip(reused(), range(6), strict=False)]
    assert losses(batches, batches) == expected


def test_a_loader_copies_queued_batches():
    with BackgroundLoader(Reused(), ahead=3) as loader:
        assert [loader.batch(n)[0][0, 0] for n in range(4)] == [0, 1, 2, 3]


def test_nothing_is_copied_without_need():
    class Once:
        fresh = True

        def batch(self, step):
            return self.given

    source = Once()
    source.given = (np.zeros(3),)
    with BackgroundLoader(source) as loader:
        assert loader.batch(0)[0] is source.given[0]


@pytest.mark.parametrize("value", [[1, [2, 3]], {"a": [1]}, np.ma.masked_array([1.0, 2.0], [True, False])])
def test_other_containers_are_copied(value):
    (kept,) = copied((value,))
    assert kept is not value and type(kept) is type(value) and repr(kept) == repr(value)


def test_tensors_are_copied_and_other_objects_passed_through():
    torch = pytest.importorskip("torch", reason="copies tensors of torch, which is not installed beside Theano")
    tensor, stranger = torch.zeros(2, requires_grad=True), object()
    kept, same = copied((tensor, stranger))
    tensor.data += 1
    assert kept.tolist() == [0, 0] and not kept.requires_grad and same is stranger


def test_metrics_may_modify_their_arguments(expected):
    def spoils(prediction, target):
        prediction += 7
        target += 7
        return 0.0

    trainer = Trainer(
        line("spoils"), fresh(), validation=fresh(), n_steps=6, validate_every=2, n_validation=3,
        metrics={"spoils": spoils, "mean": lambda p, t: float(t.mean())}, optimiser="SGD",
        optimiser_params={"lr": 0.0},
    )  # fmt: skip
    result = trainer.run()
    assert (result.validation["val_loss"], result.validation["val_mean"]) == (expected[0], 0.0)


def test_functions_of_a_sampler_may_reuse_their_arrays():
    model = classifier()
    raw = np.arange(40 * 40, dtype="float32").reshape(1, 40, 40)
    labels = (raw[0] % 2).astype("int16")
    buffers = [np.zeros((1, 10, 10), "float32"), np.zeros((1, 4, 4), "int64")]

    def doubled(raw, labels, rng):
        np.multiply(raw, 2, out=buffers[0])
        buffers[1][:] = labels
        return buffers

    def same(labels):
        buffers[1][:] = labels
        return buffers[1]

    plain = PatchSampler(model, (raw, labels), augment=[Flip()]).batch(0)
    changed = PatchSampler(model, (raw, labels), augment=[Flip(), doubled]).batch(0)
    np.testing.assert_array_equal(changed[0], 2 * plain[0])
    np.testing.assert_array_equal(changed[1], plain[1])
    np.testing.assert_array_equal(
        PatchSampler(model, (raw, labels), augment=[Flip()], targets=same).batch(0)[1], plain[1]
    )


def test_schedules_keep_their_numbers():
    end, start = np.zeros(1), np.ones(1)
    schedule = nm.LinearSchedule(10, end=end, start=start)
    bound = schedule.bind(line("numbers"), "mixing")
    end += 5
    start += 5
    assert bound.apply(0).tolist() == [1.0] and bound.apply(10).tolist() == [0.0]
