"""Runs of `train` on a tiny data set: files, messages, and how a stopped run continues."""

import json
import os
import signal

import keras
import numpy as np
import pytest
import tifffile
from eager import eager_steps
from tiny_runs import TINY, data_flags, without_times

from keras_maskrcnn import cli, data, distribution, training
from keras_maskrcnn.ops import rle


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory):
    """Returns the output folder of a run of two epochs."""
    output = tmp_path_factory.mktemp("runs") / "run"
    flags = [*data_flags(shapes, "train"), *data_flags(shapes, "val", "val_"), *TINY]
    with eager_steps():
        assert cli.run(["train", *flags, f"--output={output}", "--epochs=2"]) == 0
    return output


def test_train_writes_model_history_and_logs(trained):
    assert (trained / "model.keras").is_file()
    assert list((trained / "logs").rglob("events.out.tfevents.*"))
    history = json.loads((trained / "history.json").read_text())
    assert [epoch["step"] for epoch in history] == [3, 6]
    assert {"loss", "mask", "val_loss", "val_segm/AP", "images_per_second"} <= set(history[1])


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_steps_end_training_in_the_middle_of_an_epoch(shapes, tmp_path):
    flags = [*data_flags(shapes, "train"), *TINY, f"--output={tmp_path / 'run'}", "--steps=4"]
    assert cli.run(["train", *flags]) == 0
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [epoch["step"] for epoch in history] == [3, 4]


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_train_with_adamw_and_augmentations_from_weights(trained, shapes, tmp_path, caplog):
    # A kill during the first backup leaves such a file.
    half = tmp_path / "run" / "backup" / "unfinished-00.step_00000000.npz"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    flags = [*data_flags(shapes, "train"), *TINY, f"--output={tmp_path / 'run'}", "--steps=1"]
    flags += [f"--augment={','.join(cli.train.AUGMENTATIONS)}", "--cache", "--resume"]
    flags += [f"--weights={trained / 'model.keras'}", "--learning_rate=0"]
    assert cli.run(["train", *flags, "--optimizer=adamw"]) == 0
    assert "holds no backup: a new run starts" in caplog.text
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    assert isinstance(model.optimizer, keras.optimizers.AdamW)
    before = keras.models.load_model(trained / "model.keras").trainable_variables
    for a, b in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_train_on_two_replicas_in_float16(shapes, tmp_path, monkeypatch, two_devices, capsys):
    monkeypatch.setattr(distribution, "make_strategy", lambda *args: two_devices)
    flags = [*data_flags(shapes, "train"), *TINY, "--steps=1", "--strategy=mirrored"]
    flags += [f"--output={tmp_path / 'run'}", "--dtype_policy=mixed_float16"]
    assert cli.run(["train", *flags, "--batch_size=1"]) == 1
    assert "number of replicas, 2. Received: batch_size=1." in capsys.readouterr().err
    assert cli.run(["train", *flags, "--batch_size=2"]) == 0
    flags = [f"--model={tmp_path / 'run/model.keras'}", *data_flags(shapes, "val"), "--quiet"]
    assert cli.run(["evaluate", *flags, f"--output={tmp_path / 'metrics.json'}"]) == 0


@pytest.mark.usefixtures("eager")
def test_a_run_that_is_stopped_and_resumed_equals_one_that_was_not(
    trained, shapes, tmp_path, monkeypatch, capsys
):
    output = tmp_path / "run"
    flags = [*data_flags(shapes, "train"), *data_flags(shapes, "val", "val_"), *TINY]
    flags += [f"--output={output}", "--epochs=2"]
    original = training.StopAfter.on_train_batch_end

    def stop(self, batch, logs=None):
        original(self, batch, logs)
        if int(self.model.optimizer.iterations) == 4:  # within the second epoch
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(training.StopAfter, "on_train_batch_end", stop)
    with pytest.raises(SystemExit) as caught:
        cli.run(["train", *flags])
    assert caught.value.code == 143
    monkeypatch.undo()
    assert not (output / "model.keras").exists()
    assert cli.run(["train", *flags]) == 1  # an earlier run is not overwritten
    assert cli.run(["train", *flags, "--resume", "--epochs=3"]) == 1
    printed = capsys.readouterr().err
    assert f"start another run from its weights: --weights={output}/model.keras" in printed
    assert f"the run in {output} has 6 steps" in printed and "Received: steps=9." in printed
    assert cli.run(["train", *flags, "--resume"]) == 0
    for name in ("history.json", "model.keras", "best.keras"):
        ours, theirs = (path / name for path in (output, trained))
        if name == "history.json":
            assert without_times(ours) == without_times(theirs)
        else:
            ours, theirs = (keras.models.load_model(path) for path in (ours, theirs))
            for a, b in zip(
                ours.weights + ours.optimizer.variables,
                theirs.weights + theirs.optimizer.variables,
                strict=True,
            ):
                np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("eager")
