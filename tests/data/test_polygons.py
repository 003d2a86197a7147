"""data/polygons.py: what is sure without drawing is so when it is drawn."""

import array
import json

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn.data import coco, coco_checks, coco_reader
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.polygons import Masks, compact, draw, surely_touch
from keras_maskrcnn.ops import rle


def shapes(rng, count, height, width):
    """Outlines of one or two parts, convex or not, crossing themselves or not, on pixels or not."""
    outlines = []
    for _ in range(count):
        outline = []
        for _ in range(rng.integers(1, 3)):
            spread, corners = rng.uniform(0.3, 20), rng.integers(3, 14)
            points = rng.uniform(0, 1, 2) * [width, height] + rng.normal(0, spread, (corners, 2))
            points = np.clip(points, 0, [width, height])
            for grid in (1, 5):
                if rng.random() < 0.3:
                    points = np.round(points * grid) / grid
            outline.append(compact(points.ravel().tolist()))
        outlines.append(outline)
    return outlines


def extent(outline):
    points = np.concatenate([np.array(part).reshape(-1, 2) for part in outline])
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def test_what_surely_touches_does():
    rng, sure, every = np.random.default_rng(0), 0, 0
    for _ in range(12):
        height, width = rng.integers(5, 120, 2).tolist()
        outlines = shapes(rng, 200, height, width)
        boxes = np.array([extent(outline) for outline in outlines])
        elsewhere = rng.random(len(boxes)) < 0.4
        drawn = np.sort(rng.uniform(0, 1, (len(boxes), 2, 2)) * [width, height], axis=1)
        boxes[elsewhere] = drawn.reshape(-1, 4)[elsewhere]
        kept = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) > coco_checks.MIN_BOX_SIDE
        outlines, boxes = [o for o, k in zip(outlines, kept, strict=True) if k], boxes[kept]
        found = surely_touch(outlines, boxes, np.tile([height, width], [len(boxes), 1]))
        for i in np.flatnonzero(found):
            assert rle.touches(draw(outlines[i], height, width), boxes[i], height, width)
        sure, every = sure + np.count_nonzero(found), every + len(found)
    assert sure > every / 4


@pytest.mark.parametrize("outside", [-0.1, 30.1, float("nan"), float("inf")])
def test_nothing_is_sure_of_points_outside(outside):
    square = [4.0, 4, 14, 4, 14, 14, 4, 14]
    outlines = [[compact(square)], [compact(square), compact([*square, outside, 4])]]
    boxes = np.array([[4.0, 4, 14, 14]] * 2)
    assert surely_touch(outlines, boxes, np.array([[20, 30]] * 2)).tolist() == [True, False]
    assert surely_touch([], np.zeros([0, 4]), np.zeros([0, 2], int)).shape == (0,)


def test_compact_takes_numbers_alone():
    assert compact([1, 2.5]) == array.array("d", [1, 2.5])
    ready = array.array("d", [1])
    assert compact(ready) is ready
    for other in ([], None, "12", ["1"], [None], [[1]], [True], [10**400], {"a": 1}, (1, 2)):
        assert compact(other) is None


def test_masks_are_a_sequence_of_run_lengths():
    square = [4.0, 4, 14, 4, 14, 14, 4, 14]
    counts = draw([square], 20, 30)
    masks = Masks([counts, [compact(square)]], np.array([[20, 30], [20, 30]]))
    assert list(masks) == [counts, counts] == masks[0:2] and masks == [counts, counts]
    assert masks[-1] == counts and masks != [counts, b""] and len(masks) == 2


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_annotations_read_at_once_are_as_those_read_one_by_one(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    sides = [(40, 60), (25, 25), (90, 30)]
    images = []
    for i, (height, width) in enumerate(sides):
        Image.new("L", (width, height)).save(tmp_path / f"{i}.png")
        images.append({"id": 9 - i, "file_name": f"{i}.png", "height": height, "width": width})
    annotations = []
    for i in range(300):
        image = int(rng.integers(3))
        (outline,) = shapes(rng, 1, *sides[image])
        x1, y1, x2, y2 = extent(outline).tolist()
        entry = {
            "id": f"a{i}" if i % 7 == 0 else i,
            "image_id": 9 - image,
            "category_id": 1 + i % 2,
        }
        entry["bbox"] = [x1 - i % 3, y1, x2 - x1, (y2 - y1) * (i % 5 > 0)]
        entry["segmentation"] = [list(part) for part in outline]
        entry["iscrowd"] = [0, 0, 0, None, 1][i % 5]
        if i % 11 == 0:
            entry["segmentation"][0] = [1, 2, 3, 4]
        if i % 13 == 0:
            counts = draw(outline, *sides[image]).decode()
            entry["segmentation"] = {"size": list(sides[image]), "counts": counts}
        if i % 17 == 0:
            entry["bbox"] = [0, 0, 3, 3]
        annotations.append(entry)
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    monkeypatch.setattr(coco_reader, "_AT_ONCE", 64)
    at_once = [coco.coco_json(tmp_path, path), coco.coco_dict(tmp_path, content)]
    none = np.zeros(0, int), np.zeros([0, 4]), np.zeros(0, int), []
    monkeypatch.setattr(
        coco_reader, "_read_regular", lambda chunk, *_: (np.zeros(len(chunk), bool), *none)
    )
    one_by_one = coco.coco_json(tmp_path, path)
    assert one_by_one.dropped.keys() == {
        coco_checks.CROWD,
        coco_checks.NO_AREA,
        coco_checks.NO_POLYGON,
        coco_checks.NO_MASK,
        coco_checks.FEW_POINTS,
    }
    for dataset in at_once:
        for name in ("boxes", "labels", "offsets"):
            ours, theirs = getattr(dataset, name), getattr(one_by_one, name)
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype
        for name in ("annotation_ids", "dropped", "examples", "image_ids", "sizes"):
            assert getattr(dataset, name) == getattr(one_by_one, name)
        assert dataset.counts == one_by_one.counts


def test_lines_of_errors_show_numbers_as_the_file_has_them(tmp_path):
    Image.new("L", (30, 20)).save(tmp_path / "0.png")
    entry = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 2, 1, 2, 2]]}
    content = {
        "images": [{"id": 1, "file_name": "0.png", "height": 20, "width": 30}],
        "annotations": [{**entry, "bbox": [1, 2, 3]}],
        "categories": [{"id": 1, "name": "a"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"Received: bbox=\[1, 2, 3\]\."):
        coco.coco_json(tmp_path, tmp_path / "a.json")
