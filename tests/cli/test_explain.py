import json
import sys
import types

import numpy as np
import pytest


@pytest.fixture
def explained(model, monkeypatch):
    """Stands in for `explain`: one object an image, which no anchor met."""

    def explain(model, dataset, index, proposals=None):
        dataset.load_image(index)
        found = {"objects": [{"cause": "no anchor", "limit": "anchor_sizes"}]}
        return types.SimpleNamespace(
            as_dict=lambda: found, picture=lambda: np.zeros([9, 9, 3], np.uint8)
        )

    # The module, which the package hides behind the function.
    monkeypatch.setattr(sys.modules["keras_maskrcnn.explain"], "explain", explain)


def test_explain_goes_on_behind_a_broken_image_and_ends_with_1(broken, run, explained, capsys):
    output = broken / "out"
    assert run("explain", output) == 1
    written = json.loads((output / "explain.json").read_text())
    assert (written["images"], written["unreadable"]) == (2, ["b.png"])
    printed = capsys.readouterr()
    assert "0 of 2 objects in 2 images found; lost:\n       2 no anchor (anchor" in printed.out
    assert "1 of 3 images could not be read" in printed.err
    assert run("explain", output, "--overwrite", "--on_error=skip") == 0


def test_what_explain_counted_is_printed_if_it_cannot_be_written(
    broken, run, explained, monkeypatch, capsys
):
    def full(path, content, indent=None):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr("keras_maskrcnn.cli.outputs.write_json", full)
    assert run("explain", broken / "out") == 1
    printed = capsys.readouterr()
    assert "0 of 2 objects in 2 images found" in printed.out
    assert "No space left on device" in printed.err
