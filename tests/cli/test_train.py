"""What `train` refuses before it reads, and what it tells of a run that is over."""

import re
import types

import pytest

from keras_maskrcnn import cli
from keras_maskrcnn.cli import train

SMALL, TORCHVISION = "mask_rcnn_resnet18_fpn_small", "mask_rcnn_resnet50_fpn_torchvision"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--val_images=photos"], "--val_images needs --val_annotations. Received: val_images='p"),
        (["--val_proposals=p"], "--val_proposals needs --val_annotations. Received: val_proposals"),
        (["--recipe=3x"], "detectron2_3x, .*Received: recipe='3x'"),
        (["--weights=no.keras"], "no such file. Received: weights='no.keras'"),
        (["--weights=run"], "did you mean run/model.keras. Received: weights='run'"),
        (["--weights=a.pth"], "named after them. Received: weights='a.pth', preset='mask_rcnn_r"),
        (["--weights=a.pth", f"--preset={TORCHVISION}"], "none.json"),  # which comes next
    ],
)
def test_flags_are_checked_before_anything_is_read(flags, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.keras").write_text("a model")
    (tmp_path / "a.pth").write_text("a checkpoint")
    argv = ["train", "--images=none", "--annotations=none.json", f"--preset={SMALL}"]
    assert cli.run([*argv, "--output=new", *flags]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(words, line), line
    assert not (tmp_path / "new").exists()


def test_a_longer_run_is_refused_and_its_way_is_named():
    backup = types.SimpleNamespace(stored_run={"steps": 6})
    with pytest.raises(ValueError, match="--weights=run/model.keras .* Received: steps=9"):
        train._refuse_other_length(backup, 9, "run")
    train._refuse_other_length(backup, 6, "run")
    train._refuse_other_length(types.SimpleNamespace(stored_run=None), 9, "run")
