"""The commands, run in this process on a tiny data set: files, messages, exit statuses."""

import json
import os
import pathlib
import runpy
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_maskrcnn import cli, data, distribution, training

SHAPES = runpy.run_path(str(pathlib.Path(__file__).parents[1] / "examples" / "shapes.py"))
TINY = [
    "--quiet",
    "--preset=mask_rcnn_resnet18_fpn_small",
    "--image_size=64",
    "--fpn_channels=16",
    "--box_head_units=16",
    "--mask_head_convs=1",
    "--mask_head_channels=16",
    "--roi_batch=16",
    "--train_pre_nms=50",
    "--train_proposals=50",
    "--test_pre_nms=50",
    "--test_proposals=50",
    "--score_threshold=0.2",
    "--detections_per_image=20",
    "--anchor_sizes=8,16,32,64,128",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six training images and three for validation."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    SHAPES["make_shapes"](folder, train=6, val=3, size=64)
    return folder


def data_flags(folder, part, prefix=""):
    return [
        f"--{prefix}images={folder / part}",
        f"--{prefix}annotations={folder / 'annotations' / part}.json",
    ]


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """The output folder of two epochs."""
    output = tmp_path_factory.mktemp("runs") / "run"
    flags = [*data_flags(folder, "train"), *data_flags(folder, "val", "val_"), *TINY]
    assert cli.run(["train", *flags, f"--output={output}", "--epochs=2"]) == 0
    return output


def test_train_writes_model_history_and_logs(trained):
    assert (trained / "model.keras").is_file()
    assert list((trained / "logs").rglob("events.out.tfevents.*"))
    history = json.loads((trained / "history.json").read_text())
    assert [epoch["step"] for epoch in history] == [3, 6]
    assert {"loss", "mask", "val_loss", "val_segm/AP", "images_per_second"} <= set(history[1])


def without_times(path):
    measured = ("images_per_second", "waiting")
    return [
        {name: value for name, value in epoch.items() if name not in measured}
        for epoch in json.loads(path.read_text())
    ]


def test_steps_end_training_in_the_middle_of_an_epoch(folder, tmp_path):
    flags = [*data_flags(folder, "train"), *TINY, f"--output={tmp_path / 'run'}", "--steps=4"]
    assert cli.run(["train", *flags]) == 0
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [epoch["step"] for epoch in history] == [3, 4]


def test_train_with_adamw_and_augmentations_from_weights(trained, folder, tmp_path, caplog):
    import keras

    # What a kill during the first backup leaves.
    half = tmp_path / "run" / "backup" / "unfinished-00.step_00000000.npz"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    flags = [*data_flags(folder, "train"), *TINY, f"--output={tmp_path / 'run'}", "--steps=1"]
    flags += [f"--augment={','.join(cli.train.AUGMENTATIONS)}", "--cache", "--resume"]
    flags += [f"--weights={trained / 'model.keras'}", "--learning_rate=0"]
    assert cli.run(["train", *flags, "--optimizer=adamw"]) == 0
    assert "holds no backup: a new run begins" in caplog.text
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    assert isinstance(model.optimizer, keras.optimizers.AdamW)
    before = keras.models.load_model(trained / "model.keras").trainable_variables
    for a, b in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_train_on_two_replicas_in_float16(folder, tmp_path, monkeypatch, two_devices, capsys):
    monkeypatch.setattr(distribution, "make_strategy", lambda *args: two_devices)
    flags = [*data_flags(folder, "train"), *TINY, "--steps=1", "--strategy=mirrored"]
    flags += [f"--output={tmp_path / 'run'}", "--dtype_policy=mixed_float16"]
    assert cli.run(["train", *flags, "--batch_size=1"]) == 1
    assert "number of replicas, 2. Received: batch_size=1." in capsys.readouterr().err
    assert cli.run(["train", *flags, "--batch_size=2"]) == 0
    flags = [f"--model={tmp_path / 'run/model.keras'}", *data_flags(folder, "val"), "--quiet"]
    assert cli.run(["evaluate", *flags, f"--output={tmp_path / 'metrics.json'}"]) == 0


def test_devices_need_a_strategy(folder, tmp_path, capsys):
    flags = [*data_flags(folder, "train"), *TINY, f"--output={tmp_path / 'run'}"]
    assert cli.run(["train", *flags, "--devices=GPU:0"]) == 1
    assert "devices need strategy='mirrored'" in capsys.readouterr().err


def test_a_run_that_is_stopped_and_goes_on_is_as_one_that_was_not(
    trained, folder, tmp_path, monkeypatch, capsys
):
    import keras

    output = tmp_path / "run"
    flags = [*data_flags(folder, "train"), *data_flags(folder, "val", "val_"), *TINY]
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
    assert f"begin another run from its weights: --weights={output}/model.keras" in printed
    assert "is a run of 6 steps" in printed and "Received: steps=9." in printed
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


def test_evaluate_writes_24_numbers(trained, folder, tmp_path, capsys):
    output = tmp_path / "metrics.json"
    flags = [f"--model={trained / 'model.keras'}", *data_flags(folder, "val")]
    assert cli.run(["evaluate", *flags, f"--output={output}", "--max_detections=50"]) == 0
    metrics = json.loads(output.read_text())
    assert len(metrics) == 24
    assert {"bbox/AP", "segm/AP50", "segm/AR50"} <= set(metrics)
    assert "segm/AP75" in capsys.readouterr().out
    assert cli.run(["evaluate", *flags, f"--output={output}"]) == 1  # exists already


@pytest.fixture(scope="module")
def rpn(folder, tmp_path_factory):
    """The output folder of an RPN alone."""
    output = tmp_path_factory.mktemp("runs") / "rpn"
    flags = [*data_flags(folder, "train"), *data_flags(folder, "val", "val_"), *TINY]
    flags += ["--task=proposals", "--steps=1", f"--output={output}"]
    assert cli.run(["train", *flags]) == 0
    return output


def propose(rpn, folder, part, output):
    flags = [f"--model={rpn / 'model.keras'}", *data_flags(folder, part), f"--output={output}"]
    return cli.run(["propose", *flags, "--quiet", "--test_proposals=30"])


def test_an_rpn_alone_is_validated_by_its_recall(rpn):
    (epoch,) = json.loads((rpn / "history.json").read_text())
    assert {"rpn_objectness", "rpn_box", "val_bbox/AR100", "val_bbox/AR1000"} <= set(epoch)
    assert "classifier" not in epoch
    assert (rpn / "best.keras").exists()


def test_an_rpn_alone_draws_no_detections(rpn, folder, tmp_path, capsys):
    flags = [f"--model={rpn / 'model.keras'}", f"--input={folder / 'val'}"]
    assert cli.run(["predict", *flags, f"--output={tmp_path / 'out'}"]) == 1
    assert "must have an RPN and heads. Received: task='proposals'" in capsys.readouterr().err


def test_propose_writes_proposals_and_their_recall(rpn, folder, tmp_path, capsys):
    output = tmp_path / "proposals"
    assert propose(rpn, folder, "val", output) == 0
    boxes, scores = data.read_proposals(output).get(7)
    assert boxes.shape == (len(scores), 4) and 0 < len(scores) <= 30
    assert boxes.min() >= 0 and boxes.max() <= 64 + 1e-3
    recall = json.loads((output / "average_recall.json").read_text())
    assert {"bbox/AR100", "bbox/ARs1000"} <= set(recall) and len(recall) == 8
    assert propose(rpn, folder, "val", output) == 1
    assert "holds proposals of an earlier run" in capsys.readouterr().err


def test_train_and_evaluate_on_proposals(rpn, folder, tmp_path, capsys):
    for part in ("train", "val"):
        assert propose(rpn, folder, part, tmp_path / part) == 0
    flags = [*data_flags(folder, "train"), *data_flags(folder, "val", "val_"), *TINY, "--steps=1"]
    flags += [f"--output={tmp_path / 'run'}", f"--proposals={tmp_path / 'train'}"]
    assert cli.run(["train", *flags]) == 1
    assert "--proposals and --val_proposals go together" in capsys.readouterr().err
    assert cli.run(["train", *flags, f"--val_proposals={tmp_path / 'val'}"]) == 0
    (epoch,) = json.loads((tmp_path / "run" / "history.json").read_text())
    assert {"classifier", "box", "mask", "val_segm/AP"} <= set(epoch)
    assert "rpn_box" not in epoch
    flags = [f"--model={tmp_path / 'run' / 'model.keras'}", *data_flags(folder, "val"), "--quiet"]
    flags.append(f"--output={tmp_path / 'metrics.json'}")
    assert cli.run(["evaluate", *flags]) == 1
    assert "proposals='precomputed', and no." in capsys.readouterr().err
    assert cli.run(["evaluate", *flags, f"--proposals={tmp_path / 'val'}"]) == 0


def test_proposals_of_other_images_are_named(folder, tmp_path, capsys):
    with data.ProposalWriter(tmp_path / "p", ["elsewhere"]) as writer:
        writer.add("elsewhere", np.zeros([0, 4]), np.zeros(0))
    flags = [*data_flags(folder, "train"), *TINY, f"--output={tmp_path / 'run'}"]
    assert cli.run(["train", *flags, f"--proposals={tmp_path / 'p'}"]) == 1
    assert "no proposals of 6 images. Received: image_id=" in capsys.readouterr().err


@pytest.mark.slow
def test_alternating_training_ends_in_one_model_with_one_backbone(folder, tmp_path):
    import keras

    examples = pathlib.Path(__file__).parents[1] / "examples"
    main = runpy.run_path(str(examples / "alternating_training.py"))["main"]
    main([*data_flags(folder, "train"), *TINY, "--steps=1", f"--output={tmp_path / 'run'}"])
    load = keras.models.load_model
    joint, detector, rpn, second = (
        load(tmp_path / "run" / name / "model.keras") for name in ("", "step4", "step3", "step2")
    )
    assert joint.config.proposals == "joint"
    for name, sources in {
        "backbone": (detector, rpn),
        "fpn": (detector, rpn),
        "box_head": (detector,),
        "mask_head": (detector,),
        "rpn_head": (rpn,),
    }.items():
        for source in sources:
            for ours, theirs in zip(
                joint.networks[name].weights, source.networks[name].weights, strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)
    kernels = [m.backbone.get_layer("stem").kernel for m in (joint, second)]
    np.testing.assert_array_equal(*kernels)  # steps 3 and 4 left it as step 2 made it


def test_freeze_names_networks(folder, tmp_path, capsys):
    flags = [*data_flags(folder, "train"), *TINY, f"--output={tmp_path / 'run'}"]
    assert cli.run(["train", *flags, "--freeze=neck"]) == 1
    assert "networks are backbone, res5, fpn," in capsys.readouterr().err
    assert cli.run(["train", *flags, "--freeze=backbone:res9"]) == 1
    assert "stages of backbone are stem, res2, res3, res4, res5. " in capsys.readouterr().err


def test_a_recipe_tells_its_numbers(folder, tmp_path, capsys):
    flags = [*data_flags(folder, "train"), *TINY[1:], f"--output={tmp_path / 'run'}"]
    flags += ["--accumulate_steps=2", "--ema_momentum=0.5", "--clip_norm=0"]
    assert cli.run(["train", *flags, "--recipe=detectron2_1x", "--steps=1"]) == 0
    lines = capsys.readouterr().out
    assert "steps=1, batch_size=2, learning_rate=0.005, warmup_steps=0" in lines
    assert "clip_norm=None, accumulate_steps=2, ema_momentum=0.5" in lines
    assert "epoch 1/1, step 1: loss " in lines and "waiting" not in lines  # one step is traced


def test_predict_writes_a_picture_per_image_and_coco_results(trained, folder, tmp_path):
    output = tmp_path / "predicted"
    flags = [f"--model={trained / 'model.keras'}", f"--input={folder / 'val'}"]
    flags += ["--quiet", "--score_threshold=0.0", f"--output={output}"]
    assert cli.run(["predict", *flags]) == 0
    pictures = sorted(path.name for path in output.glob("*.png"))
    assert pictures == ["000001.png", "000002.png", "000003.png"]
    results = json.loads((output / "predictions.json").read_text())
    assert {result["file_name"] for result in results} == {f"00000{i}.png" for i in (1, 2, 3)}
    assert {result["category_id"] for result in results} <= {3, 7, 8}
    assert results[0]["segmentation"]["size"] == [64, 64]


def test_explain_writes_a_picture_per_image_and_what_was_lost(trained, folder, tmp_path, capsys):
    flags = [f"--model={trained / 'model.keras'}", *data_flags(folder, "val")]
    output = tmp_path / "all"
    assert cli.run(["explain", *flags, f"--output={output}", "--score_threshold=1.0"]) == 0
    pictures = [f"00000{i}.png" for i in (1, 2, 3)]
    assert sorted(path.name for path in output.glob("*.png")) == pictures
    written = json.loads((output / "explain.json").read_text())
    objects = len(data.coco_json(folder / "val", folder / "annotations" / "val.json").labels)
    assert (written["images"], written["objects"], written["found"]) == (3, objects, 0)
    assert sum(written["lost"].values()) == objects
    assert [row["picture"] for row in written["explained"]] == pictures
    printed = capsys.readouterr().out
    assert f"0 of {objects} objects in 3 images found; lost:" in printed
    assert cli.run(["explain", *flags, f"--output={output}"]) == 1  # is not empty
    flags.append("--overwrite")
    assert cli.run(["explain", *flags, f"--output={folder / 'val'}"]) == 1
    assert "pictures would replace images" in capsys.readouterr().err


def test_explain_counts_what_cannot_be_read(trained, folder, tmp_path, capsys):
    shutil.copytree(folder / "val", tmp_path / "val")
    path = tmp_path / "val" / "000002.png"
    path.write_bytes(path.read_bytes()[:-200])
    annotations = folder / "annotations" / "val.json"
    flags = [f"--model={trained / 'model.keras'}", f"--images={tmp_path / 'val'}"]
    flags += [f"--annotations={annotations}", f"--output={tmp_path / 'why'}"]
    assert cli.run(["explain", *flags]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "1 of 3 images could not be read" in line and "000002.png" in line
    written = json.loads((tmp_path / "why" / "explain.json").read_text())
    assert (written["images"], written["unreadable"]) == (2, ["000002.png"])
    assert cli.run(["explain", *flags, "--overwrite", "--image=000002.png"]) == 1


def test_explain_tells_of_one_image(trained, folder, tmp_path, capsys):
    flags = [f"--model={trained / 'model.keras'}", *data_flags(folder, "val")]
    flags.append(f"--output={tmp_path / 'one'}")
    assert cli.run(["explain", *flags, "--image=000002.png"]) == 0
    assert [path.name for path in (tmp_path / "one").glob("*.png")] == ["000002.png"]
    assert "anchors, " in capsys.readouterr().out
    assert cli.run(["explain", *flags, "--overwrite", "--image=2.png"]) == 1
    assert "val.json has no such file_name. Received: image='2.png'." in capsys.readouterr().err


def test_export_writes_the_next_version(trained, tmp_path):
    flags = [f"--model={trained / 'model.keras'}", f"--output={tmp_path / 'served'}", "--quiet"]
    assert cli.run(["export", *flags]) == 0
    more = ["--masks=rle", "--max_pixels=9000", "--warmup_sizes=", "--score_threshold=0.9"]
    assert cli.run(["export", *flags, *more]) == 0
    extra = tmp_path / "served" / "2" / "assets.extra"
    assert [path.name for path in extra.iterdir()] == ["model.json"]  # no warm-up requests
    content = json.loads((extra / "model.json").read_text())
    assert (content["masks"], content["max_pixels"]) == ("rle", 9000)
    assert content["config"]["score_threshold"] == 0.9
    assert sorted(path.name for path in (tmp_path / "served").iterdir()) == ["1", "2"]
    loaded = tf.saved_model.load(tmp_path / "served" / "1")
    assert set(loaded.signatures) == {"serving_default", "serve_image_bytes", "describe"}


def convert(folder, output, *flags, images=None):
    images = images or folder / "train"
    return cli.run(["convert", f"--images={images}", f"--output={output}", *flags])


def test_convert_writes_what_is_kept_of_a_coco_json(folder, tmp_path, capsys):
    content = json.loads((folder / "annotations" / "train.json").read_text())
    content["annotations"][0]["iscrowd"] = 1
    (tmp_path / "a.json").write_text(json.dumps(content))
    flags = ["--format=coco_json", f"--annotations={tmp_path / 'a.json'}"]
    assert convert(folder, tmp_path / "b.json", *flags) == 0
    content["annotations"].pop(0)
    assert json.loads((tmp_path / "b.json").read_text()) == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]
    printed = capsys.readouterr().out
    assert f"6 images, {len(content['annotations'])} instances, 3 classes" in printed
    assert "dropped 1: annotation with iscrowd=1" in printed
    assert convert(folder, tmp_path / "b.json", *flags) == 1
    assert "b.json exists; pass --overwrite" in capsys.readouterr().err
    assert convert(folder, tmp_path / "b.json", *flags, "--overwrite", "--quiet") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("names", ["cat,dog", "classes.txt"])
def test_convert_makes_a_coco_json_of_another_format(folder, tmp_path, names):
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    names = names if "," in names else tmp_path / names
    for i in range(1, 7):
        (tmp_path / f"{i:06d}.txt").write_text(f"{i % 2} 0.1 0.1 0.9 0.1 0.5 0.9")
    flags = ["--format=yolo_seg", f"--annotations={tmp_path}", f"--class_names={names}"]
    assert convert(folder, tmp_path / "a.json", *flags) == 0
    dataset = data.coco_json(folder / "train", tmp_path / "a.json")
    assert dataset.class_names == ("cat", "dog")
    assert dataset.labels.tolist() == [2, 1, 2, 1, 2, 1]


def test_convert_names_what_it_cannot_do_in_one_line(folder, tmp_path, capsys):
    flags = ["--format=labelme", f"--annotations={tmp_path}"]
    assert convert(folder, tmp_path / "a.json", *flags, "--split=train") == 1
    assert "labelme has no split. Received: split='train'." in capsys.readouterr().err
    assert convert(folder, tmp_path / "a.json", *flags) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "a.json").exists()
    assert convert(folder, tmp_path / "a.json", "--format=tiff", "--annotations=x") == 2
    assert "<coco_json|via_json|labelme|mask_images|voc|yolo_seg>" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "usage"),
        (["fly"], "usage"),
        (["train", "--imagse=x"], "imagse"),
        (["export", "--output=x"], "model"),
        (["export", "--model=x", "--output=y", "z"], "unexpected 'z'"),
        (["evaluate", "--max_detections=many"], "max_detections"),
        (["train", "--optimizer=adam"], "<sgd|adamw>"),
    ],
)
def test_bad_usage_has_status_2(argv, words, capsys):
    assert cli.run(argv) == 2
    assert words in capsys.readouterr().err