def test_train_prints_the_numbers_of_its_recipe(shapes, tmp_path, capsys):
    flags = [*data_flags(shapes, "train"), *TINY[1:], f"--output={tmp_path / 'run'}"]
    flags += ["--accumulate_steps=2", "--ema_momentum=0.5", "--clip_norm=0"]
    assert cli.run(["train", *flags, "--recipe=detectron2_1x", "--steps=1"]) == 0
    lines = capsys.readouterr().out
    assert "steps=1, batch_size=2, learning_rate=0.005, warmup_steps=0" in lines
    assert "clip_norm=None, accumulate_steps=2, ema_momentum=0.5" in lines
    assert (
        "epoch 1/1, step 1: loss " in lines and "waiting" not in lines
    )  # the one step is the traced one, which is not timed


@pytest.mark.usefixtures("eager")
def test_an_image_that_breaks_in_training_is_named_or_skipped(shapes, tmp_path, capsys):
    copy = tmp_path / "images"
    copy.mkdir()
    for path in (shapes / "train").iterdir():
        data = path.read_bytes()
        (copy / path.name).write_bytes(data[: len(data) // 2] if "000004" in path.name else data)
    flags = [f"--images={copy}", data_flags(shapes, "train")[1], "--epochs=1"]
    assert cli.run(["train", *TINY, *flags, f"--output={tmp_path / 'run'}"]) == 1
    assert "000004.png" in capsys.readouterr().err.splitlines()[-1]
    loud = [flag for flag in TINY if flag != "--quiet"]
    skipping = [f"--output={tmp_path / 'skipping'}", "--on_error=skip"]
    assert cli.run(["train", *loud, *flags, *skipping]) == 0
    assert "Skipped 1 images: 000004.png." in capsys.readouterr().out


@pytest.fixture
def mosaic(shapes, tmp_path):
    """Writes one image of all training shapes beside each other, as a TIFF in tiles, and a.json."""
    whole = data.coco_json(shapes / "train", shapes / "annotations/train.json")
    pixels = np.zeros([128, 192, 3], np.uint8)
    annotations = []
    for i in range(6):
        top, left = 64 * (i // 3), 64 * (i % 3)
        pixels[top : top + 64, left : left + 64] = whole.load_image(i)
        for j in range(*whole.offsets[i : i + 2]):
            region, (y, x) = rle.decode_region(whole.counts[j], 64, 64)
            outline = rle.encode_region(region, (top + y, left + x), 128, 192)
            x1, y1, x2, y2 = (whole.boxes[j] + [left, top, left, top]).tolist()
            about = {"id": j, "image_id": 1, "category_id": int(whole.labels[j])}
            annotations.append(
                about | {"bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": outline}
            )
    content = {
        "images": [{"id": 1, "file_name": "big.tif", "height": 128, "width": 192}],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(whole.class_names, 1)],
    }
    folder = tmp_path / "big"
    folder.mkdir()
    tifffile.imwrite(folder / "big.tif", pixels, tile=(16, 16), photometric="rgb")
    (folder / "a.json").write_text(json.dumps(content))
    return [f"--images={folder}", f"--annotations={folder / 'a.json'}"]


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_train_on_tiles_of_a_big_image(mosaic, tmp_path):
    flags = ["train", *mosaic, *[f"--val_{flag[2:]}" for flag in mosaic], *TINY, "--epochs=1"]
    flags += ["--tile=64", "--overlap=16", f"--output={tmp_path / 'run'}", "--save_every=2"]
    assert cli.run(flags) == 0
    (epoch,) = json.loads((tmp_path / "run" / "history.json").read_text())
    assert epoch["step"] == 6  # 3 x 4 tiles, two in a batch
    assert np.isfinite(epoch["loss"]) and "val_segm/AP" in epoch
    # The json that `convert` writes trains in the same way.
    tiles = [f"--tile_images={tmp_path / 'tiles'}", f"--output={tmp_path / 'tiles.json'}"]
    cut = ["--tile=64", "--overlap=16", "--quiet"]
    assert cli.run(["convert", "--format=coco_json", *mosaic, *cut, *tiles]) == 0
    written = [f"--images={tmp_path / 'tiles'}", f"--annotations={tmp_path / 'tiles.json'}"]
    flags = ["train", *written, "--crowds=ignore", *TINY, "--epochs=1", "--seed=0"]
    assert cli.run([*flags, f"--output={tmp_path / 'again'}"]) == 0
    (again,) = json.loads((tmp_path / "again" / "history.json").read_text())
    for name in ("loss", "mask", "rpn_objectness", "foreground_share"):
        assert again[name] == epoch[name]
