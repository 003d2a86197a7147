import dataclasses
import types

import numpy as np
import pytest
from oracles import CATEGORY_IDS, NUM_IMAGES, Oracle

import keras_maskrcnn as mrcnn
from keras_maskrcnn import data, evaluation


def test_the_same_id_with_another_name_is_refused_before_any_work(dataset, named):
    evaluation.evaluate(named, dataset, verbose=0)
    traces = len(named.traces)
    dataset.class_names = [*dataset.class_names[1::-1], *dataset.class_names[2:]]
    first, second = named.config.class_names[:2]
    line = f"category {CATEGORY_IDS[0]} was {first!r} in training.* name={second!r}"
    callback = evaluation.CocoEvaluation(dataset)
    callback.set_model(named)
    for call in (
        lambda: evaluation.evaluate(named, dataset, verbose=0),
        callback.on_train_begin,
    ):
        with pytest.raises(data.DataError, match=line):
            call()
    assert len(named.traces) == traces
    with pytest.raises(data.DataError, match=f"was {second!r} in training.* name={first!r}"):
        evaluation.evaluate_results(
            [], dataset.annotations, class_names=dataset.class_names, category_ids=CATEGORY_IDS
        )


def test_a_model_of_masks_refuses_boxes_and_no_instance(dataset):
    dataset.has_masks = False
    with pytest.raises(
        ValueError, match="task='masks' needs masks. A Faster .* Received: .*masks=False"
    ):
        evaluation.evaluate(Oracle(dataset), dataset, verbose=0)
    dataset.num_instances = np.zeros(NUM_IMAGES)
    with pytest.raises(data.DataError, match="no instance is left"):
        evaluation.evaluate(Oracle(dataset), dataset, verbose=0)


def test_a_model_of_more_classes_than_the_data_set_asks_for_its_ids(dataset):
    model = Oracle(dataset)
    model.config = dataclasses.replace(model.config, num_classes=90)
    with pytest.raises(ValueError, match="the model's 90 classes; .* Received: 3 classes"):
        evaluation.evaluate(model, dataset, verbose=0)


def test_objects_of_classes_that_the_model_lacks_ask_for_its_ids(dataset):
    model = Oracle(dataset)
    fields = {"num_classes": 2, "category_ids": CATEGORY_IDS[:2], "class_names": ()}
    model.config = dataclasses.replace(model.config, **fields)
    dataset.category_ids, dataset.labels = CATEGORY_IDS, np.array([1, 3, 2])
    received = f"model.config.category_ids. Received: category_id={CATEGORY_IDS[2]}."
    with pytest.raises(ValueError, match=received):
        evaluation.evaluate(model, dataset, verbose=0)


@pytest.mark.parametrize("passed", ["val.json", None, [{"images": 1}]])
def test_anything_else_than_a_data_set_is_refused_with_what_is_expected(dataset, tmp_path, passed):
    model = Oracle(dataset)
    rpn = Oracle(dataset)
    rpn.config = types.SimpleNamespace(task="proposals")
    for call in (
        lambda: mrcnn.evaluate(model, passed),
        lambda: mrcnn.propose(rpn, passed, tmp_path / "proposals"),
        lambda: mrcnn.average_recall({}, passed),
        lambda: mrcnn.explain(model, passed, 0),
        lambda: mrcnn.CocoEvaluation(passed),
        lambda: evaluation.predict_dataset(model, passed),
    ):
        with pytest.raises(TypeError, match=r"such as data\.coco_json\(.* Received: dataset="):
            call()
