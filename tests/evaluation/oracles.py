"""Models that predict given boxes, and helpers for them."""

import keras
import numpy as np
import tensorflow as tf
from pycocotools import mask as coco_mask

from keras_maskrcnn import MaskRCNNConfig
from keras_maskrcnn.ops import masks as mask_ops

NUM_IMAGES, SLOTS, CATEGORY_IDS = 5, 12, (3, 7, 15)


def encode(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


class Oracle(keras.Model):
    """Predicts stored detections, which it finds by the image's height. Counts its traces."""

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


class Proposer(keras.Model):
    """Proposes stored boxes, which it finds by the image's height, and two empty slots."""

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


def truth_as_proposals(dataset, noise=0.0):
    """Returns the annotated boxes of each image, moved, best first, without ties between images."""
    rng = np.random.default_rng(2)
    found = {}
    for i, image_id in enumerate(dataset.image_ids):
        annotated = [a for a in dataset.content["annotations"] if a["image_id"] == image_id]
        x, y, w, h = np.array([annotation["bbox"] for annotation in annotated]).T
        boxes = np.stack([x, y, x + w, y + h], axis=1) + rng.normal(0, noise, [len(x), 4])
        found[image_id] = boxes, 0.9 - 0.05 * np.arange(len(x)) - 0.001 * i
    return found
