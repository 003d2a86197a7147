import json
import shutil
import types

import numpy as np
import pytest
from tiny_runs import data_flags

from keras_maskrcnn import cli, data, explaining


@pytest.fixture
def explained(model, monkeypatch):
    """Replaces `explain`: one object per image, which no anchor matches."""

    def explain(model, dataset, index, proposals=None):
        dataset.load_image(index)
        found = {"objects": [{"cause": "no anchor", "limit": "anchor_sizes"}]}
        return types.SimpleNamespace(
            as_dict=lambda: found, picture=lambda **look: np.zeros([9, 9, 3], np.uint8)
        )

    monkeypatch.setattr(explaining, "explain", explain)


def test_explain_goes_on_after_a_broken_image_and_ends_with_1(broken, run, explained, capsys):
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


@pytest.mark.usefixtures("eager")
def test_explain_writes_a_picture_per_image_and_what_was_lost(
    small_model, shapes, tmp_path, capsys
):
    flags = [f"--model={small_model}", *data_flags(shapes, "val")]
    output = tmp_path / "all"
    assert cli.run(["explain", *flags, f"--output={output}", "--score_threshold=1.0"]) == 0
    pictures = [f"00000{i}.png" for i in (1, 2, 3)]
    assert sorted(path.name for path in output.glob("*.png")) == pictures
    written = json.loads((output / "explain.json").read_text())
    objects = len(data.coco_json(shapes / "val", shapes / "annotations" / "val.json").labels)
    assert (written["images"], written["objects"], written["found"]) == (3, objects, 0)
    assert sum(written["lost"].values()) == objects
    assert [row["picture"] for row in written["explained"]] == pictures
    printed = capsys.readouterr().out
    assert f"0 of {objects} objects in 3 images found; lost:" in printed
    assert cli.run(["explain", *flags, f"--output={output}"]) == 1  # the folder is not empty
    flags.append("--overwrite")
    assert cli.run(["explain", *flags, f"--output={shapes / 'val'}"]) == 1
    assert "pictures would replace images" in capsys.readouterr().err


@pytest.mark.usefixtures("eager")
def test_explain_counts_what_cannot_be_read(small_model, shapes, tmp_path, capsys):
    shutil.copytree(shapes / "val", tmp_path / "val")
    path = tmp_path / "val" / "000002.png"
    path.write_bytes(path.read_bytes()[:-200])
    annotations = shapes / "annotations" / "val.json"
    flags = [f"--model={small_model}", f"--images={tmp_path / 'val'}"]
    flags += [f"--annotations={annotations}", f"--output={tmp_path / 'why'}"]
    assert cli.run(["explain", *flags]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "1 of 3 images could not be read" in line and "000002.png" in line
    written = json.loads((tmp_path / "why" / "explain.json").read_text())
    assert (written["images"], written["unreadable"]) == (2, ["000002.png"])
    assert cli.run(["explain", *flags, "--overwrite", "--image=000002.png"]) == 1


@pytest.mark.usefixtures("eager")
def test_explain_explains_one_image(small_model, shapes, tmp_path, capsys):
    flags = [f"--model={small_model}", *data_flags(shapes, "val")]
    flags.append(f"--output={tmp_path / 'one'}")
    assert cli.run(["explain", *flags, "--image=000002.png"]) == 0
    assert [path.name for path in (tmp_path / "one").glob("*.png")] == ["000002.png"]
    assert "anchors, " in capsys.readouterr().out
    assert cli.run(["explain", *flags, "--overwrite", "--image=2.png"]) == 1
    assert "val.json has no such file_name. Received: image='2.png'." in capsys.readouterr().err
