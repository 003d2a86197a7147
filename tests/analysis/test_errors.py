import importlib
import pathlib
import sys
from unittest import mock

import numpy as np
import pytest

from analysis.made_sets import CATEGORIES, box, made
from keras_maskrcnn import analysis
from keras_maskrcnn.analysis.errors import KINDS, MISSED, average_precision

# Beside the repository: pip install --no-deps --target ../keep/tide tidecv==1.0.1
TIDE = pathlib.Path(__file__).resolve().parents[3] / "keep" / "tide"
NAMES = {
    "Cls": "classification",
    "Loc": "localisation",
    "Both": "both",
    "Dupe": "duplicate",
    "Bkg": "background",
    "Miss": MISSED,
    "FalsePos": "false positives",
    "FalseNeg": "false negatives",
}


@pytest.fixture
def tidecv(monkeypatch):
    """The package of TIDE's authors, without what it draws with."""
    if importlib.util.find_spec("tidecv") is None:
        if not TIDE.exists():
            pytest.skip("tidecv is not installed")
        monkeypatch.syspath_prepend(str(TIDE))
    drawing = ("cv2", "appdirs", "pandas", "seaborn", "matplotlib")
    for name in [name for name in drawing if importlib.util.find_spec(name) is None]:
        monkeypatch.setitem(sys.modules, name, mock.MagicMock())
        for module in ("pyplot", "lines"):
            monkeypatch.setitem(sys.modules, f"{name}.{module}", mock.MagicMock())
    yield importlib.import_module("tidecv")
    for name in [name for name in sys.modules if name.split(".")[0] == "tidecv"]:
        del sys.modules[name]


def by_tidecv(tidecv, content, results, iou_type, limit=100):
    """Returns AP, dAP and counts, in our names and shares of 1."""
    truth, found = tidecv.Data("truth", limit), tidecv.Data("found", limit)
    for image in content["images"]:
        truth.add_image(image["id"], image["file_name"])
    for category in content["categories"]:
        truth.add_class(category["id"], category["name"])
    for one in content["annotations"]:
        add = truth.add_ignore_region if one["iscrowd"] else truth.add_ground_truth
        add(one["image_id"], one["category_id"], one["bbox"], one["segmentation"])
    for one in results:
        place = one["image_id"], one["category_id"], one["score"]
        found.add_detection(*place, one["bbox"], one["segmentation"])
    tide = tidecv.TIDE(mode={"segm": tidecv.TIDE.MASK, "bbox": tidecv.TIDE.BOX}[iou_type])
    run = tide.evaluate(truth, found)
    dap = {**tide.get_main_errors()["found"], **tide.get_special_errors()["found"]}
    dap = {NAMES[name]: value / 100 for name, value in dap.items()}
    counts = {NAMES[kind.short_name]: count for kind, count in run.count_errors().items()}
    return run.ap / 100, dap, counts


@pytest.mark.parametrize(
    ("iou_type", "seed", "digits"),
    [
        ("segm", 1, 1),
        ("bbox", 2, 2),
        *(
            pytest.param(iou_type, seed, digits, marks=pytest.mark.slow)
            for iou_type in ("segm", "bbox")
            for seed, digits in ((3, 9), (4, 1), (5, 2))
        ),
    ],
)
def test_numbers_are_those_of_tidecv(tidecv, iou_type, seed, digits):
    """Crowds, equal scores, and images without objects or without detections are among them."""
    content, results = made(num_images=40, seed=seed, digits=digits)
    for limit in (100, 4):
        ap, dap, counts = by_tidecv(tidecv, content, results, iou_type, limit)
        matched = analysis.match(results, content, iou_type=iou_type, max_detections=limit)
        errors = analysis.find_errors(matched)
        assert errors.counts == counts and sum(count > 0 for count in counts.values()) > 4
        assert errors.ap == pytest.approx(ap, abs=1e-12)
        assert errors.dap == pytest.approx(dap, abs=1e-12)


def case(objects, found):
    """Makes a set of one image: objects (class, box) and detections (class, box, score)."""
    content = {"images": [{"id": 4, "height": 48, "width": 64}], "categories": CATEGORIES}
    place = {"image_id": 4, "iscrowd": 0}
    content["annotations"] = [
        {"id": i + 1, **place, "category_id": c, **box(*b)} for i, (c, b) in enumerate(objects)
    ]
    results = [
        {"image_id": 4, "category_id": c, "score": score, **box(*b)} for c, b, score in found
    ]
    return analysis.match(results, content)


A, NEAR, HALF, FAR = (0, 0, 10, 10), (0, 0, 10, 9), (0, 0, 10, 4), (40, 30, 50, 40)


@pytest.mark.parametrize(
    ("found", "kinds", "missed"),
    [
        ([(3, NEAR, 0.9)], ["correct"], 0),
        ([(7, NEAR, 0.9)], ["classification"], 0),
        ([(3, HALF, 0.9)], ["localisation"], 0),
        ([(7, HALF, 0.9)], ["both"], 1),
        ([(3, A, 0.9), (3, NEAR, 0.8)], ["correct", "duplicate"], 0),
        ([(3, FAR, 0.9)], ["background"], 1),
        ([(3, NEAR, 0.9), (7, A, 0.8), (3, HALF, 0.7)],
         ["correct", "classification", "localisation"], 0),
        ([], [], 1),
    ],
)  # fmt: skip
def test_one_object_and_its_detections(found, kinds, missed):
    errors = analysis.find_errors(case([(3, A)], found))
    assert [KINDS[k] for k in errors.kind] == kinds
    assert errors.missed.sum() == errors.counts[MISSED] == missed
    near = [k not in ("background", "both") for k in kinds]
    assert (errors.object >= 0).tolist() == near


def test_the_cost_of_a_kind():
    """Two objects, one found, one found as another class: mending the class gives AP 1."""
    errors = analysis.find_errors(case([(3, A), (3, FAR)], [(3, A, 0.9), (7, FAR, 0.8)]))
    half = 51 / 101  # precision 1 at recalls 0 to 0.5
    assert errors.ap == pytest.approx(half / 2)  # class 7 has a detection, but no object
    assert errors.dap["classification"] == pytest.approx(1 - half / 2)
    assert errors.dap["false negatives"] == pytest.approx(1 / 2 - half / 2)
    assert errors.dap["localisation"] == errors.dap[MISSED] == 0


def test_without_anything_there_is_no_ap():
    errors = analysis.find_errors(case([], []))
    assert errors.ap is None and set(errors.dap.values()) == {None}


def test_ious_out_of_their_range():
    with pytest.raises(ValueError, match="Received: background_iou=0.6, iou=0.5"):
        analysis.find_errors(case([], []), background_iou=0.6)


def test_average_precision_of_a_few():
    assert average_precision(np.array([True, False]), 1) == 1
    assert average_precision(np.array([False, True]), 1) == pytest.approx(0.5)
    assert average_precision(np.array([True]), 0) == 0
