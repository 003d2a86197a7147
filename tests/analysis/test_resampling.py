import contextlib
import copy
import io

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from analysis import made_results
from keras_maskrcnn.analysis.matching import match
from keras_maskrcnn.analysis.resampling import Flags
from keras_maskrcnn.evaluation.coco_objects import load_annotations, load_results


def flags_of(annotations, results):
    return Flags(match(results, annotations, iou_type="bbox"))


def evaluated(annotations, results):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = load_annotations(annotations, "bbox")
        found = COCOeval(truth, load_results(truth, results, "bbox"), "bbox")
        found.evaluate()
        found.accumulate()
    return found


def of_pycocotools(found):
    """(K, A, T) AP, NaN where pycocotools has -1."""
    precision = found.eval["precision"][..., -1]  # (T, R, K, A)
    values = precision.mean(axis=1)
    return np.where(values > -1, values, np.nan).transpose(1, 2, 0)


def repeated(annotations, results, weights):
    """The data set with each image as often as the weights say, under new ids."""
    images, objects, detections = [], [], []
    for image, weight in zip(annotations["images"], weights, strict=True):
        for _ in range(weight):
            new = {"image_id": len(images) + 1}
            images.append({**image, "id": len(images) + 1})
            for source, target in ((annotations["annotations"], objects), (results, detections)):
                target += [{**x, **new} for x in source if x["image_id"] == image["id"]]
    return {**annotations, "images": images, "annotations": objects}, detections


@pytest.fixture(scope="module")
def made():
    annotations = made_results.make(0)
    return annotations, made_results.detect(annotations, 1)


def test_ap_of_each_image_once_is_that_of_pycocotools(made):
    flags, found = flags_of(*made), evaluated(*made)
    values = flags.average_precision(np.ones(len(flags.image_ids), int))
    expected = of_pycocotools(found)
    assert values.shape == (3, 4, 10) and 0.2 < np.nanmean(expected) < 0.9
    np.testing.assert_allclose(values, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_a_repeated_image_counts_as_often(made, seed):
    annotations, results = made
    flags, count = flags_of(*made), len(annotations["images"])
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count))
    assert weights.min() == 0 and weights.max() > 1
    expected = of_pycocotools(evaluated(*repeated(annotations, results, weights)))
    np.testing.assert_allclose(flags.average_precision(weights), expected, atol=1e-12, rtol=0)


def test_classes_without_objects_or_detections(made):
    annotations, results = copy.deepcopy(made)
    annotations["categories"].append({"id": 20, "name": "nothing"})
    results = [result for result in results if result["category_id"] != 3]
    flags, found = flags_of(annotations, results), evaluated(annotations, results)
    once = np.ones(len(flags.image_ids), int)
    values = flags.average_precision(once)
    assert np.isnan(values[3]).all() and (values[1, 0] == 0).all()
    np.testing.assert_allclose(values, of_pycocotools(found), atol=1e-12, rtol=0)
    assert np.isnan(flags.average_precision(0 * once)).all()
    nothing = flags_of(annotations, []).average_precision(once)
    assert np.nanmax(nothing) == 0 and np.isnan(nothing[3]).all()


def test_detections_of_all_sizes(made):
    annotations, results = made
    flags = flags_of(annotations, results)
    real = [a for a in annotations["annotations"] if not a["iscrowd"]]
    assert flags.objects[:, :, 0].sum() == len(real)
    found = flags.detections
    assert found.score.shape == found.image.shape == (len(results),)
    assert not (found.true & found.false).any()
    assert (found.true.sum(axis=1) <= len(real)).all()
    first = [r["score"] for r in results if r["image_id"] == flags.image_ids[0]]
    assert sorted(found.score[found.image == 0]) == sorted(first)
