"""What `train` refuses before it reads, how it uses its flags, and what it prints."""

import re
import types

import numpy as np
import pytest
from backbones.networks import perturbed, residual

from keras_maskrcnn import cli, training
from keras_maskrcnn.backbones import building
from keras_maskrcnn.cli import train
from keras_maskrcnn.networks import NETWORKS
from keras_maskrcnn.presets import preset_config

SMALL, TORCHVISION = "mask_rcnn_resnet18_fpn_small", "mask_rcnn_resnet50_fpn_torchvision"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--val_images=photos"], "--val_images needs --val_annotations. Received: val_images='p"),
        (["--tile=64", "--overlap=64"], "overlap must be at least 1 and less than tile. Received"),
        (["--tile=512", "--proposals=p"], "--proposals are of whole images, so they exclude --til"),
        (["--val_proposals=p"], "--val_proposals needs --val_annotations. Received: val_proposals"),
        (["--recipe=3x"], "detectron2_3x, .*Received: recipe='3x'"),
        (["--weights=no.keras"], "no such file. Received: weights='no.keras'"),
        (["--weights=none"], "without --weights, training starts from random weights. Received: w"),
        (["--weights=run"], "did you mean run/model.keras. Received: weights='run'"),
        (
            ["--weights=a.pth"],
            "after that framework. Received: weights='a.pth', preset='mask_rcnn",
        ),
        (["--weights=a.pth", f"--preset={TORCHVISION}"], "none.json"),  # the next fault
        (["--weights=a.h5", "--backbone=mobilenetv2"], "none.json"),
        (["--weights=b.h5", "--preset=mask_rcnn_xception_fpn"], "no such file.*'b.h5'"),
    ],
)
def test_flags_are_checked_before_anything_is_read(flags, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.keras").write_text("a model")
    for name in ("a.pth", "a.h5"):
        (tmp_path / name).write_text("a checkpoint")
    argv = ["train", "--images=none", "--annotations=none.json", f"--preset={SMALL}"]
    assert cli.run([*argv, "--output=new", *flags]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(words, line), line
    assert not (tmp_path / "new").exists()


def test_a_longer_run_is_refused_and_its_way_is_named():
    backup = types.SimpleNamespace(stored_run={"steps": 6})
    with pytest.raises(ValueError, match="--weights=run/model.keras .* Received: steps=9"):
        train.refuse_other_length(backup, 9, "run")
    train.refuse_other_length(backup, 6, "run")
    train.refuse_other_length(types.SimpleNamespace(stored_run=None), 9, "run")


@pytest.fixture
def run(monkeypatch):
    """Replaces `training.Run`: records its arguments and does not train."""
    made = types.SimpleNamespace(backup=types.SimpleNamespace(stored_run=None), fitted=0)

    def make(model, recipe, dataset, output, **options):
        made.model, made.recipe, made.dataset, made.output = model, recipe, dataset, output
        made.options = options
        return made

    def fit():
        made.fitted += 1

    made.fit = fit
    monkeypatch.setattr(training, "Run", make)
    networks = {"fpn": types.SimpleNamespace(layers=())}
    model = types.SimpleNamespace(networks=networks, network_names=NETWORKS)
    monkeypatch.setattr(train, "new_model", lambda config, options, goes_on: model)
    return made


def test_the_command_is_flags_for_a_run(run, broken, tmp_path, capsys):
    images, annotations = f"{broken / 'images'}", f"{broken / 'ann.json'}"
    flags = [f"--images={images}", f"--annotations={annotations}", f"--output={tmp_path / 'run'}"]
    flags += ["--on_error=skip", f"--val_annotations={annotations}", f"--preset={SMALL}"]
    flags += ["--epochs=3", "--batch_size=2", "--seed=5", "--save_every=7", "--eval_every=2"]
    flags += ["--max_detections=50", "--on_nonfinite=skip", "--cache", "--freeze=fpn,mask_head"]
    flags += ["--augment=rotate90,copy_paste", "--ema_momentum=0.5", "--crowds=objects"]
    assert cli.run(["train", *flags, "--quiet"]) == 0
    assert run.fitted == 1
    assert run.output == str(tmp_path / "run")
    assert len(run.dataset) == 3 and len(run.options.pop("val")) == 3
    assert (run.recipe.steps, run.recipe.batch_size, run.recipe.ema_momentum) == (3, 2, 0.5)
    assert run.model.networks["fpn"].trainable is False
    identity = run.options.pop("identity")
    assert identity.pop("images") is identity.pop("val_images") is None
    assert list(identity) == ["augment", "freeze", "annotations", "val_annotations", "crowds"]
    assert identity["freeze"] == "fpn,mask_head"
    assert identity["annotations"] == identity["val_annotations"]
    assert [f.__name__ for f in run.options.pop("augment")] == ["random_rotate90"]
    assert run.options.pop("copy_paste").__name__ == "copy_paste"
    assert run.options == {
        "resume": False,
        "verbose": 0,
        "cache": True,
        "seed": 5,
        "save_every": 7,
        "eval_every": 2,
        "max_detections": 50,
        "on_nonfinite": "skip",
        "on_error": "skip",
        "proposals": None,
        "val_proposals": None,
    }


def test_the_flags_of_tiles_cut_both_data_sets_and_are_part_of_the_run(
    run, broken, tmp_path, capsys
):
    inputs = [f"--images={broken / 'images'}", f"--annotations={broken / 'ann.json'}"]
    inputs += [f"--val_{flag[2:]}" for flag in inputs] + [f"--output={tmp_path / 'run'}"]
    flags = ["--tile=30", "--overlap=6", "--empty_tiles=0", "--steps=1", f"--preset={SMALL}"]
    assert cli.run(["train", *inputs, *flags]) == 0
    assert set(run.dataset.sizes) == {(30, 30)}
    # Rows and columns 5 to 25: whole in the first of 2 x 3 tiles, three quarters below it.
    windows = "[0:30,0:30]", "[10:40,0:30]"
    assert run.dataset.file_names == tuple(f"{n}.png{window}" for n in "abc" for window in windows)
    assert len(run.options["val"]) == 3 * 2 * 3 and run.options["val"].has_ignored
    expected = {"crowds": "ignore", "tile": 30, "overlap": 6, "min_share": None, "empty_tiles": 0}
    assert expected.items() <= run.options["identity"].items()
    assert capsys.readouterr().out.count("3 objects: 3 are whole in a tile, 0 only cut") == 2


def test_images_that_were_skipped_are_reported_at_the_end(run, broken, tmp_path, capsys):
    flags = [f"--images={broken / 'images'}", f"--annotations={broken / 'ann.json'}"]
    flags += [f"--output={tmp_path / 'run'}", f"--preset={SMALL}", "--steps=1"]

    def fit():
        run.dataset.skipped["b.png"] = 2

    run.fit = fit
    assert cli.run(["train", *flags]) == 0
    first, *last = capsys.readouterr().out.splitlines()
    assert first.startswith("3 images, 1 classes; steps=1, batch_size=2, learning_rate=")
    assert last == [f"Wrote {tmp_path / 'run' / 'model.keras'}.", "Skipped 1 images: b.png."]


def test_weights_of_a_network_of_keras_start_its_backbone(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(building, "body", lambda name, classifier=False: residual())
    perturbed(residual(), seed=3).save_weights(tmp_path / "body.weights.h5")
    config = preset_config(
        "mask_rcnn_mobilenetv2_fpn", fpn_channels=8, box_head_units=8, mask_head_channels=8
    )
    options = types.SimpleNamespace(
        weights=str(tmp_path / "body.weights.h5"),
        dtype_policy="float32",
        preset="mask_rcnn_mobilenetv2_fpn",
        quiet=False,
    )
    model = train.new_model(config, options, goes_on=False)
    expected = perturbed(residual(), seed=3).get_layer("bn3").get_weights()
    np.testing.assert_array_equal(model.backbone.get_layer("bn3").get_weights(), expected)
    out = capsys.readouterr().out
    assert "body.weights.h5\nmatched 30 arrays\nleft" in out
    model.save_weights(tmp_path / "ours.weights.h5")
    options.weights = str(tmp_path / "ours.weights.h5")
    again = train.new_model(config, options, goes_on=False)
    for ours, theirs in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
