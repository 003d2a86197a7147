"""Measures how exact mask targets from stored crops are, and how many bytes the crops need.

    python benchmarks/mask_crops.py IMAGES ANNOTATIONS [--mask_sizes=28,56,112] [--rois=2]

Every instance gets `--rois` RoIs with random shifts and scales, and an IoU of 0.5 to 1 with its
box. The script compares targets of 28 x 28 from the crops (`targets.mask_targets`) with targets
from the full-resolution mask (`ops.masks.crop`, the covered share of each cell, cut at 0.5). It
prints one JSON object per mask size: mean IoU, its 1st percentile, and bytes per instance.
"""

import json

import numpy as np
import tensorflow as tf
from absl import app, flags
from pycocotools import mask as mask_api

from keras_maskrcnn import data, targets
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops import masks as mask_ops

FLAGS = flags.FLAGS
flags.DEFINE_list("mask_sizes", ["28", "56", "112"], "Cells per side of the stored crops.")
flags.DEFINE_integer("rois", 2, "RoIs per instance.")
TARGET = 28


def jittered(boxes, size, rng):
    """Returns RoIs, (n, 4) float32, in an image of (height, width); their IoU is 0.5 to 1."""
    rois = np.zeros_like(boxes)
    waiting = np.arange(len(boxes))
    limits = np.array([size[1], size[0]] * 2, np.float32)
    while len(waiting):
        chosen = boxes[waiting]
        sides = np.tile(chosen[:, 2:] - chosen[:, :2], 2)
        moved = chosen + sides * rng.uniform(-0.3, 0.3, chosen.shape)
        rois[waiting] = np.clip(moved, 0, limits)
        iou = np.diag(box_ops.iou(tf.constant(rois[waiting]), tf.constant(chosen)))
        waiting = waiting[iou < 0.5]
    return rois


def agreement(dataset, num_rois, seed=0):
    """Returns the IoU of targets from crops and from whole masks, per RoI that holds a mask."""
    rng, found = np.random.default_rng(seed), []
    for index in range(len(dataset)):
        first, last = dataset.offsets[index], dataset.offsets[index + 1]
        boxes, size = dataset.boxes[first:last], dataset.sizes[index]
        if first == last:
            continue
        crops = dataset.load(index)["masks"]
        masks = [mask_api.decode({"size": size, "counts": c}) for c in dataset.counts[first:last]]
        for _ in range(num_rois):
            rois = jittered(boxes, size, rng)
            ours = targets.mask_targets(
                rois[None], boxes[None], crops[None], np.arange(len(boxes))[None], TARGET
            )[0].numpy()
            for mask, roi, target in zip(masks, rois, ours > 0, strict=True):
                whole = mask_ops.crop(mask, roi, TARGET) >= 128
                if (whole | target).any():
                    found.append((whole & target).sum() / (whole | target).sum())
    return np.array(found)


def main(argv):
    """Prints a line per mask size."""
    _, images, annotations = argv
    for mask_size in map(int, FLAGS.mask_sizes):
        dataset = data.coco_json(images, annotations, mask_size=mask_size, check_images=False)
        found = agreement(dataset, FLAGS.rois)
        line = {"mask_size": mask_size, "rois": len(found), "mean_iou": found.mean()}
        line |= {"p1_iou": np.percentile(found, 1), "bytes": mask_size**2}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    app.run(main)