def test_help_names_every_flag(capsys):
    assert cli.run(["--help"]) == 0
    assert cli.run(["train", "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("predict", "--images", "--roi_batch", "resume"))


def bad_inputs(folder, tmp_path):
    """(argv, words of the message) by name."""
    train = ["train", *TINY, f"--output={tmp_path / 'out'}"]
    images, annotations = data_flags(folder, "train")
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
        "no image size": (["export", model, "--output=x", "--format=onnx"], ["image_size=''"]),
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
def test_bad_input_is_named_in_one_line_with_status_1(name, folder, tmp_path, capsys):
    argv, words = bad_inputs(folder, tmp_path)[name]
    assert cli.run(argv) == 1
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 1
    assert all(word in printed for word in words)


def test_an_image_that_breaks_in_training_is_named_or_skipped(folder, tmp_path, capsys):
    copy = tmp_path / "images"
    copy.mkdir()
    for path in (folder / "train").iterdir():
        data = path.read_bytes()
        (copy / path.name).write_bytes(data[: len(data) // 2] if "000004" in path.name else data)
    flags = [f"--images={copy}", data_flags(folder, "train")[1], "--epochs=1"]
    assert cli.run(["train", *TINY, *flags, f"--output={tmp_path / 'run'}"]) == 1
    assert "000004.png" in capsys.readouterr().err.splitlines()[-1]
    loud = [flag for flag in TINY if flag != "--quiet"]
    skipping = [f"--output={tmp_path / 'skipping'}", "--on_error=skip"]
    assert cli.run(["train", *loud, *flags, *skipping]) == 0
    assert "Skipped 1 images: 000004.png." in capsys.readouterr().out


def test_predict_names_a_file_that_is_no_image(trained, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "text.png").write_text("no picture")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    flags = [f"--model={trained / 'model.keras'}", f"--input={tmp_path / 'images'}"]
    assert cli.run(["predict", *flags, f"--output={tmp_path / 'out'}", "--quiet"]) == 1
    assert "text.png" in capsys.readouterr().err
