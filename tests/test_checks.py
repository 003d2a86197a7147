"""Data that no batch can hold are refused in one line; odd but possible data pass."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from plain_images import PIXELS, batches

import keras_maskrcnn as mrcnn
from keras_maskrcnn import checks

LIMITS = {"num_classes": 3, "masks": True}


def look(inputs, gt):
    """Checks a batch as a training step does, in a graph."""

    @tf.function(autograph=False)
    def step(inputs, gt):
        gt = checks.check_targets(inputs, gt, finite=True, **LIMITS)
        return gt, checks.check_inputs(inputs)

    with checks.plain_errors():
        return step(*tf.nest.map_structure(tf.constant, (inputs, gt)))


def with_sides(boxes):
    """[x1, y1, x2, y2] -> [x, y, width, height]"""
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


WRONG = {
    "xywh": (
        {"boxes": with_sides},
        r"^boxes must be \[x1, y1, x2, y2\] in pixels .* not \[x, y, width, height\]. "
        r"Received: box=\[50 20 40 40\].$",
    ),
    "corners swapped": ({"boxes": lambda x: x[..., [2, 3, 0, 1]]}, r"box=\[40 32 8 8\].$"),
    "boxes 0..1": ({"boxes": lambda x: x / 100}, r"not in 0..1. Received: box=\[0.08 0.08 0.4 0.3"),
    "boxes of a larger image": (
        {"boxes": lambda x: x * 3},
        r"not lie outside of their image. Received: box=\[150 60 270 180\], size=\[64 96\].$",
    ),
    "boxes of NaN": ({"boxes": lambda x: x * np.nan}, "^boxes must be finite. Received"),
    "masks 0/1": (
        {"masks": lambda x: x // 255},
        "^masks must be in 0..255, not in 0..1: multiply them by 255. Received: maximum=1.$",
    ),
    "floats as masks": ({"masks": lambda x: np.float32(x / 255)}, "masks must be in 0..255"),
    "bool as masks": ({"masks": lambda x: x > 0}, "masks must be uint8 .* dtype=bool.$"),
    "masks of whole images": (
        {"masks": lambda x: x[..., :14]},
        r"\(B, G, M, M\). Received: shape=\(2, 3, 28, 14\).$",
    ),
    "labels 0 for all": (
        {"labels": lambda x: x * 0},
        r"^labels must count from 1; .* Received: label=\[0\], box=\[8 8 40 32\].$",
    ),
    "labels from 0": ({"labels": lambda x: np.maximum(x - 1, 0)}, "labels must count from 1"),
    "label -1": ({"labels": lambda x: x - 1}, r"^labels must be in 1..3, 0 in padding. .*\[-1\].$"),
    "label 4 of 3": ({"labels": lambda x: x + 3 * (x == 2)}, r"Received: label=\[5\].$"),
    "float labels": (
        {"labels": lambda x: x.astype(np.float32)},
        "^labels must be whole numbers, int32. Received: dtype=float32.$",
    ),
    "width before height": (
        {"sizes": lambda x: x[:, ::-1]},
        r"^sizes must be the height and width .*sizes=\[96 64\], padded=\[64 96\].$",
    ),
    "no masks": ({"masks": None}, r"masks. A Faster R-CNN .--preset=faster_rcnn_.* Received: .'b"),
    "no labels": ({"labels": None}, r"dict of boxes, labels, masks. Received: \['boxes', 'masks'"),
    "no sizes": ({"sizes": None}, "a dict of images, sizes. Received: .'images', 'original_si"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_batches_are_refused_in_one_line(batch, name):
    changes, line = WRONG[name]
    changed = []
    for part in batch:
        part = {
            k: changes.get(k, lambda x: x)(v) if changes.get(k, 1) else None
            for k, v in part.items()
        }
        changed.append({k: v for k, v in part.items() if v is not None})
    with pytest.raises(ValueError, match=line) as caught:
        look(*changed)
    assert "\n" not in str(caught.value)


def test_a_proposal_that_is_not_finite_is_refused(batch):
    proposals = np.zeros((2, 4, 4), np.float32)
    proposals[1, 2] = [1, 2, np.nan, 4]
    with pytest.raises(ValueError, match=r"^proposals must be finite. .*proposal=\[1 2 nan 4\].$"):
        look({**batch[0], "proposals": proposals}, batch[1])


def test_odd_but_true_batches_pass(batch):
    inputs, gt = batch
    nothing = {name: np.zeros_like(value) for name, value in gt.items()}
    look(inputs, nothing)
    look(inputs, {name: value[:, :0] for name, value in gt.items()})
    look(inputs, {**gt, "masks": np.zeros_like(gt["masks"])})  # only boxes are known
    sliver = np.zeros_like(gt["masks"])
    sliver[0, 0, 3, 4] = 200
    look(inputs, {**gt, "masks": sliver})
    corner = np.zeros_like(gt["boxes"])
    corner[0, 0] = [0, 0, 0.5, 0.4]  # less than a pixel after resizing, in the corner
    one = np.zeros_like(gt["labels"])
    one[0, 0] = 2
    look(inputs, {**gt, "boxes": corner, "labels": one})
    beyond = gt["boxes"].copy()
    beyond[0, 0] = [-3, -3, 99, 70]  # reaches beyond the image
    beyond[0, 1] = [10, 10, 10, 10]  # empty, for instance after a crop
    beyond[1, 0] = [80.3, 10, 80.6, 20]  # the size was rounded from 80.6 pixels to 80
    look(inputs, {**gt, "boxes": beyond})
    found, _ = look(inputs, {**gt, "labels": np.int64(gt["labels"]), "boxes": gt["boxes"] + 0.0})
    assert found["labels"].dtype == tf.int32 and found["boxes"].dtype == tf.float32


@pytest.mark.parametrize(
    ("images", "line"),
    [
        (np.float32(PIXELS / 255), "not in 0..1: multiply them by 255. Received: dtype=float32"),
        (PIXELS / 255, "not in 0..1: multiply them by 255. Received: dtype=float64"),
        (PIXELS / 127.5 - 1, "not in 0..1"),
        ((PIXELS / 255 - 0.45) / 0.22, "not normalized. Received: dtype=float64, minimum=-2"),
        (np.int32(PIXELS) - 100, "RGB in 0..255. Received: dtype=int32, minimum=-100, max"),
        (np.uint16(PIXELS) * 16, "RGB in 0..255. Received: dtype=uint16, minimum=0, maximum=40"),
        (
            np.float32(PIXELS) - 120,
            "without a mean subtracted. Received: dtype=float32, minimum=-1",
        ),
        (np.float32(PIXELS) * 3, "RGB in 0..255. Received: dtype=float32, minimum=0, maximum=765"),
        (np.where(PIXELS > 200, np.nan, PIXELS), "pixels must be finite. Received: dtype=float64"),
        (np.where(PIXELS > 200, np.inf, PIXELS), "pixels must be finite. .* maximum=inf.$"),
        (PIXELS[:, :0], r"at least one pixel. Received: shape=\(2, 0, 48, 3\).$"),
        (PIXELS[0], r"for one image use images\[None\], .* Received: shape=\(32, 48, 3\).$"),
        (
            PIXELS[..., 0],
            r"for gray images make a model with in_channels=1, .* Received: shape=\(2, 32, 48\).$",
        ),
        (PIXELS[..., :1], r"for gray images .* Received: shape=\(2, 32, 48, 1\).$"),
        (np.concatenate([PIXELS, PIXELS], -1)[..., :4], r"images\[..., :3\]. Received: shape=\(2"),
        (PIXELS > 9, "images must be uint8, or float in 0..255. Received: dtype=bool.$"),
        (list(PIXELS), r"one array \(B, H, W, 3\).* Received: a list of 2.$"),
        (Image.fromarray(PIXELS[0]), r"or predict_image\(model, image\). Received: Image.$"),
        ({"images": list(PIXELS)}, r"one array \(B, H, W, 3\).* Received: a list of 2.$"),
        ({"images": PIXELS, "sizes": [[32, 48]] * 2}, "^sizes must be an array. Received: list.$"),
    ],
)
def test_what_no_photograph_can_be_is_refused(images, line):
    with pytest.raises(ValueError, match=line) as caught:
        checks.check_data(images)
    assert "\n" not in str(caught.value)


def test_dark_images_and_a_little_more_than_white_pass():
    dark = np.random.default_rng(0).integers(0, 2, (1, 64, 64, 3), dtype=np.uint8)
    for images in (
        PIXELS,
        dark,
        dark * 0,
        np.float32(dark),
        np.float32(dark) * 0,
        np.int64(PIXELS),
        np.float32(PIXELS) * 1.2 - 20,
        np.float16(PIXELS),
        PIXELS[:0],
        np.float32(PIXELS)[:0],
        (np.float32(PIXELS) + 32) * 1.5,
        (np.float32(PIXELS) - 32) * 1.5,  # the color jitter of mmdetection
        (np.float32(PIXELS) - 128) * 1.5 + 128,
        np.float32(PIXELS) * 0.15 - 32,
        dark * 6.5 - 1.5,  # interpolation goes below 0
    ):
        assert checks.check_data(images) is images
    assert checks.check_data(np.where(PIXELS > 9, np.nan, PIXELS), finite=False) is not None


# Resizing


def shrink(example, seed):
    return example


@pytest.mark.parametrize(
    ("changes", "received"),
    [
        ({}, ""),
        ({"min_side": 800}, "min_side=800."),
        ({"max_side": 1333, "min_side": 800}, "min_side=800, max_side=1333."),
        ({"resize_rule": "torchvision"}, "resize_rule='torchvision'."),
        ({"padding_multiple": 48}, "padding_multiple=48."),
        ({"padding_multiple": 64}, ""),  # a multiple of the model's
        ({"min_side": range(48, 81, 8)}, ""),  # around the model's 64
        ({"min_side": range(640, 801, 32)}, "min_side=[640, 672, 704, 736, 768, 800]."),
        ({"min_side": 80, "augment": [shrink]}, ""),  # rescales images, as large_scale_jitter does
        ({"min_side": 80, "augment": [mrcnn.data.augment.color_jitter]}, "min_side=80."),
        ({"canvases": [(96, 96)], "padding_multiple": 1}, ""),
    ],
)
def test_batches_of_another_size_are_told(tiny_config, changes, received):
    made = batches(tiny_config, **changes)
    for dataset in (made, made.take(1).repeat().prefetch(2), made.map(lambda *batch: batch)):
        line = checks.check_resizing(dataset, tiny_config.resizing())
        assert line.endswith(received) and bool(line) == bool(received)


def test_a_dark_data_set_trains(tiny_config):
    """Its resized batches are floats in 0..1, which is right for dark images."""
    dark = PIXELS % 2
    made = batches(dataclasses.replace(tiny_config, resize_rule="torchvision"), dark)
    images = next(iter(made))[0]["images"].numpy()
    assert images.max() <= 1 and (images != images.round()).any()
    for dataset in (made, made.take(1).repeat(2)):
        assert checks.check_data(dataset) is dataset
    plain = tf.data.Dataset.from_tensors(images)
    with pytest.raises(ValueError, match="not in 0..1"), checks.plain_errors():
        next(iter(checks.check_data(plain)))


# What a data set's images are


class Bands:
    channels, image_dtype, pixel_max = 5, "uint16", 4095.0


@pytest.mark.parametrize(
    ("fields", "whole", "line"),
    [
        ({"in_channels": 5, "image_dtype": "uint16", "pixel_max": 4095}, True, ""),
        ({"in_channels": 5}, False, ""),  # `data.batches` scales them
        ({"in_channels": 4, "image_dtype": "uint16"}, False, "channels=4: .* channels=5.$"),
        (
            {"in_channels": 5, "image_dtype": "uint16"},
            True,
            r"^the data set must have images of the model's pixel_max=65535.0: read it with "
            r"\*\*model.config.reading\(\). Received: pixel_max=4095.0.$",
        ),
    ],
)
def test_images_of_a_data_set_are_those_of_the_model(fields, whole, line):
    reading = mrcnn.MaskRCNNConfig(**fields).reading()
    if not line:
        checks.check_reading(Bands(), reading, whole=whole)
        return
    with pytest.raises(ValueError, match=line):
        checks.check_reading(Bands(), reading, whole=whole)


def test_a_data_set_without_such_attributes_is_rgb():
    checks.check_reading(object(), mrcnn.MaskRCNNConfig().reading(), whole=True)
    with pytest.raises(ValueError, match="channels=1: .* Received: channels=3.$"):
        checks.check_reading(object(), mrcnn.MaskRCNNConfig(in_channels=1).reading())


@pytest.mark.parametrize(
    ("cause", "error", "line"),
    [
        (
            "DataError: a.png: broken. Received: x.",
            mrcnn.DataError,
            r"^a\.png: broken\. Received: x\.$",
        ),
        ("KeyError: 3", RuntimeError, "another worker failed or was lost.* Received: KeyError: 3$"),
        (
            "Socket closed",
            RuntimeError,
            "another worker failed or was lost.* Received: Socket closed$",
        ),
    ],
)
def test_the_failure_of_another_worker_is_one_line(cause, error, line):
    # What TensorFlow 2.21 makes of the error of another worker, in the worker beside it.
    aborted = "Collective ops is aborted by: "
    message = f"Graph execution error:\n\n  step\n{aborted}{aborted}{cause}\nThe error could be\n"
    with pytest.raises(error, match=line), checks.plain_errors():
        raise tf.errors.UnavailableError(None, None, message)
