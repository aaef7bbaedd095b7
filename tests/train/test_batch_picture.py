"""Pictures of batches: labels lie where the network predicts."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import errors
from neuromancer.train import PatchSampler, Trainer
from neuromancer.train.batch_picture import plot_batch
from tests.train.nets import Squares, classifier, line, points

PNG = b"\x89PNG\r\n"


def network(sizes, tags, padding=None, n_class=2, kind="int16", features=1):
    """A strided network with an image of two channels."""
    n = len(sizes)
    model = nm.model_manager.newmodel(None)
    inp = nm.Input((2, 2, *sizes), f"b,f,{tags}", name="raw", print_repr=False)
    options = {} if padding is None else {"padding": padding}
    out = nm.Conv(inp, 3, (3,) * n, (2,) * n if padding is None else None, print_repr=False, **options)
    if kind == "int16":
        out = nm.Softmax(nm.Conv(out, n_class, (1,) * n, activation_func="lin", print_repr=False), print_repr=False)
    else:
        out = nm.Conv(out, features, (1,) * n, activation_func="sigmoid", print_repr=False)
    target = nm.Input_like(out, override_f=features, dtype=kind, name="target", print_repr=False)
    if kind == "int16":
        loss = nm.MultinoulliNLL(out, target, target_is_sparse=True, print_repr=False)
    else:
        loss = nm.BinaryNLL(out, target, print_repr=False)
    model.designate_nodes("raw", target, nm.AggregateLoss([loss], print_repr=False), out)
    return model


def blocks(shape):
    """Labels of blocks, and two channels that show them."""
    labels = (np.indices(shape).sum(0) // 5 % 2).astype("uint8")
    return np.stack([labels, 1 - labels]).astype("float32"), labels


def panels(figure):
    """Titles, and the images (array, extent) of every panel by row and column."""
    rows = figure.axes[0].get_gridspec().nrows
    axes = np.array(figure.axes).reshape(rows, -1)
    titles = [panel.get_title() for panel in axes[0]]
    return titles, [[[(im.get_array(), im.get_extent()) for im in a.get_images()] for a in row] for row in axes]


@pytest.mark.parametrize("padding", [None, (1, 1)])
def test_labels_of_a_2d_network_lie_where_it_predicts(padding):
    model = network((20, 24), "y,x", padding)
    raw, labels = blocks((60, 60))
    trainer = Trainer(model, PatchSampler(model, (raw, labels), seed=1), n_steps=1)
    titles, rows = panels(trainer.show_batch(step=3))
    assert titles == ["raw, channel 0", "raw, channel 1", "target"] and len(rows) == 2
    batch = trainer.source.batch(3)
    for sample, row in enumerate(rows):
        for channel in (0, 1):
            np.testing.assert_array_equal(row[channel][0][0], batch[0][sample, channel])
        (image, extent), (colours, place) = row[2]
        assert tuple(extent) == (-0.5, 23.5, 19.5, -0.5)
        # Class 1 is coloured, class 0 transparent; a voxel is drawn around the raw voxel that it is the label of.
        shown = colours[..., 3] > 0
        assert np.array_equal(shown, batch[1][sample, 0] == 1)
        y, x = np.indices(shown.shape)
        across, down = (place[1] - place[0]) / shown.shape[1], (place[2] - place[3]) / shown.shape[0]
        assert across == down == (2 if padding is None else 1)
        at = image[
            (place[3] + down * (y + 0.5)).round().astype(int), (place[0] + across * (x + 0.5)).round().astype(int)
        ]
        np.testing.assert_array_equal(at, shown)


@pytest.mark.parametrize("tags", ["z,y,x", "z,x,y"])
def test_a_3d_sample_is_shown_by_orthogonal_sections(tags, tmp_path):
    model = network((8, 12, 16), tags)
    raw, labels = blocks((20, 30, 30))
    trainer = Trainer(model, PatchSampler(model, (raw, labels)), n_steps=1)
    figure = trainer.show_batch(tmp_path / "batch.png", samples=1)
    assert (tmp_path / "batch.png").read_bytes().startswith(PNG)
    _, rows = panels(figure)
    image, target = trainer.source.batch(0)
    middle = [n // 2 for n in target.shape[2:]]
    at = [2 + 2 * k for k in middle]  # raw voxels of the label in the middle: a kernel of 3, then a pool of 2
    sections = [image[0, 0, at[0]], image[0, 0, :, at[1]], image[0, 0, :, :, at[2]]]
    labelled = [target[0, 0, middle[0]], target[0, 0, :, middle[1]], target[0, 0, :, :, middle[2]]]
    for row, section, label in zip(rows, sections, labelled, strict=True):
        (_, extent), (colours, _) = row[2]
        assert (extent[1] + 0.5, extent[2] + 0.5) == section.shape[::-1]
        assert np.array_equal(colours[..., 3] > 0, label == 1)
        np.testing.assert_array_equal(row[0][0][0], section)
    a, b, c = tags.split(",")
    ends = [figure.axes[3 * k].get_ylabel().splitlines()[-1] for k in range(3)]
    assert ends == [b + c, a + c, a + b]


def test_affinities_are_colours_and_ignored_labels_grey():
    model = network((20, 24), "y,x", kind="float32", features=3)
    affinities = np.zeros((2, 3, 9, 11), "float32")
    affinities[:, 0, :4], affinities[:, 2, 4:] = 1, 1
    (_, rows) = panels(Trainer(model, Fixed(affinities), n_steps=1).show_batch())
    np.testing.assert_array_equal(rows[0][2][1][0][0, 0, :3], [1, 0, 0])
    np.testing.assert_array_equal(rows[0][2][1][0][8, 0, :3], [0, 0, 1])
    model = network((20, 24), "y,x")
    (_, rows) = panels(Trainer(model, Fixed(np.full((2, 1, 9, 11), -1, "int16")), n_steps=1).show_batch())
    colours = rows[0][2][1][0]
    assert (colours[..., 3] == 0.8).all() and np.ptp(colours[..., :3]) == 0


def test_classes_in_floats_values_and_arrays_without_samples():
    nm.model_manager.newmodel(None)
    inp = nm.Input((2, 1, 6, 8), "b,f,y,x", name="raw", print_repr=False)
    out = nm.Conv(inp, 1, (3, 3), activation_func="lin", print_repr=False)
    target = nm.Input_like(out, name="target", print_repr=False)
    weights = nm.Input((4, 6), "y,x", name="weights", print_repr=False)

    def shown(values):
        data = np.full((2, 1, 6, 8), np.nan, "float32"), values, np.linspace(0, 1, 24, dtype="float32").reshape(4, 6)
        figure = plot_batch([inp, target, weights], data, out.shape, "a title")
        return [layers[-1][0] for layers in panels(figure)[1][1]]

    values = np.zeros((2, 1, 4, 6), "float32")
    values[:, :, 0], values[:, :, 1] = 2, np.nan
    colours = shown(values)[1]
    assert colours[0, 0, 3] > 0 and colours[1, 0, 3] == 0.8 and colours[2, 0, 3] == 0
    levels = shown(values + 0.5)[1]
    assert (levels[..., 3] == 0.6).all() and not np.array_equal(levels[0, 0], levels[2, 0])


class Fixed:
    def __init__(self, target):
        self.target = target

    def batch(self, step):
        return np.random.default_rng(step).random((2, 2, 20, 24)).astype("float32"), self.target


def test_classes_of_images_are_written_beside_them():
    model = nm.model_manager.newmodel(None)
    inp = nm.Input((3, 1, 6, 6), "b,f,y,x", name="digit", print_repr=False)
    out = nm.Softmax(nm.Perceptron(inp, 10, flatten=True, activation_func="lin", print_repr=False), print_repr=False)
    target = nm.Input_like(out, override_f=1, dtype="int16", name="class", print_repr=False)
    nll = nm.MultinoulliNLL(out, target, target_is_sparse=True, print_repr=False)
    model.designate_nodes("digit", target, nm.AggregateLoss([nll], print_repr=False), out)
    figure = Trainer(model, (np.zeros((3, 1, 6, 6), "float32"), np.full((3, 1), 7, "int16")), n_steps=1).show_batch()
    assert [axes.get_ylabel().splitlines()[0] for axes in figure.axes] == [f"sample {n}, class 7" for n in range(3)]


def test_a_run_draws_its_first_batch_before_the_first_step(tmp_path):
    drawn = tmp_path / "first_batch.png"

    class Looking(Squares):
        def batch(self, step):
            assert step < 2 or drawn.read_bytes().startswith(PNG)
            return super().batch(step)

    options = {"folder": tmp_path, "ahead": 0, "history_every": 100}
    result = Trainer(classifier("drawn"), Looking(), n_steps=3, **options).run()
    assert result.files["batch"] == drawn
    drawn.unlink()
    Trainer.resume(tmp_path, Squares(), n_steps=4).run()
    assert not drawn.exists()


def test_batches_of_iterators(tmp_path):
    trainer = Trainer(classifier("in order"), (Squares().batch(n) for n in range(9)), n_steps=3)
    first = trainer.source.peek()[0]
    np.testing.assert_array_equal(panels(trainer.show_batch())[1][0][0][0][0], first[0, 0])
    trainer.run()
    plain = classifier("plain")
    Trainer(plain, map(Squares().batch, range(9)), n_steps=3).run()
    np.testing.assert_array_equal(plain["conv"].params["w"].get_value(), trainer.model["conv"].params["w"].get_value())
    with pytest.raises(errors.ArgumentError, match="only before it is trained with"):
        trainer.show_batch()


def test_what_cannot_be_drawn_is_refused(tmp_path, monkeypatch):
    trainer = Trainer(line("numbers"), points(), n_steps=1, folder=tmp_path)
    with pytest.raises(errors.GraphError, match="no images to show"):
        trainer.show_batch()
    for option, value in (("step", -1), ("step", 1.5), ("samples", 0)):
        with pytest.raises(errors.ArgumentError, match=option):
            trainer.show_batch(**{option: value})
    assert trainer.run().steps == 1 and not (tmp_path / "first_batch.png").exists()
