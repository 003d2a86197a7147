import numpy as np
import pytest

from analysis import made_results
from keras_maskrcnn.analysis.bootstrap import average_precisions, draws, paired_bootstrap
from keras_maskrcnn.analysis.matching import match
from keras_maskrcnn.analysis.resampling import Flags
from keras_maskrcnn.evaluation import evaluate_results


def flags_of(results, truth):
    return Flags(match(results, truth, iou_type="bbox"))


@pytest.fixture(scope="module")
def models():
    truth = made_results.make(0, images=60)
    return truth, [made_results.detect(truth, seed, noise) for seed, noise in ((1, 0.1), (2, 0.05))]


def test_draws_have_as_many_images_as_there_are():
    drawn = draws(50, 200, seed=3)
    assert drawn.shape == (200, 50) and (drawn.sum(axis=1) == 50).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(50), abs=0.4) and drawn.max() > 2
    np.testing.assert_array_equal(drawn, draws(50, 200, seed=3))
    assert (drawn != draws(50, 200, seed=4)).any()


def test_numbers_are_those_of_evaluate_results(models):
    truth, (a, b) = models
    pair = flags_of(a, truth), flags_of(b, truth)
    labels = ["class 0", "class 1", "class 2"]
    found = paired_bootstrap({"bbox": pair}, labels, resamples=40)
    for key, results in (("a", a), ("b", b)):
        expected = evaluate_results(results, truth, iou_types=("bbox",), per_class=True)
        names = [name for name in expected if "/AR" not in name]
        assert sorted(found) == sorted(names)
        for name in names:
            assert found[name][key] == pytest.approx(expected[name], abs=1e-12), name
    entry = found["bbox/AP"]
    assert entry["difference"] == entry["b"] - entry["a"] > 0.1  # less noise
    assert 0 < entry["low"] < entry["difference"] < entry["high"] and entry["p"] == 2 / 41
    assert entry["resamples"] == 40
    back = paired_bootstrap({"bbox": pair[::-1]}, labels, resamples=40)["bbox/AP"]
    assert back["high"] == pytest.approx(-entry["low"]) and back["p"] == entry["p"]


def test_a_model_is_not_better_than_itself(models):
    truth, (a, _) = models
    flags = flags_of(a, truth)
    entry = paired_bootstrap({"bbox": (flags, flags)}, ["x", "y", "z"], resamples=9)["bbox/AP"]
    assert entry["difference"] == entry["low"] == entry["high"] == 0 and entry["p"] == 1


def test_nothing_to_find():
    values = np.full((2, 4, 10), np.nan)
    values[0, 0] = np.linspace(0.9, 0, 10)
    found = average_precisions(values, np.linspace(0.5, 0.95, 10))
    assert found["AP"] == pytest.approx(0.45) and found["AP50"] == 0.9
    assert found["AP75"] == pytest.approx(0.4) and np.isnan(found["APs"])
    truth = made_results.make(0, images=3)
    for annotation in truth["annotations"]:
        annotation["area"] = 100.0
    flags = flags_of([], truth)
    found = paired_bootstrap({"bbox": (flags, flags)}, ["x", "y", "z"], resamples=5)
    assert found["bbox/APl"]["difference"] is found["bbox/APl"]["p"] is None
    assert found["bbox/APl"]["resamples"] == 0
