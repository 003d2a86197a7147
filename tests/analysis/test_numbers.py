import json

import numpy as np
import pytest

from analysis.made_sets import CATEGORIES, made
from keras_maskrcnn import analysis
from keras_maskrcnn.analysis import numbers as numbers_module


def test_a_report_is_json_without_nan():
    content, results = made(num_images=20, seed=12)
    numbers = analysis.report_numbers(results, content, metrics={"segm/AP": 0.5, "segm/APl": -1.0})
    text = json.dumps(numbers, allow_nan=False)
    assert json.loads(text) == numbers
    assert numbers["metrics"] == {"segm/AP": 0.5, "segm/APl": None}
    assert [row["name"] for row in numbers["classes"]] == [c["name"] for c in CATEGORIES]
    assert numbers["data"]["images"] == len(numbers["images"]) == 20
    objects = sum(row["objects"] for row in numbers["classes"])
    assert numbers["all"]["objects"] == objects == sum(i["objects"] for i in numbers["images"])
    assert numbers["data"]["objects"] == objects and numbers["data"]["ignored"] > 0
    assert len(numbers["curves"]["classes"][2]["precision_at_recall"]) == 101
    for kind, count in numbers["errors"]["counts"].items():
        assert sum(row[kind] for row in numbers["errors"]["by_class"]) == count
    threshold = numbers["all"]["best_threshold"]
    wrong = sum(image["wrong"] + image["missed"] for image in numbers["images"])
    rows = numbers["breakdown"]["size"]
    sums = [sum(r[x] for r in rows) for x in ("detections", "correct", "objects", "found")]
    assert numbers["breakdown"]["score_threshold"] == threshold > 0
    assert wrong == sums[0] - sums[1] + sums[2] - sums[3]


def test_nothing_found_and_nothing_annotated():
    content, results = made(num_images=3, seed=13)
    for found, annotations in ([], content), (results, {**content, "annotations": []}):
        numbers = analysis.report_numbers(found, annotations)
        json.dumps(numbers, allow_nan=False)
        assert numbers["all"]["best_threshold"] is None and numbers["stages"] is None
        assert analysis.best_thresholds(numbers) == (0, 0, 0)
    none = analysis.report_numbers([], {**content, "images": [], "annotations": []})
    assert none["counting"]["mean_error"] is None and none["worst"] == []


def test_best_thresholds_come_in_the_order_of_the_labels():
    content, results = made(num_images=30, seed=14)
    numbers = json.loads(json.dumps(analysis.report_numbers(results, content)))
    best = {row["id"]: row["best_threshold"] for row in numbers["classes"]}
    assert len(set(best.values())) == 3
    assert analysis.best_thresholds(numbers, (15, 3, 7)) == (best[15], best[3], best[7])
    numbers["classes"][1]["best_threshold"] = None
    assert analysis.best_thresholds(numbers)[1] == numbers["all"]["best_threshold"]
    with pytest.raises(ValueError, match=r"Received: category_ids=\[8\], the report has \[3, 7"):
        analysis.best_thresholds(numbers, (3, 8))


def test_plain_values():
    value = {1: (np.float32(0.1234567), np.nan, np.int64(3), True, np.arange(2.0), None, "a")}
    assert numbers_module._plain(value) == {"1": [0.123457, None, 3, True, [0.0, 1.0], None, "a"]}


def test_stages_are_counted():
    """By `explaining.summary`, so the causes are those of `explain`."""
    content, results = made(num_images=2, seed=15)
    rows = [{"cause": "found", "limit": None}, {"cause": "no anchor", "limit": None}]
    numbers = analysis.report_numbers(results, content, explanations=[{"objects": rows}])
    assert numbers["stages"] == {"images": 1, "objects": 2, "found": 1, "lost": {"no anchor": 1}}
