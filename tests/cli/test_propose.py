"""An RPN trains alone, its proposals go into a folder, and a detector trains on them."""

import json

import numpy as np
import pytest
from eager import eager_steps
from tiny_runs import TINY, data_flags

from keras_maskrcnn import cli, data

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def rpn(shapes, tmp_path_factory):
    """Returns the output folder of an RPN that was trained alone."""
    output = tmp_path_factory.mktemp("runs") / "rpn"
    flags = [*data_flags(shapes, "train"), *data_flags(shapes, "val", "val_"), *TINY]
    flags += ["--task=proposals", "--steps=1", f"--output={output}"]
    with eager_steps():
        assert cli.run(["train", *flags]) == 0
    return output


def propose(rpn, shapes, part, output):
    flags = [f"--model={rpn / 'model.keras'}", *data_flags(shapes, part), f"--output={output}"]
    return cli.run(["propose", *flags, "--quiet", "--test_proposals=30"])


def test_an_rpn_alone_is_validated_by_its_recall(rpn):
    (epoch,) = json.loads((rpn / "history.json").read_text())
    assert {"rpn_objectness", "rpn_box", "val_bbox/AR100", "val_bbox/AR1000"} <= set(epoch)
    assert "classifier" not in epoch
    assert (rpn / "best.keras").exists()


def test_an_rpn_alone_draws_no_detections(rpn, shapes, tmp_path, capsys):
    flags = [f"--model={rpn / 'model.keras'}", f"--input={shapes / 'val'}"]
    assert cli.run(["predict", *flags, f"--output={tmp_path / 'out'}"]) == 1
    assert "must have an RPN and heads. Received: task='proposals'" in capsys.readouterr().err


def test_propose_writes_proposals_and_their_recall(rpn, shapes, tmp_path, capsys):
    output = tmp_path / "proposals"
    assert propose(rpn, shapes, "val", output) == 0
    boxes, scores = data.read_proposals(output).get(7)
    assert boxes.shape == (len(scores), 4) and 0 < len(scores) <= 30
    assert boxes.min() >= 0 and boxes.max() <= 64 + 1e-3
    recall = json.loads((output / "average_recall.json").read_text())
    assert {"bbox/AR100", "bbox/ARs1000"} <= set(recall) and len(recall) == 8
    assert propose(rpn, shapes, "val", output) == 1
    assert "holds proposals of an earlier run" in capsys.readouterr().err


@pytest.mark.slow
def test_train_and_evaluate_on_proposals(rpn, shapes, tmp_path, capsys):
    for part in ("train", "val"):
        assert propose(rpn, shapes, part, tmp_path / part) == 0
    flags = [*data_flags(shapes, "train"), *data_flags(shapes, "val", "val_"), *TINY, "--steps=1"]
    flags += [f"--output={tmp_path / 'run'}", f"--proposals={tmp_path / 'train'}"]
    assert cli.run(["train", *flags]) == 1
    assert "--proposals and --val_proposals must be given together" in capsys.readouterr().err
    assert cli.run(["train", *flags, f"--val_proposals={tmp_path / 'val'}"]) == 0
    (epoch,) = json.loads((tmp_path / "run" / "history.json").read_text())
    assert {"classifier", "box", "mask", "val_segm/AP"} <= set(epoch)
    assert "rpn_box" not in epoch
    flags = [f"--model={tmp_path / 'run' / 'model.keras'}", *data_flags(shapes, "val"), "--quiet"]
    flags.append(f"--output={tmp_path / 'metrics.json'}")
    assert cli.run(["evaluate", *flags]) == 1
    assert "proposals='precomputed', and no." in capsys.readouterr().err
    assert cli.run(["evaluate", *flags, f"--proposals={tmp_path / 'val'}"]) == 0


def test_proposals_of_other_images_are_named(shapes, tmp_path, capsys):
    with data.ProposalWriter(tmp_path / "p", ["elsewhere"]) as writer:
        writer.add("elsewhere", np.zeros([0, 4]), np.zeros(0))
    flags = [*data_flags(shapes, "train"), *TINY, f"--output={tmp_path / 'run'}"]
    assert cli.run(["train", *flags, f"--proposals={tmp_path / 'p'}"]) == 1
    assert "no proposals for 6 images. Received: image_id=" in capsys.readouterr().err
