"""Data sets from ../shared/cases that were once read wrongly or refused."""

import json
import shutil

import pytest
from resizing import resizing

from keras_maskrcnn import cli, data, evaluation
from keras_maskrcnn.data.errors import DataError

TINY = [
    "--quiet",
    "--image_size=64",
    "--fpn_channels=16",
    "--box_head_units=16",
    "--roi_batch=16",
    "--train_pre_nms=50",
    "--train_proposals=50",
    "--test_pre_nms=50",
    "--test_proposals=50",
    "--anchor_sizes=8,16,32,64,128",
    "--mask_head_convs=1",
    "--mask_head_channels=16",
]
MASKS, BOXES = (f"--preset={name}_rcnn_resnet18_fpn_small" for name in ("mask", "faster"))


def flags(folder, name="ann.json", prefix=""):
    return [f"--{prefix}images={folder / 'images'}", f"--{prefix}annotations={folder / name}"]


# boxes_only_faster_rcnn


@pytest.mark.parametrize("name", ["empty.json", "none.json"])
def test_boxes_are_enough_for_a_faster_rcnn(case, tmp_path, capsys, name):
    folder = case("boxes_only_faster_rcnn")
    for preset in ([BOXES], []):  # without a flag, the annotations say what can train on them
        assert cli.run(["validate", *preset, *flags(folder, name)]) == 0
        printed = capsys.readouterr().out
        assert "0 errors, 0 dropped" in printed
        told = "no annotation has a mask, so only a Faster R-CNN can train on it (--preset=faster"
        assert (told in printed) == (not preset)
    out = f"--output={tmp_path / 'a.json'}"
    assert cli.run(["convert", "--format=coco_json", *flags(folder, name), out]) == 0
    assert "12 instances, 2 classes; boxes without masks." in capsys.readouterr().out
    assert data.coco_json(folder / "images", tmp_path / "a.json", masks=False).labels.size == 12
    assert cli.run(["validate", MASKS, *flags(folder, name), "--quiet"]) == 1
    needed = "A Faster R-CNN (--preset=faster_rcnn_..., task='boxes', masks=False) needs no masks."
    assert needed in capsys.readouterr().err
    train = ["train", MASKS, *flags(folder, name), *TINY, f"--output={tmp_path / 'run'}"]
    assert cli.run(train) == 1
    assert needed in (printed := capsys.readouterr().err) and printed.count("\n") == 1


@pytest.mark.slow
def test_a_faster_rcnn_trains_and_evaluates_on_boxes(case, tmp_path, capsys):
    folder, run = case("boxes_only_faster_rcnn"), tmp_path / "run"
    train = ["train", BOXES, *flags(folder, "none.json"), *flags(folder, "empty.json", "val_")]
    train += [*TINY, "--steps=1", "--augment=crop,large_scale_jitter,rotate90"]
    assert cli.run([*train, f"--output={run}"]) == 0
    (epoch,) = json.loads((run / "history.json").read_text())
    assert {"classifier", "box", "val_bbox/AP", "val_loss"} <= set(epoch)
    model = [f"--model={run / 'model.keras'}", "--quiet"]
    for name in ("empty.json", "none.json"):
        out = f"--output={tmp_path / name}"
        assert cli.run(["evaluate", *model, *flags(folder, name), out]) == 0
    explain = ["explain", *model, *flags(folder, "none.json"), "--image=img00.png"]
    assert cli.run([*explain, f"--output={tmp_path / 'why'}"]) == 0
    rpn = tmp_path / "rpn"
    assert cli.run([*train, f"--output={rpn}", "--task=proposals"]) == 0
    model = [f"--model={rpn / 'model.keras'}", "--quiet", f"--output={tmp_path / 'found'}"]
    assert cli.run(["propose", *model, *flags(folder, "none.json")]) == 0
    assert cli.run([*train, f"--output={tmp_path / 'x'}", "--augment=copy_paste"]) == 1
    assert "copy_paste needs masks" in capsys.readouterr().err


# all_crowd_masks


def test_a_set_of_crowds_alone_is_an_error_or_a_set_of_objects(case, tmp_path, capsys):
    folder = case("all_crowd_masks")
    train = ["train", MASKS, *flags(folder), *TINY, f"--output={tmp_path / 'run'}"]
    validate = ["validate", *flags(folder), "--quiet"]
    convert = ["convert", "--format=coco_json", *flags(folder), f"--output={tmp_path / 'a.json'}"]
    fix = f"--fix={tmp_path / 'fixed.json'}"
    for command in (train, validate, convert, [*validate, fix]):
        assert cli.run(command) == 1
        printed = capsys.readouterr().err
        assert "--crowds=objects" in printed and "12 dropped: annotation with iscrowd=1" in printed
    with pytest.raises(DataError, match="no instance is left"):
        dataset = data.coco_json(folder / "images", folder / "ann.json")
        data.batches(dataset, 1, training=True, **resizing(64, 64))
    assert sorted(tmp_path.iterdir()) == []
    assert cli.run([*validate, fix, "--crowds=objects"]) == 0
    assert cli.run([*convert, "--crowds=objects"]) == 0
    for name in ("fixed.json", "a.json"):
        dataset = data.coco_json(folder / "images", tmp_path / name)
        assert (dataset.dropped, len(dataset.labels)) == ({}, 12)


