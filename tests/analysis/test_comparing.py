import json

import pytest

from analysis import made_results
from keras_maskrcnn import analysis
from keras_maskrcnn.data import DataError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    truth = made_results.make(0, images=20)
    results = [made_results.detect(truth, seed, noise) for seed, noise in ((1, 0.12), (2, 0.04))]
    paths = []
    for name, content in (("ann", truth), ("a", results[0]), ("b", results[1])):
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(json.dumps(content))
    return paths


def test_compare_reads_files_and_gives_json(files):
    annotations, a, b = files
    found = analysis.compare(a, b, annotations, resamples=30, verbose=0)
    assert json.loads(json.dumps(found)) == found
    assert (found["image_count"], found["resamples"]) == (20, 30)
    assert {"bbox/AP", "bbox/APs", "bbox/AP/class 2"} <= set(found["metrics"])
    assert found["metrics"]["bbox/AP"]["low"] > 0
    images = found["images"]
    assert len(images["better"]) > len(images["worse"])
    assert len(images["better"]) + len(images["worse"]) + images["unchanged"] == 20
    changes = [entry["change"] for entry in images["better"]]
    assert changes == sorted(changes, reverse=True) and changes[-1] > 0
    again = analysis.compare(a, b, json.loads(annotations.read_text()), resamples=30, verbose=0)
    assert again == found


def test_some_images_and_classes(files):
    annotations, a, b = files
    ids = [image["id"] for image in json.loads(annotations.read_text())["images"]][:5]
    options = {"image_ids": ids, "category_ids": [1, 5], "class_names": ["x", "x"]}
    found = analysis.compare(
        a, b, annotations, resamples=3, score_threshold=0.25, verbose=0, **options
    )
    assert found["image_count"] == 5 and found["score_thresholds"] == {"a": 0.25, "b": 0.25}
    assert {"bbox/AP/x (1)", "bbox/AP/x (5)"} <= set(found["metrics"])


def test_wrong_options_are_named(files):
    annotations, a, b = files
    with pytest.raises(ValueError, match="resamples must be a positive int. Received: .*=0"):
        analysis.compare(a, b, annotations, resamples=0)
    with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\). Received: .*=95"):
        analysis.compare(a, b, annotations, confidence=95)
    with pytest.raises(DataError, match="all results must have a bbox"):
        without = {"image_id": 1, "category_id": 1, "score": 1.0}
        analysis.compare([without], b, annotations)
