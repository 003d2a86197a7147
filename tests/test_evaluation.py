import contextlib
import dataclasses
import io
import json
import pathlib
import runpy
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_maskrcnn import MaskRCNNConfig, data, evaluation
from keras_maskrcnn.ops import masks as mask_ops

NUM_IMAGES, SLOTS, CATEGORY_IDS = 5, 12, (3, 7, 15)
NAMES = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)
SHAPES = runpy.run_path(str(pathlib.Path(__file__).parents[1] / "examples" / "shapes.py"))


def encode(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


@pytest.fixture
def dataset(tmp_path):
    """A data set of ellipses in images of different heights, and its annotation file."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(NUM_IMAGES):
        height, width = 150 + i, 200
        images.append({"id": 10 * i + 4, "height": height, "width": width, "file_name": f"{i}.png"})
        y, x = np.mgrid[:height, :width] + 0.5
        for side in rng.uniform(12, 110, 4):
            radius = np.array([side, side * rng.uniform(0.6, 1)]) / 2
            center = rng.uniform(radius, np.array([width, height]) - radius)
            mask = ((x - center[0]) / radius[0]) ** 2 + ((y - center[1]) / radius[1]) ** 2 < 1
            segmentation = encode(mask)
            annotation = {
                "id": len(annotations) + 1,
                "image_id": images[-1]["id"],
                "category_id": int(rng.choice(CATEGORY_IDS[:2])),  # none of the third category
                "bbox": coco_mask.toBbox(segmentation).tolist(),
                "segmentation": segmentation,
                "area": float(mask.sum()),
                "iscrowd": 0,
            }
            annotations.append(annotation)
    names = ("cell", "nucleus", "nothing")
    categories = [{"id": i, "name": name} for i, name in zip(CATEGORY_IDS, names, strict=True)]
    path = tmp_path / "annotations.json"
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return types.SimpleNamespace(
        annotations=str(path),
        image_ids=[image["id"] for image in images],
        sizes=[(image["height"], image["width"]) for image in images],
        class_names=names,
        category_ids=CATEGORY_IDS,
        content=content,
    )


@pytest.fixture(autouse=True)
def fake_batches(monkeypatch):
    """Stands in for data.batches: black images; the original height tells which one it is."""

    def batches(
        dataset,
        batch_size,
        *,
        training,
        min_side,
        max_side,
        targets,
        resize_rule,
        padding_multiple,
        proposals,
        max_proposals,
    ):
        assert not training and not targets and (min_side, max_side) == (64, 96)
        assert (resize_rule, padding_multiple) == ("detectron2", 32)
        sizes = np.array(dataset.sizes, np.int32)
        images = np.zeros((len(sizes), 64, 96, 3), np.float32)
        x = {"images": images, "sizes": sizes // 2, "original_sizes": sizes}
        if proposals is not None:
            boxes = [proposals.get(image_id)[0][:max_proposals] for image_id in dataset.image_ids]
            x["proposals"] = np.array(boxes, np.float32)
        return tf.data.Dataset.from_tensor_slices(x).batch(batch_size)

    monkeypatch.setattr(data, "batches", batches, raising=False)


class Oracle(keras.Model):
    """Predicts stored detections, found by the image's height; counts how often it is traced."""

    def __init__(self, dataset, detections_per_image=100, noise=0.0, empty=False):
        super().__init__()
        self.config = MaskRCNNConfig(
            num_classes=3,
            image_min_side=64,
            image_max_side=96,
            detections_per_image=detections_per_image,
        )
        rng = np.random.default_rng(1)
        stored = {
            "boxes": np.zeros((NUM_IMAGES, SLOTS, 4), np.float32),
            "scores": np.zeros((NUM_IMAGES, SLOTS), np.float32),
            "labels": np.zeros((NUM_IMAGES, SLOTS), np.int32),
            "masks": np.zeros((NUM_IMAGES, SLOTS, 28, 28), np.float32),
            "num_detections": np.zeros(NUM_IMAGES, np.int32),
        }
        for annotation in () if empty else dataset.content["annotations"]:
            i = dataset.image_ids.index(annotation["image_id"])
            slot = stored["num_detections"][i]
            x, y, w, h = annotation["bbox"]
            box = np.array([x, y, x + w, y + h]) + rng.normal(0, noise, 4)
            mask = coco_mask.decode(annotation["segmentation"])
            stored["boxes"][i, slot] = box
            stored["scores"][i, slot] = 0.9 - 0.05 * slot - 0.001 * i  # no ties
            stored["labels"][i, slot] = CATEGORY_IDS.index(annotation["category_id"]) + 1
            stored["masks"][i, slot] = mask_ops.crop(mask, box, 28) / 255
            stored["num_detections"][i] += 1
        self.stored = tuple(stored.items())
        self.traces = []
        self.built = True

    def predict_step(self, data):
        self.traces.append(data["images"].shape)
        image = data["original_sizes"][:, 0] - 150
        return {name: tf.gather(tf.constant(value), image) for name, value in self.stored}


def summarize(annotations, results, iou_type):
    """What pycocotools itself prints, and the error of a sum if it differs."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotations)
        shape = {"bbox": "bbox", "segm": "segmentation"}[iou_type]
        names = ("image_id", "category_id", "score", shape)
        loaded = truth.loadRes([{name: result[name] for name in names} for result in results])
        coco_eval = COCOeval(truth, loaded, iou_type)
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
    return coco_eval.stats


def test_evaluate_equals_coco_summarize_at_100(dataset):
    model = Oracle(dataset, noise=4.0)
    metrics = evaluation.evaluate(model, dataset, verbose=0)
    results = evaluation.predict_dataset(model, dataset, verbose=0)
    assert len(metrics) == 24 and {type(value) for value in metrics.values()} == {float}
    for iou_type in ("bbox", "segm"):
        stats = summarize(dataset.annotations, results, iou_type)
        assert [metrics[f"{iou_type}/{name}"] for name in NAMES] == stats.tolist()
    assert 0.1 < metrics["bbox/AP"] < 0.95  # the noise makes the comparison worth something


def test_evaluate_of_the_truth_is_near_one(dataset):
    metrics = evaluation.evaluate(Oracle(dataset), dataset, verbose=0)
    assert metrics["bbox/AP"] == pytest.approx(1)
    assert metrics["segm/AP"] > 0.9


def test_evaluate_does_not_depend_on_the_batch_size(dataset):
    model = Oracle(dataset, noise=4.0)
    one = evaluation.evaluate(model, dataset, batch_size=1, verbose=0)
    assert evaluation.evaluate(model, dataset, batch_size=2, verbose=0) == one


def test_annotations_in_memory_are_judged_alike_and_stay_as_they_are(dataset):
    results = evaluation.predict_dataset(Oracle(dataset, noise=4.0), dataset, verbose=0)
    before = json.dumps(dataset.content)
    from_file, from_memory = (
        evaluation.evaluate_results(results, annotations)
        for annotations in (dataset.annotations, dataset.content)
    )
    assert from_memory == from_file and json.dumps(dataset.content) == before


def test_evaluate_traces_once(dataset):
    model = Oracle(dataset)
    evaluation.evaluate(model, dataset, verbose=0)
    evaluation.evaluate(model, dataset, verbose=0)
    assert len(model.traces) == 1


def test_evaluate_under_two_replicas_equals_one(dataset, two_devices):
    expected = evaluation.predict_dataset(Oracle(dataset, noise=4.0), dataset, verbose=0)
    with two_devices.scope():
        model = Oracle(dataset, noise=4.0)
    assert model.distribute_strategy.num_replicas_in_sync == 2
    # Five images: the last step has one for two replicas.
    assert evaluation.predict_dataset(model, dataset, batch_size=1, verbose=0) == expected
    assert evaluation.predict_dataset(model, dataset, batch_size=2, verbose=0) == expected


def test_evaluate_without_detections_is_zero(dataset):
    metrics = evaluation.evaluate(Oracle(dataset, empty=True), dataset, verbose=0)
    assert metrics["bbox/AP"] == metrics["segm/AP"] == metrics["segm/AR100"] == 0


def test_evaluate_counts_the_images_of_the_data_set_only(dataset):
    model = Oracle(dataset)
    dataset.image_ids, dataset.sizes = dataset.image_ids[:2], dataset.sizes[:2]
    assert evaluation.evaluate(model, dataset, verbose=0)["bbox/AR100"] == pytest.approx(1)


def test_evaluate_per_class_names_the_classes(dataset):
    model = Oracle(dataset, noise=4.0)
    metrics = evaluation.evaluate(model, dataset, per_class=True, verbose=0)
    cell, nucleus = metrics["segm/AP/cell"], metrics["segm/AP/nucleus"]
    assert metrics["segm/AP"] == pytest.approx((cell + nucleus) / 2)
    assert metrics["segm/AP/nothing"] == -1


def test_evaluate_warns_when_the_model_returns_fewer(dataset, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: warnings.append(text % args))
    evaluation.evaluate(Oracle(dataset), dataset, verbose=0)
    assert not warnings
    evaluation.evaluate(Oracle(dataset), dataset, max_detections=500, verbose=0)
    assert "at most 100" in warnings[0] and "max_detections=500" in warnings[0]


def test_evaluate_is_silent_or_shows_progress(dataset, capsys):
    evaluation.evaluate(Oracle(dataset), dataset, verbose=0)
    assert capsys.readouterr().out == ""
    evaluation.evaluate(Oracle(dataset), dataset, verbose=1)
    assert "5/5" in capsys.readouterr().out


@pytest.fixture
def broken(dataset, monkeypatch):
    """The data set with its third image unreadable, and batches that read it."""
    made = data.batches

    def load_image(index):
        if index == 2:
            raise data.DataError("2.png: image cannot be decoded.")
        return np.zeros([*dataset.sizes[index], 3], np.uint8)

    class Broken(types.SimpleNamespace):
        def __len__(self):
            return len(self.image_ids)

    def batches(dataset, batch_size, **options):
        assert [dataset.load_image(i).shape for i in range(NUM_IMAGES)] == [
            (*size, 3) for size in dataset.sizes
        ]
        return made(dataset, batch_size, **options)

    monkeypatch.setattr(data, "batches", batches)
    names = [f"{i}.png" for i in range(NUM_IMAGES)]
    return Broken(**vars(dataset), file_names=names, skipped={}, load_image=load_image)


def test_an_image_that_cannot_be_read_is_raised_or_left_out_and_named(broken, caplog):
    oracle = Oracle(broken)
    with pytest.raises(data.DataError, match="2.png"):
        evaluation.evaluate(oracle, broken, verbose=0)
    metrics = evaluation.evaluate(oracle, broken, on_error="skip", batch_size=2, verbose=0)
    assert broken.skipped == {"2.png": 1} and "left out: 2.png" in caplog.text
    results = evaluation.predict_dataset(oracle, broken, on_error="skip", verbose=0)
    others = [image_id for i, image_id in enumerate(broken.image_ids) if i != 2]
    assert sorted({result["image_id"] for result in results}) == others
    ids = dict(image_ids=others, category_ids=CATEGORY_IDS)
    assert metrics == evaluation.evaluate_results(results, broken.annotations, **ids)
    assert metrics["segm/AP"] > 0.9  # the image that was left out does not count as missed


def test_that_no_image_can_be_read_is_an_error(broken, monkeypatch):
    def load_image(index):
        raise data.DataError("broken")

    monkeypatch.setattr(broken, "load_image", load_image)
    with pytest.raises(data.DataError, match="none of 5 images can be read"):
        evaluation.evaluate(Oracle(broken), broken, on_error="skip", verbose=0)


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"max_detections": 10}, {"max_detections": float("nan")}]
)
def test_numbers_are_checked_before_work(dataset, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"{name} must .* Received: {name}="):
        evaluation.evaluate(None, dataset, **wrong)
    with pytest.raises(ValueError, match=rf"{name} must .* Received: {name}="):
        evaluation.CocoEvaluation(dataset, **wrong)


def test_more_than_100_detections_count_when_asked_for(tmp_path):
    boxes = [[x * 10.0, y * 10.0, 8.0, 8.0] for x in range(15) for y in range(10)]
    fields = {"image_id": 1, "category_id": 1}
    annotations = [
        {"id": i + 1, "bbox": box, "area": 64.0, "iscrowd": 0, **fields}
        for i, box in enumerate(boxes)
    ]
    images, categories = [{"id": 1, "height": 100, "width": 150}], [{"id": 1, "name": "cell"}]
    path = tmp_path / "annotations.json"
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    results = [{"bbox": box, "score": 1 - i / 1000, **fields} for i, box in enumerate(boxes)]

    def evaluate(max_detections):
        return evaluation.evaluate_results(
            results, path, max_detections=max_detections, iou_types=("bbox",)
        )

    assert evaluate(100)["bbox/AR100"] == pytest.approx(100 / 150)
    assert evaluate(100)["bbox/AP"] < 0.7
    assert evaluate(500)["bbox/AR500"] == evaluate(500)["bbox/AP"] == pytest.approx(1)
    assert evaluate(500)["bbox/AR10"] == pytest.approx(10 / 150)
    with pytest.raises(ValueError, match="must exceed 10"):
        evaluate(10)


def test_segm_takes_the_area_of_the_mask_not_of_the_box(tmp_path):
    # A wrong detection whose mask is small and whose box is large must count as small.
    images, categories = [{"id": 1, "height": 200, "width": 200}], [{"id": 1, "name": "cell"}]
    mask, diagonal = np.zeros((200, 200), bool), np.eye(200, dtype=bool)
    mask[:10, :10] = True
    fields = {"image_id": 1, "category_id": 1}
    truth = {"id": 1, "bbox": [0, 0, 10, 10], "segmentation": encode(mask), **fields}
    path = tmp_path / "annotations.json"
    content = {"images": images, "annotations": [truth], "categories": categories}
    path.write_text(json.dumps(content))  # without area and iscrowd
    results = [
        {"bbox": [0, 0, 200, 200], "segmentation": encode(diagonal), "score": 0.9, **fields},
        {"bbox": [0, 0, 10, 10], "segmentation": encode(mask), "score": 0.5, **fields},
    ]
    metrics = evaluation.evaluate_results(results, path)
    assert metrics["bbox/APs"] == pytest.approx(1)  # the large box is ignored
    assert metrics["segm/APs"] == pytest.approx(0.5)
    assert "area" not in results[0]  # the results are as before


@pytest.mark.parametrize("outline", [None, [], [[5, 5, 20, 20]], "absent"])
def test_objects_without_outline_are_ignored_as_masks_and_counted_as_boxes(dataset, outline):
    model = Oracle(dataset)
    expected = evaluation.evaluate(model, dataset, verbose=0)
    for i in (0, 7):
        del dataset.content["annotations"][i]["area"]
        dataset.content["annotations"][i]["segmentation"] = outline
        if outline == "absent":
            del dataset.content["annotations"][i]["segmentation"]
    pathlib.Path(dataset.annotations).write_text(json.dumps(dataset.content))
    metrics = evaluation.evaluate(model, dataset, verbose=0)
    assert metrics["bbox/AP"] == expected["bbox/AP"] == pytest.approx(1)
    assert metrics["segm/AP50"] == expected["segm/AP50"] == pytest.approx(1)


def test_ids_may_be_zero_or_strings_and_iscrowd_null(dataset):
    expected = evaluation.evaluate(Oracle(dataset, noise=4.0), dataset, verbose=0)
    dataset.image_ids = [f"image {i}" for i in dataset.image_ids]
    for image in dataset.content["images"]:
        image["id"] = f"image {image['id']}"
    for annotation in dataset.content["annotations"]:
        annotation["image_id"] = f"image {annotation['image_id']}"
        annotation["id"] -= 1  # COCOeval itself misses an object of id 0
        annotation["iscrowd"] = None
    dataset.content["annotations"][3]["id"] = "c"
    pathlib.Path(dataset.annotations).write_text(json.dumps(dataset.content))
    assert evaluation.evaluate(Oracle(dataset, noise=4.0), dataset, verbose=0) == expected


def test_categories_that_the_data_set_leaves_out_do_not_count(dataset):
    model = Oracle(dataset, noise=4.0)
    cells = evaluation.evaluate(model, dataset, per_class=True, verbose=0)["segm/AP/cell"]
    dataset.category_ids = CATEGORY_IDS[:1]
    model.config = MaskRCNNConfig(
        image_min_side=64, image_max_side=96, num_classes=3, category_ids=CATEGORY_IDS
    )
    assert evaluation.evaluate(model, dataset, verbose=0)["segm/AP"] == cells


@pytest.fixture
def named(dataset):
    """A model that knows the names of its classes."""
    model = Oracle(dataset)
    model.config = dataclasses.replace(
        model.config, category_ids=CATEGORY_IDS, class_names=tuple(dataset.class_names)
    )
    return model


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


def test_ap_of_each_class_goes_by_the_name_of_the_training(dataset, named):
    content = {**dataset.content, "categories": dataset.content["categories"][:1]}
    dataset.annotations = {
        **content,
        "annotations": [a for a in content["annotations"] if a["category_id"] == CATEGORY_IDS[0]],
    }
    dataset.class_names = [dataset.class_names[0], *map(str, CATEGORY_IDS[1:])]  # as coco_dict does
    metrics = evaluation.evaluate(named, dataset, per_class=True, verbose=0)
    names = {name.removeprefix("bbox/AP/") for name in metrics if name.startswith("bbox/AP/")}
    assert names == set(named.config.class_names)
    twice = dict(class_names=["cell", "cell", "nothing"], category_ids=CATEGORY_IDS)
    content["categories"] = []
    metrics = evaluation.evaluate_results(
        [], dataset.annotations | content, per_class=True, **twice
    )
    ids = CATEGORY_IDS[:2]
    assert {f"bbox/AP/cell ({i})" for i in ids} | {"bbox/AP/nothing"} <= set(metrics)


def test_a_model_of_masks_refuses_boxes_and_no_instance(dataset):
    dataset.has_masks = False
    with pytest.raises(ValueError, match="task='masks' needs masks. Received: .* masks=False"):
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


@pytest.mark.filterwarnings("ignore:Early stopping conditioned")  # epochs without evaluation
def test_callback_writes_into_the_logs_of_later_callbacks(dataset):
    seen = []

    class Reader(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(logs.get("val_segm/AP"))

    class Trained(Oracle):
        def train_step(self, data):
            return {"loss": tf.constant(0.0)}

    model = Trained(dataset)
    model.compile()
    callback = evaluation.CocoEvaluation(dataset, every=2)
    stop = keras.callbacks.EarlyStopping("val_segm/AP", mode="max", patience=9)
    x = np.zeros((2, 1), np.float32)
    history = model.fit(x, epochs=4, verbose=0, callbacks=[callback, Reader(), stop])
    assert seen[0] is None and seen[2] is None and seen[1] == seen[3] > 0.9
    assert history.history["val_segm/AP"] == [seen[1], seen[3]]
    assert stop.best == seen[1]
    assert len(model.traces) == 1


def test_callback_refuses_every_zero(dataset):
    with pytest.raises(ValueError, match="every=0"):
        evaluation.CocoEvaluation(dataset, every=0)


# Proposals


def truth_as_proposals(dataset, noise=0.0):
    """For each image its annotated boxes, moved; best first, without ties between images."""
    rng = np.random.default_rng(2)
    found = {}
    for i, image_id in enumerate(dataset.image_ids):
        annotated = [a for a in dataset.content["annotations"] if a["image_id"] == image_id]
        x, y, w, h = np.array([annotation["bbox"] for annotation in annotated]).T
        boxes = np.stack([x, y, x + w, y + h], axis=1) + rng.normal(0, noise, [len(x), 4])
        found[image_id] = boxes, 0.9 - 0.05 * np.arange(len(x)) - 0.001 * i
    return found


class Proposer(keras.Model):
    """Proposes stored boxes, found by the image's height, with two empty slots behind them."""

    def __init__(self, proposals):
        super().__init__()
        self.config = MaskRCNNConfig(
            task="proposals", image_min_side=64, image_max_side=96, test_proposals=6
        )
        boxes, scores = (np.array(x, np.float32) for x in zip(*proposals.values(), strict=True))
        self.stored = (
            ("boxes", np.pad(boxes, [(0, 0), (0, 2), (0, 0)])),
            ("scores", np.pad(scores, [(0, 0), (0, 2)])),
            ("num_proposals", np.full(len(boxes), boxes.shape[1], np.int32)),
        )
        self.built = True

    def predict_step(self, data):
        image = data["original_sizes"][:, 0] - 150
        return {name: tf.gather(tf.constant(value), image) for name, value in self.stored}


def test_average_recall_of_the_truth_is_one(dataset):
    metrics = evaluation.average_recall(truth_as_proposals(dataset), dataset, verbose=0)
    expected = {"": 1, "s": 1, "m": 1, "l": -1}  # there are no large objects
    names = [f"bbox/AR{size}{limit}" for limit in (100, 1000) for size in expected]
    assert list(metrics) == names
    assert list(metrics.values()) == pytest.approx([*expected.values()] * 2)


def test_average_recall_by_hand(tmp_path):
    images = [{"id": i, "height": 200, "width": 200} for i in (1, 2)]
    objects = [  # image, category, box [x, y, w, h], crowd
        (1, 1, [0, 0, 10, 10], 0),
        (1, 2, [50, 50, 100, 100], 0),
        (2, 1, [0, 0, 20, 20], 0),
        (2, 1, [100, 100, 50, 50], 1),
    ]
    annotations = [
        {"id": i, "image_id": image, "category_id": category, "bbox": box, "iscrowd": crowd}
        for i, (image, category, box, crowd) in enumerate(objects)
    ]
    categories = [{"id": i, "name": str(i)} for i in (1, 2)]
    path = tmp_path / "annotations.json"
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    dataset = types.SimpleNamespace(annotations=str(path), image_ids=(1, 2), category_ids=(1, 2))
    proposals = {
        # IoU 0.62 with the small object: found at 0.50, 0.55, 0.60; then the large one exactly.
        1: (np.array([[0, 0, 10, 6.2], [50, 50, 150, 150]]), np.array([0.9, 0.5])),
        2: (np.zeros([0, 4]), np.zeros(0)),
    }
    metrics = evaluation.average_recall(proposals, dataset, limits=(2, 1), verbose=0)
    expected = {
        "bbox/AR1": 0.3 / 3,
        "bbox/ARs1": 0.3 / 2,
        "bbox/ARm1": -1,
        "bbox/ARl1": 0,
        "bbox/AR2": 1.3 / 3,
        "bbox/ARs2": 0.3 / 2,
        "bbox/ARm2": -1,
        "bbox/ARl2": 1,
    }
    assert metrics == pytest.approx(expected)


def test_average_recall_is_pycocotools_of_all_images_at_once(dataset):
    proposals = truth_as_proposals(dataset, noise=6.0)
    results = [
        {"image_id": i, "category_id": 3, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": float(score)}
        for i, (boxes, scores) in proposals.items()
        for (x1, y1, x2, y2), score in zip(boxes.tolist(), scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(dataset.annotations)
        coco_eval = COCOeval(truth, truth.loadRes(results), "bbox")
        coco_eval.params.useCats, coco_eval.params.maxDets = 0, [2, 4]
        coco_eval.evaluate()
        coco_eval.accumulate()
    expected = coco_eval.eval["recall"][:, 0].mean(axis=0).T.ravel()  # limits, then sizes
    metrics = evaluation.average_recall(proposals, dataset, limits=(2, 4), verbose=0)
    assert list(metrics.values()) == pytest.approx(expected.tolist(), abs=1e-12)
    assert 0.1 < metrics["bbox/AR4"] < 0.9  # the noise makes the comparison worth something


def test_average_recall_wants_every_image_and_positive_limits(dataset):
    proposals = truth_as_proposals(dataset)
    with pytest.raises(ValueError, match=r"limits must be positive. Received: limits=\(0, 5\)"):
        evaluation.average_recall(proposals, dataset, limits=(0, 5), verbose=0)
    del proposals[dataset.image_ids[2]]
    with pytest.raises(data.DataError, match="no proposals of 1 images. Received: image_id=24"):
        evaluation.average_recall(proposals, dataset, verbose=0)


def test_propose_writes_what_the_model_proposes(dataset, tmp_path, capsys):
    proposals = truth_as_proposals(dataset, noise=4.0)
    model = Proposer(proposals)
    found = evaluation.propose(model, dataset, tmp_path / "p", batch_size=2)
    assert "5/5" in capsys.readouterr().out
    assert found.image_ids == tuple(dataset.image_ids)
    for image_id, (boxes, scores) in proposals.items():
        read = data.read_proposals(tmp_path / "p").get(image_id)
        np.testing.assert_array_equal(read[0], boxes.astype(np.float32))
        np.testing.assert_array_equal(read[1], scores.astype(np.float32))
    with pytest.raises(FileExistsError):
        evaluation.propose(model, dataset, tmp_path / "p", verbose=0)
    evaluation.propose(model, dataset, tmp_path / "p", overwrite=True, verbose=0)
    assert capsys.readouterr().out == ""


def test_an_image_that_cannot_be_read_has_no_proposals_and_does_not_count(broken, tmp_path):
    oracle = Proposer(truth_as_proposals(broken))
    found = evaluation.propose(oracle, broken, tmp_path / "p", on_error="skip", verbose=0)
    counts = [len(found.get(image_id)[1]) for image_id in broken.image_ids]
    assert counts[2] == 0 and all(counts[:2] + counts[3:])
    recall = evaluation.average_recall(found, broken, verbose=0)
    assert recall == evaluation.evaluate(oracle, broken, on_error="skip", verbose=0)
    assert recall["bbox/AR1000"] == 1


def test_propose_under_two_replicas_equals_one(dataset, two_devices, tmp_path):
    proposals = truth_as_proposals(dataset, noise=4.0)
    one = evaluation.propose(Proposer(proposals), dataset, tmp_path / "one", verbose=0)
    with two_devices.scope():
        model = Proposer(proposals)
    two = evaluation.propose(model, dataset, tmp_path / "two", verbose=0)
    for image_id in proposals:
        for left, right in zip(one.get(image_id), two.get(image_id), strict=True):
            np.testing.assert_array_equal(left, right)


def test_evaluate_of_an_rpn_is_its_average_recall(dataset):
    proposals = truth_as_proposals(dataset, noise=4.0)
    expected = evaluation.average_recall(proposals, dataset, verbose=0)
    assert evaluation.evaluate(Proposer(proposals), dataset, verbose=0) == expected


def test_propose_refuses_a_detector(dataset, tmp_path):
    with pytest.raises(ValueError, match="task='proposals'. Received: task='masks'"):
        evaluation.propose(Oracle(dataset), dataset, tmp_path / "p", verbose=0)
    assert not (tmp_path / "p").exists()


def test_propose_refuses_several_workers(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation.distribution, "worker", lambda strategy: (1, 2))
    with pytest.raises(ValueError, match="by one process. Received: several workers"):
        evaluation.propose(Proposer(truth_as_proposals(dataset)), dataset, tmp_path / "p")


def test_evaluate_hands_proposals_to_the_model(dataset):
    class Echo(Oracle):  # its boxes are the proposals
        def __init__(self, dataset):
            super().__init__(dataset)
            self.config = dataclasses.replace(self.config, proposals="precomputed")

        def predict_step(self, data):
            empty = tf.zeros_like(super().predict_step(data)["boxes"])[:, 4:]
            boxes = tf.concat([data["proposals"], empty], axis=1)
            return {**super().predict_step(data), "boxes": boxes}

    proposals = truth_as_proposals(dataset)
    metrics = evaluation.evaluate(Echo(dataset), dataset, proposals=proposals, verbose=0)
    assert metrics["bbox/AP"] == pytest.approx(1)
    moved = {image_id: (boxes + 300, scores) for image_id, (boxes, scores) in proposals.items()}
    assert evaluation.evaluate(Echo(dataset), dataset, proposals=moved, verbose=0)["bbox/AP"] == 0
    with pytest.raises(ValueError, match="proposals='joint', and some"):
        evaluation.evaluate(Oracle(dataset), dataset, proposals=proposals, verbose=0)


def test_shapes_are_a_valid_data_set(tmp_path):
    SHAPES["make_shapes"](tmp_path / "a", train=6, val=2, size=96, seed=3)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(tmp_path / "a" / "annotations" / "train.json")
    assert len(truth.imgs) == len(list((tmp_path / "a" / "train").glob("*.png"))) == 6
    assert [truth.cats[i]["name"] for i in (3, 7, 8)] == list(SHAPES["CATEGORIES"])
    kinds = {type(annotation["segmentation"]) for annotation in truth.anns.values()}
    assert kinds == {list, dict}  # polygons and run lengths
    for image_id, annotations in truth.imgToAnns.items():
        masks = np.array([truth.annToMask(annotation) for annotation in annotations])
        assert 2 <= len(masks) <= 5, image_id
        for mask, annotation in zip(masks, annotations, strict=True):
            x, y, w, h = annotation["bbox"]
            assert min(x, y) >= 0 and max(x + w, y + h) <= 96
            assert annotation["area"] == mask.sum() > 30
        # Polygons and sampled masks disagree about pixels on the border only.
        assert masks.sum() - masks.any(axis=0).sum() < 0.02 * masks.sum()


def test_shapes_depend_on_the_seed_alone(tmp_path):
    for name, train, seed in (("a", 3, 5), ("b", 4, 5), ("c", 3, 6)):
        SHAPES["make_shapes"](tmp_path / name, train=train, val=0, size=64, seed=seed)
    first = [(tmp_path / name / "train" / "000003.png").read_bytes() for name in "abc"]
    assert first[0] == first[1] != first[2]


def test_shapes_do_not_overwrite(tmp_path):
    (tmp_path / "precious").write_text("")
    with pytest.raises(FileExistsError, match="new or empty"):
        SHAPES["make_shapes"](tmp_path)


def test_annotations_of_windows_are_scored(tmp_path):
    box = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12}
    content = {"images": [{"id": 7, "height": 9, "width": 9}], "annotations": [box]}
    content["categories"] = [{"id": 1, "name": "zwölf"}]
    (tmp_path / "a.json").write_bytes(json.dumps(content, ensure_ascii=False).encode("utf-16"))
    results = [{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1.0}]
    path = str(tmp_path / "a.json")
    metrics = evaluation.evaluate_results(results, path, iou_types=("bbox",))
    assert metrics["bbox/AP"] == pytest.approx(1)


@pytest.mark.parametrize("area", ["12", [12], None, float("nan"), -1])
def test_an_area_that_no_object_can_have_is_the_box_s_or_the_mask_s(area):
    box = {"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4]}
    content = {"images": [{"id": 7, "height": 9, "width": 9}]}
    content["annotations"] = [{"id": 1, "area": area, **box}]
    content["categories"] = [{"id": 1, "name": "cell"}]
    results = [{**box, "score": 1.0}]
    metrics = evaluation.evaluate_results(results, content, iou_types=("bbox",))
    assert metrics["bbox/APs"] == pytest.approx(1)
    del content["annotations"][0]["bbox"]
    with pytest.raises(data.DataError, match="annotations: annotation 1: bbox is missing"):
        evaluation.evaluate_results(results, content, iou_types=("bbox",))


def test_callbacks_that_go_by_a_loss_are_told_of_an_ap(dataset, caplog):
    caplog.set_level("WARNING", logger="absl")
    checkpoint = keras.callbacks.ModelCheckpoint
    evaluation.CocoEvaluation(dataset).look_at_others(
        [
            keras.callbacks.EarlyStopping(restore_best_weights=True),
            checkpoint("best.keras", save_best_only=True, monitor="val_mask"),
            keras.callbacks.ReduceLROnPlateau(),
            checkpoint("every.keras"),  # which saves in any case
            checkpoint("best.keras", save_best_only=True, monitor="val_segm/AP", mode="max"),
            keras.callbacks.CSVLogger("log.csv"),
        ]
    )
    found = [record.getMessage() for record in caplog.records]
    assert [line.partition(": ")[0] for line in found] == [
        "EarlyStopping(monitor='val_loss')",
        "ModelCheckpoint(monitor='val_mask')",
        "ReduceLROnPlateau(monitor='val_loss')",
    ]
    assert all('take monitor="val_segm/AP"' in line for line in found)
