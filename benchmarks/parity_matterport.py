"""Measures the effect of each of Matterport's conventions, on the tiny network of tests/golden.

    python benchmarks/parity_matterport.py

It counts Matterport's detections that our model finds too (the same class, IoU > 0.9): with all
conventions, with one of them replaced by the default, and for conventions that are not reproduced.
The network is random, so a change has a larger effect than in a trained one. Then it compares
disc-shaped masks that are pasted by Matterport's rule and by ours, and images that both resize.
"""

import pathlib
import sys
import tempfile

import h5py
import numpy as np

import keras_maskrcnn as mrcnn
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.ops import masks as mask_ops

TESTS = pathlib.Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "golden")]
import make_matterport as oracle  # noqa: E402
from test_matterport import TINY, inputs_of, pixels  # noqa: E402

DEFAULTS = {
    "max-pool padded on all sides": {"stem_pool_same": False},
    "boxes end after their last pixel": {"anchor_rule": "detectron2"},
    "top-k and NMS level by level": {"rpn_joint_nms": False},
    "levels rounded down": {"roi_level_rule": "detectron2"},
    "2 x 2 points per bin, none on corners": {"roi_op": "align"},
    "a detection for every class of a RoI": {"one_class_per_roi": False},
}


def load(arrays, **overrides):
    """Returns our model with Matterport's weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "weights.h5"
        with h5py.File(path, "w") as file:
            for key, value in arrays.items():
                if key.startswith("weights."):
                    file[key.removeprefix("weights.")] = value.astype(np.float32)
        config = {**TINY, "detections_per_image": 100, **overrides}
        model = mrcnn.MaskRCNN.from_preset("mask_rcnn_resnet50_fpn_matterport", **config)
        mrcnn.weights.load_matterport(model, path, verbose=False)
    return model


def found(model, inputs, shift, boxes, labels, scores):
    """Says how many detections have a partner, and the largest change of a partner's score."""
    outputs = model.predict_on_batch(inputs)
    iou = box_ops.iou(boxes, outputs["boxes"][0] + shift).numpy()
    iou = np.where(labels[:, None] == outputs["labels"], iou, 0.0)
    partner = iou.argmax(1)
    (rows,) = np.where(iou.max(1) > 0.9)
    change = np.abs(outputs["scores"][0][partner[rows]] - scores[rows]).max(initial=0.0)
    return f"{len(rows)} of {len(boxes)}, their scores differ by at most {change:.4f}"


def natural(image):
    """Returns an image as our pipeline pads it: in the upper left, to a multiple of 32."""
    height, width = image.shape[:2]
    canvas = np.zeros((1, -(-height // 32) * 32, width, 3), np.float32)
    canvas[0, :height] = image
    sizes = np.array([[height, width]], np.int32)
    return {"images": canvas, "sizes": sizes, "original_sizes": sizes}


def paste_discs(rng, count=300):
    """Prints the mean IoU of Matterport's pasted masks and ours, by `mask_paste` and box size."""
    y, x = (np.mgrid[:28, :28] + 0.5) / 14 - 1
    disc = (1 / (1 + np.exp(12 * (np.hypot(y, x) - 0.8)))).astype(np.float32)
    for low, high in ((8, 32), (32, 96), (96, 300)):
        overlaps = {"detectron2": [], "torchvision": []}
        for _ in range(count):
            sides, corner = rng.uniform(low, high, 2), rng.uniform(10, 50, 2)
            box = np.concatenate([corner, corner + sides])
            window = np.array([0, 0, 1, 1])
            normalized = (box[[1, 0, 3, 2]] - [0, 0, 1, 1]) / 399
            _, (full,) = oracle.unmold(normalized[None], disc[None], window, (400, 400))
            for rule, values in overlaps.items():
                ours = mask_ops.paste_binary(disc, box, 400, 400, rule=rule) > 0
                values.append(np.sum(ours & full) / np.sum(ours | full))
        means = ", ".join(f"{rule} {np.mean(values):.3f}" for rule, values in overlaps.items())
        print(f"mask IoU, boxes of {low} to {high} pixels: {means}")


def resize_pictures(rng):
    """Prints the mean difference of Matterport's resized images and ours, by `resize_rule`."""
    for height, width in ((375, 500), (1500, 2000)):
        image = oracle.picture(rng, height, width)
        channels = np.moveaxis(image.astype(np.float64), -1, 0)
        expected = [oracle.resize_without_antialiasing(c, 768, 1024) for c in channels]
        expected = np.moveaxis(np.array(expected), 0, -1).astype(np.uint8)  # it does not round
        for rule in ("torchvision", "detectron2"):
            error = np.abs(image_ops.resize(image, 800, 1024, rule) - expected).mean()
            print(f"{height} x {width} resized by the rule of {rule}: {error:.2f} gray levels")


def main():
    """Prints the table."""
    data = dict(np.load(TESTS / "golden" / "tiny_matterport.npz"))

    def report(what, model, image, inputs, top=0):
        boxes = pixels(data[f"boxes.{image}"]) + np.float32([0, 0, 1, 1])
        shift = np.float32([0, top, 0, top])
        row = found(model, inputs, shift, boxes, data[f"labels.{image}"], data[f"scores.{image}"])
        print(f"{what}: {row}")

    model = load(data)
    square, wide = inputs_of(data["image.0"]), data["image.1"]
    report("all conventions", model, 0, square)
    for what, overrides in DEFAULTS.items():
        report(what, load(data, **overrides), 0, square)
    report("wide image, centered between black bars", model, 1, inputs_of(wide))
    report("wide image, padded as in our pipeline", model, 1, natural(wide), data["window.1"][0])
    paste_discs(np.random.default_rng(0))
    resize_pictures(np.random.default_rng(0))


if __name__ == "__main__":
    main()
