"""Files with boxes and no masks: converted, validated, trained and evaluated without a flag."""

import json

import pytest
from tiny_runs import TINY

from keras_maskrcnn import cli

MASKS, BOXES = (f"--preset={name}_rcnn_resnet18_fpn_small" for name in ("mask", "faster"))
VOC = "<annotation>{}</annotation>"
OBJECT = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>"
    "<ymax>{}</ymax></bndbox></object>"
)


@pytest.fixture(scope="module")
def boxes(shapes):
    """The boxes of the shapes: dict of file name to (class, [x1, y1, x2, y2]) in whole pixels."""
    content = json.loads((shapes / "annotations" / "train.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    found = {image["file_name"]: [] for image in content["images"]}
    file_of = {image["id"]: image["file_name"] for image in content["images"]}
    for entry in content["annotations"]:
        x, y, w, h = map(round, entry["bbox"])
        name = names[entry["category_id"]]
        found[file_of[entry["image_id"]]].append((name, [x, y, x + w, y + h]))
    return found


def write(folder, form, boxes):
    """Writes the boxes in a format; returns the flags of `convert`."""
    folder.mkdir()
    names, source = sorted({name for found in boxes.values() for name, _ in found}), folder
    for file_name, found in boxes.items():
        stem = file_name.rsplit(".", 1)[0]
        if form == "voc":
            objects = [OBJECT.format(name, x1 + 1, y1 + 1, *end) for name, (x1, y1, *end) in found]
            (folder / f"{stem}.xml").write_text(VOC.format("".join(objects)))
        elif form == "yolo_seg":
            rows = [
                f"{names.index(name)} {(x1 + x2) / 128} {(y1 + y2) / 128} {(x2 - x1) / 64}"
                f" {(y2 - y1) / 64}"
                for name, (x1, y1, x2, y2) in found
            ]
            (folder / f"{stem}.txt").write_text("\n".join(rows))
    if form == "yolo_seg":
        (folder / "classes.txt").write_text("\n".join(names))
    if form == "csv_boxes":
        source = folder / "boxes.csv"
        rows = [
            f"{file_name},{','.join(map(str, box))},{name}"
            for file_name, found in boxes.items()
            for name, box in found
        ]
        source.write_text("\n".join(rows))
    return [f"--format={form}", f"--annotations={source}"]


FORMATS = ["voc", "yolo_seg", "csv_boxes"]


def convert(shapes, boxes, form, folder):
    flags = [*write(folder / form, form, boxes), f"--images={shapes / 'train'}", "--quiet"]
    assert cli.run(["convert", *flags, f"--output={folder / 'boxes.json'}"]) == 0
    return [f"--images={shapes / 'train'}", f"--annotations={folder / 'boxes.json'}"]


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_of_boxes_becomes_a_set_for_a_faster_rcnn(
    shapes, boxes, form, tmp_path, capsys
):
    read = convert(shapes, boxes, form, tmp_path)
    content = json.loads((tmp_path / "boxes.json").read_text())
    assert not any("segmentation" in entry for entry in content["annotations"])
    names = {category["id"]: category["name"] for category in content["categories"]}
    file_of = {image["id"]: image["file_name"] for image in content["images"]}
    found = {name: [] for name in boxes}
    for entry in content["annotations"]:
        x, y, w, h = map(round, entry["bbox"])
        found[file_of[entry["image_id"]]].append(
            (names[entry["category_id"]], [x, y, x + w, y + h])
        )
    assert found == boxes
    assert cli.run(["validate", *read]) == 0
    assert "only a Faster R-CNN can train on it" in capsys.readouterr().out
    for command in (["validate", "--task=masks"], ["train", MASKS, f"--output={tmp_path / 'r'}"]):
        assert cli.run([*command, *read, "--quiet"]) == 1
        printed = capsys.readouterr().err
        assert "--preset=faster_rcnn_" in printed and printed.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_a_faster_rcnn_trains_and_is_scored_on_each_format(shapes, boxes, form, tmp_path):
    read, run = convert(shapes, boxes, form, tmp_path), tmp_path / "run"
    train = ["train", *TINY, BOXES, *read, "--steps=1", f"--output={run}"]
    assert cli.run([*train, f"--val_annotations={tmp_path / 'boxes.json'}"]) == 0
    (epoch,) = json.loads((run / "history.json").read_text())
    assert {"classifier", "box", "val_bbox/AP"} <= set(epoch) and "mask" not in epoch
    model = [f"--model={run / 'model.keras'}", f"--output={tmp_path / 'metrics.json'}"]
    assert cli.run(["evaluate", *model, *read, "--quiet"]) == 0
    assert "segm/AP" not in json.loads((tmp_path / "metrics.json").read_text())
