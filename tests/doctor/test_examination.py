"""doctor/examination.py: finds all faults of the corpus, with the same errors as training."""

import base64
import dataclasses
import html
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from doctor.faults import CORPUS, DROPS, ERRORS, NUCLEI, errors, geometry, load_all, make
from keras_maskrcnn import data, doctor
from keras_maskrcnn.data.coco import coco_json
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.tile_cutting import cut_into_tiles
from keras_maskrcnn.ops.rle import encode_region


def test_a_sound_data_set_has_no_problem_but_its_size(tmp_path):
    seen = []
    found, report = doctor.examine(*make(tmp_path), progress=lambda i: seen.extend(i) or i)
    assert seen == [0, 1]
    assert {p.kind for p in found.problems} == {"rare class"}
    assert report["severities"] == {"error": 0, "dropped": 0, "warning": 2}
    assert report["counts"] == {"images": 2, "annotations": 3, "categories": 2}


@pytest.mark.parametrize("name", CORPUS)
def test_a_fault_is_found_with_its_kind_and_line(tmp_path, name):
    _, kind, line = CORPUS[name]
    found, report = doctor.examine(*make(tmp_path, name), max_instances=2)
    severity = "error" if name in ERRORS else "dropped" if name in DROPS else "warning"
    alike = [p for p in found.problems if (p.kind, p.severity) == (kind, severity)]
    assert any(re.search(line, problem.line) for problem in alike), found.problems
    assert all(len(p.line) <= 400 and p.line.isprintable() for p in found.problems)
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("name", [None, *CORPUS])
def test_there_is_an_error_if_and_only_if_training_would_fail(tmp_path, name):
    arguments = make(tmp_path, name)
    found, _ = doctor.examine(*arguments)
    try:
        dataset = load_all(*arguments)
    except DataError as error:
        assert str(error)[:397] in [line[:397] for line in errors(found)]
    else:
        assert not errors(found)
        dropped = {doctor.DROPPED_KINDS[reason]: n for reason, n in dataset.dropped.items()}
        kinds = [p.kind for p in found.problems if p.severity == "dropped"]
        assert {kind: kinds.count(kind) for kind in kinds} == dropped
        assert len(found.entries) == dataset.offsets[-1]


def test_crowds_are_examined_as_objects_when_asked(tmp_path):
    found, _ = doctor.examine(*make(tmp_path, "crowd"), crowds="objects")
    assert len(found.entries) == 3 and not [p for p in found.problems if p.severity != "warning"]
    assert doctor.repair(found)[0]["annotations"][2]["iscrowd"] == 0


@pytest.mark.skipif(not NUCLEI.exists(), reason="needs ../shared")
def test_the_nuclei_have_no_errors(tmp_path):
    paths = NUCLEI / "val/images", NUCLEI / "annotations/val.json"
    options = geometry("mask_rcnn_resnet18_fpn_small")
    found, report = doctor.examine(*paths, anchors=options)
    assert not found.problems
    assert report["instances_per_image"]["total"] == 3475
    assert doctor.repair(found) == (found.content, [])


# Big images, which training reads in tiles


def test_of_images_in_tiles_only_headers_are_read_and_objects_are_counted(tmp_path):
    images, annotations = make(tmp_path)
    tiles = {"tile": 10, "overlap": 4}
    found, report = doctor.examine(images, annotations, tiles=tiles)
    whole, without = doctor.examine(images, annotations)
    assert without["tiles"] is None and found.in_tiles and not whole.in_tiles
    dataset = coco_json(images, annotations, check_images=False)
    counts = cut_into_tiles(dataset, **tiles).counts
    assert report["tiles"] == {"text": counts.report(), **dataclasses.asdict(counts)}
    assert counts.report() in doctor.text(report)
    assert html.escape(counts.report()).replace("\n", "<br>") in doctor.page(report, found)
    too_large = doctor.examine(images, annotations, tiles={"tile": 5000, "overlap": 4})[1]
    assert "the tile is larger than every image" in too_large["tiles"]["text"]


