"""What all imports have in common: names of models, tags, and the comparison with the source."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, TranslationError
from neuromancer.interop import elementwise, verify
from neuromancer.interop.importing import Source, import_network


def halved(run):
    """A source that halves an image with one feature."""

    def translate(net, operations):
        operations["half"] += 1
        return [elementwise.apply(net, "half", net.input("image", 1, (8,)), "mul", 0.5)]

    return Source("half.net (test)", 1, translate, run, "the test")


@pytest.fixture
def models():
    """The names of the models that a test makes, which are removed afterwards."""
    before = set(nm.model_manager)
    yield lambda: set(nm.model_manager) - before
    for name in set(nm.model_manager) - before:
        nm.model_manager.delmodel(name)


def test_models_are_named_after_their_source(models):
    source = halved(lambda arrays: [arrays[0] / 2])
    assert [import_network(source, None, name, False).name for name in (None, None, "mine")] == [
        "half",
        "half1",
        "mine",
    ]
    assert models() == {"half", "half1", "mine"}


def test_two_sizes_are_compared_and_reported(models, capsys):
    shapes = []

    def run(arrays):
        shapes.append(arrays[0].shape)
        return [arrays[0] / 2]

    report = import_network(halved(run), "x", None, True).import_report
    assert shapes == [check.shape for check in report.checks] == [(1, 1, 8), (2, 1, 10)]
    assert report.verified and report.largest_difference == 0 and report.operations == {"half": 1}
    printed = capsys.readouterr().out
    assert (
        "imported 'half.net (test)': 2 nodes, 0 parameters" in printed and "verified: differs from the test" in printed
    )


def test_other_values_are_no_import(models):
    current = nm.model_manager.current
    with pytest.raises(TranslationError, match=r"'half.net \(test\)': .*differs from its source.*'half'"):
        import_network(halved(lambda arrays: [arrays[0] / 2 * (1 + 2 * verify.TOLERANCE)]), None, None, False)
    assert not models() and nm.model_manager.current is current


def test_a_source_that_is_right_for_its_example_only_is_fixed(models):
    def run(arrays):
        return [arrays[0] * (0.5 if arrays[0].shape[-1] == 8 else 1)]

    model = import_network(halved(run), None, None, False)
    assert model.input_node.shape.spatial_shape == [8]
    assert any("one size only" in note for note in model.import_report.notes)
    assert model.predict(np.ones((3, 1, 8), "float32")).tolist() == np.full((3, 1, 8), 0.5).tolist()


def test_a_source_that_takes_one_size_is_compared_there(models):
    def run(arrays):
        if arrays[0].shape[-1] != 8:
            raise verify.SourceError("only 8")
        return [arrays[0] / 2]

    report = import_network(halved(run), None, None, False).import_report
    assert [check.shape for check in report.checks] == [(1, 1, 8)] * 2 and "only 8" in report.notes[0]


@pytest.mark.parametrize("tags", ["y,x", "q", 7, "b,f,x,x"])
def test_tags_that_do_not_name_the_axes(tags, models):
    with pytest.raises(ArgumentError, match=r"tags.*1 different ones of z, y, x.*nearest valid: 'b,f,x'"):
        import_network(halved(lambda arrays: arrays), tags, None, False)
    assert not models()
