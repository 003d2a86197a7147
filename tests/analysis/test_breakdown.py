import numpy as np
import pytest

from analysis.made_sets import CATEGORIES, box, made
from keras_maskrcnn import analysis


def matched_of(objects, found, size=(48, 64)):
    height, width = size
    content = {"images": [{"id": 4, "height": height, "width": width}], "categories": CATEGORIES}
    content["annotations"] = [
        {"id": i + 1, "image_id": 4, "category_id": 3, "iscrowd": 0, **one}
        for i, one in enumerate(objects)
    ]
    results = [{"image_id": 4, "category_id": 3, "score": s, **one} for one, s in found]
    return analysis.match(results, content, iou_type="bbox")


def parts(matched, function, threshold=0.0):
    assignment, errors = matched.assign(0.5), analysis.find_errors(matched)
    return function(matched, assignment, errors, threshold)


def square(x, y, width, height=None):
    height = height or width
    return {"bbox": [x, y, width, height], "area": width * height}


def test_sizes_and_forms():
    objects = [square(0, 0, 31), square(100, 0, 32), square(300, 0, 96), square(0, 200, 10, 40)]
    found = [(square(0, 0, 30), 0.9), (square(300, 0, 96), 0.8), (square(500, 500, 9, 60), 0.7)]
    tables = parts(matched_of(objects, found, (999, 999)), analysis.by_shape, 0.75)
    small, medium, large = tables["size"]
    assert [row["name"] for row in tables["size"]] == ["small", "medium", "large"]
    assert [(row["objects"], row["found"]) for row in tables["size"]] == [(2, 1), (1, 0), (1, 1)]
    assert small["recall"] == 0.5 and small["precision"] == 1 and small["errors"]["missed"] == 1
    assert medium["precision"] is None and large["detections"] == 1
    tall, right, wide = tables["aspect"]
    assert (tall["objects"], right["objects"], wide["objects"]) == (1, 3, 0)
    assert wide["recall"] is None and tall["detections"] == 0  # its score is too low
    tables = parts(matched_of(objects, found, (999, 999)), analysis.by_shape)
    assert tables["aspect"][0]["errors"]["background"] == 1


def test_crowding():
    objects = [square(0, 0, 10), square(5, 0, 10), square(14, 0, 10), square(40, 40, 5)]
    found = [(square(0, 0, 9), 0.9), (square(40, 40, 2), 0.8), (square(300, 300, 9), 0.7)]
    tables = parts(matched_of(objects, found, (999, 999)), analysis.by_crowding)
    assert [row["objects"] for row in tables["neighbors"]] == [1, 2, 1, 0]
    # Box IoUs: 1/3 of the first two; 1/19 of the last two.
    names = {row["name"]: row for row in tables["crowding"]}
    assert {n: row["objects"] for n, row in names.items()} == {
        "alone": 1, "touching": 1, "near": 0, "crowded": 2
    }  # fmt: skip
    assert names["crowded"]["found"] == 1 and names["alone"]["errors"]["localisation"] == 1
    assert sum(row["detections"] for row in tables["crowding"]) == 2  # without background


def test_tables_add_up():
    content, results = made(num_images=30, seed=10)
    matched = analysis.match(results, content)
    assignment = matched.assign(0.5)
    shapes = parts(matched, analysis.by_shape, 0.3)
    kept = ~assignment.ignored & (matched.detections.score >= 0.3)
    for rows in (*shapes.values(), *parts(matched, analysis.by_crowding, 0.3).values()):
        assert sum(row["objects"] for row in rows) == (~matched.objects.ignore).sum()
        assert sum(row["found"] for row in rows) == (kept & (assignment.object >= 0)).sum()
    for rows in shapes.values():
        assert sum(row["detections"] for row in rows) == kept.sum()
        for row in rows:
            wrong = sum(count for kind, count in row["errors"].items() if kind != "missed")
            assert wrong == row["detections"] - row["correct"]


def test_counts_and_overlaps():
    content, results = made(num_images=30, seed=11)
    matched = analysis.match(results, content)
    assignment = matched.assign(0.5)
    numbers, objects, detections = analysis.counting(matched, assignment, 0.5)
    assert objects.sum() == (~matched.objects.ignore).sum() and len(objects) == 30
    error = detections - objects
    assert numbers["mean_error"] == pytest.approx(error.mean())
    assert numbers["root_mean_square_error"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert numbers["exact"] == (error == 0).sum() / 30 > 0
    found = analysis.overlap_distribution(matched)
    best = matched.objects.iou[~matched.objects.ignore]
    assert sum(found["counts"]) + found["without"] == len(best) and found["without"] > 0
    assert found["mean"] == pytest.approx(best[best > 0].mean())
    nothing = analysis.overlap_distribution(matched, 1.1)
    assert nothing["mean"] is None and nothing["without"] == len(best)


def test_an_object_without_height_is_wide():
    flat = {"bbox": [3, 3, 5, 0], "area": 0.0}
    tables = parts(matched_of([flat, {**box(2, 2, 9, 9)}], []), analysis.by_shape)
    assert [row["objects"] for row in tables["aspect"]] == [0, 1, 1]