def test_anchors_are_compared_with_the_boxes_in_tiles(tmp_path):
    """Squares of 16 to 46 pixels, once in small images and once in a big one at the same places."""
    reports = []
    anchors = geometry("mask_rcnn_resnet18_fpn_small")
    for big in (False, True):
        images, annotations = [], []
        for k in range(6):
            x, y, side = 20 + 9 * k, 30 + 5 * k, 16 + 6 * k
            left = 200 * k if big else 0  # the tiles begin here
            corners = [
                left + x,
                y,
                left + x + side,
                y,
                left + x + side,
                y + side,
                left + x,
                y + side,
            ]
            entry = {"id": k, "image_id": 0 if big else k, "category_id": 1}
            annotations.append(
                entry | {"bbox": [left + x, y, side, side], "segmentation": [corners]}
            )
            images.append({"id": k, "file_name": f"{k}.npy", "height": 256, "width": 256})
        width = 200 * 5 + 256 if big else 256
        images = [{**images[0], "width": width}] if big else images
        for image in images:
            np.save(tmp_path / image["file_name"], np.zeros([256, width, 3], np.uint8))
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 1, "name": "a"}],
        }
        (tmp_path / "a.json").write_text(json.dumps(content))
        options = {"anchors": anchors, "tiles": {"tile": 256, "overlap": 56}}
        reports.append(doctor.examine(tmp_path, tmp_path / "a.json", **options)[1]["sizes"])
    assert reports[0] == reports[1] and reports[0]["all"]["recall_0.5"] > 0.9


def test_pictures_of_big_images_are_of_the_window_around_a_problem(tmp_path):
    side, mask = 20_000, np.ones([9, 30], bool)  # too large for Pillow
    sparse = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.uint8, (side, side, 3))
    sparse[15_000:15_020, 12_000:12_040] = 200
    outline = encode_region(mask, (15_004, 12_003), side, side)
    entry = {"id": 1, "image_id": 1, "category_id": 7, "segmentation": outline}
    entry["bbox"] = [12_003, 15_004, 20, 9]  # narrower than the mask
    content = {"images": [{"id": 1, "file_name": "big.npy", "height": side, "width": side}]}
    content |= {"annotations": [entry], "categories": [{"id": 7, "name": "seven"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    options = {"tiles": {"tile": 512, "overlap": 64, "empty_tiles": 0}}
    found, report = doctor.examine(tmp_path, tmp_path / "a.json", **options)
    assert "box and mask disagree" in {problem.kind for problem in found.problems}
    encoded = re.search('base64,([^"]*)', doctor.page(report, found))[1]
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
        assert max(picture.size) == 320 and np.asarray(picture.convert("L")).max() > 150
    assert report["tiles"]["objects_whole"] == 1


def test_a_big_image_of_another_size_is_an_error(tmp_path):
    images, annotations = make(tmp_path)
    content = json.loads(annotations.read_text())
    content["images"][0]["width"] += 1
    annotations.write_text(json.dumps(content))
    found, report = doctor.examine(images, annotations, tiles={"tile": 10, "overlap": 4})
    assert [problem.kind for problem in found.problems if problem.severity == "error"] == [
        "size mismatch"
    ]
    assert report["tiles"] is None


def test_a_data_set_in_memory_is_examined_like_files(tmp_path):
    image = np.full((64, 96, 3), 90, np.uint8)
    boxes = [[[4, 5, 44, 51], [4, 5, 4, 51], [4, 5, 144, 51]], []]
    names = {"labels": [[1, 1, 1], []], "class_names": ["a"]}
    dataset = data.from_instances([image, image], boxes=boxes, **names)
    found, report = doctor.examine(dataset)
    lines = {problem.kind: problem.line for problem in found.problems}
    where = "data in memory: annotation image 0, instance"
    assert lines["box without area"].startswith(f"{where} 1: left out")
    assert lines["box outside the image"].startswith(f"{where} 2: bbox reaches beyond")
    assert "only a Faster R-CNN can train on it" in doctor.text(report)
    assert report["severities"]["error"] == 0 and "<img" in doctor.page(report, found)
    content, actions = doctor.repair(found)
    assert len(content["annotations"]) == 2 and len(actions) == 2

    write = {"images": tmp_path / "images", "annotations": tmp_path / "annotations.json"}
    data.write_coco(dataset, tmp_path)
    of_files = doctor.examine(*write.values(), masks=None)[1]
    same = ("counts", "sizes", "classes", "instances_per_image")
    masks = {"counts": {**report["counts"], "annotations": 2}}
    assert {**{k: report[k] for k in same}, **masks} == {k: of_files[k] for k in same}


def test_an_image_in_memory_that_fails_is_an_error():
    class Source:
        size = staticmethod(lambda index: (64, 96))
        annotations = staticmethod(lambda index: {"boxes": [[1, 1, 9, 9]], "labels": ["a"]})

        def __len__(self):
            return 1

        def load_image(self, index):
            raise OSError("away")

    found, report = doctor.examine(data.from_items(Source()))
    assert report["severities"]["error"] == 1
    assert "image 0: load_image(0) failed" in found.problems[0].line
    with pytest.raises(TypeError, match="examine needs a json file, or a data set"):
        doctor.examine("images")
