"""A command names what it cannot read or do in one line, and ends with status 1."""

import pytest
from tiny_runs import TINY, data_flags

from keras_maskrcnn import cli


def test_devices_need_a_strategy(shapes, tmp_path, capsys):
    flags = [*data_flags(shapes, "train"), *TINY, f"--output={tmp_path / 'run'}"]
    assert cli.run(["train", *flags, "--devices=GPU:0"]) == 1
    assert "devices need strategy='mirrored'" in capsys.readouterr().err


def test_freeze_names_networks(shapes, tmp_path, capsys):
    flags = [*data_flags(shapes, "train"), *TINY, f"--output={tmp_path / 'run'}"]
    assert cli.run(["train", *flags, "--freeze=neck"]) == 1
    assert "networks are backbone, res5, fpn," in capsys.readouterr().err
    assert cli.run(["train", *flags, "--freeze=backbone:res9"]) == 1
    assert "stages of backbone are stem, res2, res3, res4, res5, c2, " in capsys.readouterr().err


def bad_inputs(shapes, tmp_path):
    """Returns a dict of names to (argv, words of the message)."""
    train = ["train", *TINY, f"--output={tmp_path / 'out'}"]
    images, annotations = data_flags(shapes, "train")
    broken = tmp_path / "broken.json"
    broken.write_text('{"images": [')
    (tmp_path / "model.keras").write_bytes(b"no zip")
    (tmp_path / "empty").mkdir()
    model = f"--model={tmp_path / 'model.keras'}"
    return {
        "json": ([*train, images, f"--annotations={broken}"], ["broken.json"]),
        "no json": ([*train, images, "--annotations=none.json"], ["none.json"]),
        "no images": ([*train, "--images=nowhere", annotations], ["nowhere"]),
        "preset": ([*train, images, annotations, "--preset=mask_rcnn"], ["mask_rcnn", "preset"]),
        "config": ([*train, images, annotations, "--norm=layer"], ["norm", "frozen_batch"]),
        "batch": ([*train, images, annotations, "--batch_size=7"], ["batch_size=7", "6"]),
        "weights": ([*train, images, annotations, "--weights=w.h5"], ["w.h5"]),
        "taken": (
            [*train, images, annotations, "--resume", f"--output={tmp_path}"],
            ["holds model.keras of an earlier run; pass another --output, with --weights="],
        ),
        "augment": ([*train, images, annotations, "--augment=blur"], ["color", "augment='blur'"]),
        "no model": (["export", "--model=no.keras", "--output=x"], ["no.keras"]),
        "bad model": (["export", model, "--output=x"], ["model.keras"]),
        "bad size": (["export", model, "--output=x", "--warmup_sizes=640"], ["warmup_sizes='640'"]),
        "no image size": (["export", model, "--output=x", "--format=litert"], ["image_size=''"]),
        "another format's": (
            ["export", model, "--output=x", "--format=litert", "--masks=rle"],
            ["masks='rle'"],
        ),
        "no input": (["predict", model, f"--input={tmp_path / 'empty'}", "--output=x"], ["input"]),
    }


@pytest.mark.parametrize(
    "name",
    [
        "json",
        "no json",
        "no images",
        "preset",
        "config",
        "batch",
        "weights",
        "taken",
        "augment",
        "no model",
        "bad model",
        "bad size",
        "no image size",
        "another format's",
        "no input",
    ],
)
def test_bad_input_is_named_in_one_line_with_status_1(name, shapes, tmp_path, capsys):
    argv, words = bad_inputs(shapes, tmp_path)[name]
    assert cli.run(argv) == 1
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 1
    assert all(word in printed for word in words)
