import pytest

from analysis.made_sets import CATEGORIES, box, made
from keras_maskrcnn import analysis

A, NEAR, HALF = (0, 0, 10, 10), (0, 0, 10, 9), (0, 0, 10, 4)
B, C = (40, 30, 50, 40), (20, 0, 30, 10)
BACKGROUND = 3


def table(objects, found, threshold=0.0, crowd=None):
    content = {"images": [{"id": 4, "height": 48, "width": 64}], "categories": CATEGORIES}
    place = {"image_id": 4}
    content["annotations"] = [
        {"id": i + 1, **place, "iscrowd": int(i == crowd), "category_id": CATEGORIES[c]["id"],
         **box(*b)}
        for i, (c, b) in enumerate(objects)
    ]  # fmt: skip
    results = [
        {**place, "category_id": CATEGORIES[c]["id"], "score": score, **box(*b)}
        for c, b, score in found
    ]
    matched = analysis.match(results, content)
    return analysis.confusions(matched, matched.assign(0.5), thresholds=[threshold])[0]


@pytest.mark.parametrize(
    ("objects", "found", "threshold", "expected"),
    [
        # Found; of another class; too far away; of nothing; not found.
        ([(0, A)], [(0, NEAR, 0.9)], 0, [(0, 0, 1)]),
        ([(0, A)], [(1, NEAR, 0.9)], 0, [(0, 1, 1)]),
        ([(0, A)], [(1, HALF, 0.9)], 0, [(0, 3, 1), (3, 1, 1)]),
        ([], [(2, A, 0.9)], 0, [(3, 2, 1)]),
        ([(2, A)], [], 0, [(2, 3, 1)]),
        # A second detection of an object is background, of whatever class.
        ([(0, A)], [(0, A, 0.9), (0, NEAR, 0.8)], 0, [(0, 0, 1), (3, 0, 1)]),
        # The right class has the object, also with a lower score than a wrong class.
        ([(0, A)], [(1, A, 0.9), (0, NEAR, 0.8)], 0, [(0, 0, 1), (3, 1, 1)]),
        # Above 0.8 only the wrong one is left.
        ([(0, A)], [(1, A, 0.9), (0, NEAR, 0.8)], 0.85, [(0, 1, 1)]),
        # Of two wrong ones the higher score takes the object.
        ([(0, A)], [(2, A, 0.7), (1, NEAR, 0.8)], 0, [(0, 1, 1), (3, 2, 1)]),
        # Three objects: swapped classes, and one found; a threshold equal to a score keeps it.
        ([(0, A), (1, B), (2, C)], [(1, A, 0.9), (0, B, 0.8), (2, C, 0.5)], 0.5,
         [(0, 1, 1), (1, 0, 1), (2, 2, 1)]),
    ],
)  # fmt: skip
def test_cases_by_hand(objects, found, threshold, expected):
    assert table(objects, found, threshold) == expected


def test_ignored_objects_and_detections_in_them_are_left_out():
    found = [(0, NEAR, 0.9), (1, B, 0.8)]
    assert table([(0, A), (1, B)], found, crowd=0) == [(1, 1, 1)]


def test_sums_are_those_of_the_curves():
    content, results = made(num_images=30, seed=9)
    matched = analysis.match(results, content)
    assignment = matched.assign(0.5)
    every, of_classes = analysis.precision_recall(matched, assignment)
    tables = analysis.confusions(matched, assignment)
    assert len(tables) == 20
    for i in (0, 10):
        right = sum(n for a, b, n in tables[i] if a == b)
        detected = sum(n for _, b, n in tables[i] if b != BACKGROUND)
        assert right / detected == pytest.approx(every.precision[5 * i])
        for k, curve in enumerate(of_classes):
            objects = sum(n for a, _, n in tables[i] if a == k)
            assert objects == curve.objects