# val_names_in_other_order


def test_names_in_another_order_are_an_error(case, tmp_path, capsys, tiny_config):
    folder = case("val_names_in_other_order")
    train = ["train", MASKS, *flags(folder / "train"), *flags(folder / "val", prefix="val_")]
    assert cli.run([*train, *TINY, f"--output={tmp_path / 'run'}"]) == 1
    printed = capsys.readouterr().err
    assert "category 1 was 'disk' in training" in printed and "name='box'" in printed
    known = data.coco_json(folder / "train/images", folder / "train/ann.json")
    with pytest.raises(DataError, match="category 1 was 'disk'"):
        data.coco_json(
            folder / "val/images",
            folder / "val/ann.json",
            category_ids=known.category_ids,
            class_names=known.class_names,
        )


# on_error_skip_and_a_missing_file


def test_a_missing_file_is_skipped_when_asked(case, tmp_path, capsys):
    folder = case("on_error_skip_and_a_missing_file")
    convert = ["convert", "--format=coco_json", *flags(folder), f"--output={tmp_path / 'a.json'}"]
    assert cli.run(convert) == 1
    assert "im1.jpg: image file does not exist" in capsys.readouterr().err
    assert cli.run([*convert, "--on_error=skip"]) == 0
    assert "Skipped 1 images: im1.jpg." in capsys.readouterr().out
    content = json.loads((tmp_path / "a.json").read_text())
    assert [i["file_name"] for i in content["images"]] == ["im0.jpg", "im2.jpg", "im3.jpg"]
    assert cli.run(["validate", *flags(folder), "--quiet"]) == 1
    assert "im1.jpg: image file does not exist" in capsys.readouterr().err


def test_a_missing_file_is_skipped_in_other_formats(case, tmp_path, capsys):
    images = case("on_error_skip_and_a_missing_file") / "images"
    square = {"name": "rect", "x": 1, "y": 1, "width": 9, "height": 9}
    regions = [{"shape_attributes": square, "region_attributes": {}}]
    names = ("im0.jpg", "im1.jpg")
    (tmp_path / "via.json").write_text(
        json.dumps({name: {"filename": name, "regions": regions} for name in names})
    )
    convert = ["convert", "--format=via_json", f"--images={images}", "--on_error=skip"]
    convert += [f"--annotations={tmp_path / 'via.json'}", f"--output={tmp_path / 'a.json'}"]
    assert cli.run(convert) == 0
    assert "Skipped 1 images: im1.jpg." in capsys.readouterr().out
    shutil.copytree(images, tmp_path / "labelme")
    for name in names:
        points = [[1, 1], [9, 1], [9, 9]]
        shape = {"label": "a", "points": points, "shape_type": "polygon", "group_id": None}
        entry = {"imagePath": name, "shapes": [shape]}
        (tmp_path / "labelme" / f"{name[:3]}.json").write_text(json.dumps(entry))
    dataset = data.labelme(tmp_path / "labelme", tmp_path / "labelme", on_error="skip")
    assert (dataset.file_names, dataset.skipped) == (("im0.jpg",), {"im1.jpg": 1})


@pytest.mark.slow
def test_training_skips_a_missing_file(case, tmp_path, capsys):
    folder = case("on_error_skip_and_a_missing_file")
    train = ["train", MASKS, *flags(folder), *flags(folder, prefix="val_"), *TINY[1:]]
    train += ["--steps=1", "--on_error=skip", f"--output={tmp_path / 'run'}"]
    assert cli.run(train) == 0
    printed = capsys.readouterr().out
    assert "Skipped 1 images: im1.jpg." in printed
    assert "Skipped 1 validation images: im1.jpg." in printed


# fix_deletes_what_it_could_mend


@pytest.mark.parametrize(
    "name", ["flat", "image_id_str", "inlist", "iscrowd_str", "nosize", "pairs", "strings"]
)
def test_what_can_be_mended_is_not_deleted(case, tmp_path, capsys, name):
    folder, fixed = case("fix_deletes_what_it_could_mend"), tmp_path / "fixed.json"
    cli.run(["validate", *flags(folder, f"{name}.json"), f"--fix={fixed}"])
    assert "removed" not in capsys.readouterr().out
    assert cli.run(["validate", *flags(folder, fixed), "--quiet"]) == 0
    dataset = data.coco_json(folder / "images", fixed)
    assert (len(dataset.labels), dataset.dropped) == (9, {})


# coco_dict_without_area


@pytest.mark.parametrize("name", ["ann.json", "area_null.json"])
def test_areas_that_are_missing_are_the_masks(case, name):
    folder = case("coco_dict_without_area")
    content = json.loads((folder / name).read_text())
    dataset = data.coco_dict(folder / "images", content)
    results = [
        {
            "image_id": a["image_id"],
            "category_id": a["category_id"],
            "bbox": a["bbox"],
            "score": 0.9,
            "segmentation": {"size": list(dataset.sizes[0]), "counts": counts},
        }
        for a, counts in zip(content["annotations"], dataset.counts, strict=True)
    ]
    truths = (content, str(folder / name), dataset.content())
    numbers = [evaluation.evaluate_results(results, truth) for truth in truths]
    assert numbers[0]["segm/AP"] == 1.0
    assert numbers[0] == numbers[1] == numbers[2]
