import importlib.util
import sys

import pytest
from oracles import Oracle

from keras_maskrcnn import evaluation
from keras_maskrcnn.evaluation.engines import check_engine


@pytest.mark.skipif(
    not importlib.util.find_spec("faster_coco_eval"), reason="needs the extra engine"
)
def test_faster_coco_eval_gives_the_same_numbers(dataset):
    results = evaluation.predict_dataset(Oracle(dataset, noise=4.0), dataset, verbose=0)
    content = dict(dataset.content)
    content["annotations"] = [
        {**a, "iscrowd": int(i % 7 == 3)} for i, a in enumerate(content["annotations"])
    ]
    names = {image["id"]: image["file_name"] for image in content["images"]}
    named = {
        **content,
        "images": [{**image, "id": names[image["id"]]} for image in content["images"]],
        "annotations": [{**a, "image_id": names[a["image_id"]]} for a in content["annotations"]],
    }
    found = [{**r, "image_id": names[r["image_id"]]} for r in results]
    for some, truth, ids in (
        (results, content, None),
        (results, content, dataset.image_ids[:3]),
        (found, named, None),  # ids that are text
        ([], content, None),
    ):
        options = {"image_ids": ids, "category_ids": dataset.category_ids, "per_class": True}
        expected, faster = (
            evaluation.evaluate_results(some, truth, engine=engine, **options)
            for engine in ("pycocotools", "faster_coco_eval")
        )
        assert faster.keys() == expected.keys()
        assert faster == pytest.approx(expected, abs=1e-12, rel=0)


def test_an_engine_that_is_not_there_is_named(monkeypatch):
    with pytest.raises(ValueError, match=r"engine must be one of .* Received: engine='fast'"):
        check_engine("fast")
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(ImportError, match=r"pip install 'keras3-maskrcnn\[engine\]'"):
        check_engine("faster_coco_eval")
