import json

import pytest

from keras_maskrcnn.data import DataError
from keras_maskrcnn.evaluation.result_lists import read_result_list, shared_types

ANNOTATIONS = {
    "images": [{"id": 7, "file_name": "a/b.png", "height": 4, "width": 5}],
    "categories": [{"id": 2, "name": "cell"}],
}
RESULT = {"image_id": 7, "category_id": 2, "score": 0.5, "bbox": [0, 0, 2, 2]}


def test_results_of_predict_get_their_image_id(tmp_path):
    named = {key: value for key, value in RESULT.items() if key != "image_id"}
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps([{**named, "file_name": "a\\b.png"}]))
    assert read_result_list(path, ANNOTATIONS) == [RESULT]
    assert read_result_list([RESULT], ANNOTATIONS) == [RESULT]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 8}, "image_id must be in the annotations. Received: image_id=8"),
        ({"category_id": None}, "category_id must be in the annotations"),
        ({"score": float("nan")}, "score must be a finite number. Received: score=nan"),
        ({"score": "0.5"}, "score must be a finite number"),
        ({"segmentation": {"size": [4, 5], "counts": [99]}}, "counts must be run lengths"),
        ({"bbox": None}, "bbox is missing"),
    ],
)
def test_wrong_results_are_named(change, message):
    with pytest.raises(DataError, match=rf"results_a: results\[1\].*{message}"):
        read_result_list([RESULT, {**RESULT, **change}], ANNOTATIONS, "results_a", needed=["bbox"])


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "ann.json"
    path.write_text(json.dumps(ANNOTATIONS))
    with pytest.raises(DataError, match="ann.json: a list of results is expected"):
        read_result_list(path, ANNOTATIONS)
    with pytest.raises(DataError, match=r"no such image. Received: file_name='c.png'"):
        read_result_list([{"file_name": "c.png"}], ANNOTATIONS)
    with pytest.raises(DataError, match=r"results\[0\] must be a dict"):
        read_result_list([3], ANNOTATIONS)


def test_types_that_all_results_have():
    mask = {**RESULT, "segmentation": {}}
    assert shared_types([mask], [mask, mask]) == ["bbox", "segm"]
    assert shared_types([mask], [RESULT]) == ["bbox"] and shared_types([], [RESULT]) == ["bbox"]
