"""Memory does not grow with 10,000 images, or with 2,000 instances in one image."""

import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from resizing import resizing

from keras_maskrcnn.data import batches, coco_json

pytestmark = pytest.mark.slow
MIB = 2**20


def resident():
    """Returns the bytes of memory that the process holds now."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def squares(count, image_id, first_id, side):
    """Makes annotations of `count` squares of 6 pixels on a grid."""
    annotations = []
    for k in range(count):
        x, y = 8 * k % side, 8 * (8 * k // side)
        annotations.append(
            {
                "id": first_id + k,
                "image_id": image_id,
                "category_id": 1,
                "bbox": [x, y, 6, 6],
                "area": 36,
                "iscrowd": 0,
                "segmentation": [[x, y, x + 6, y, x + 6, y + 6, x, y + 6]],
            }
        )
    return annotations


def write(folder, num_images, side, instances):
    """Writes images of noise and their json; all images share ten files."""
    for i in range(min(num_images, 10)):
        noise = np.random.default_rng(i).integers(0, 256, [side, side, 3], np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    images = [
        {"id": i, "file_name": f"{i % 10}.png", "height": side, "width": side}
        for i in range(num_images)
    ]
    annotations = []
    for i in range(num_images):
        annotations += squares(instances, i, len(annotations), side)
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "square"}]
    (folder / "a.json").write_text(json.dumps(content))
    return coco_json(folder, folder / "a.json", mask_size=28)


def test_memory_does_not_grow_over_10_000_images(tmp_path):
    dataset = write(tmp_path, 10_000, 64, 7)
    assert len(dataset) == 10_000 and len(dataset.labels) == 70_000
    batched = batches(dataset, 10, training=True, **resizing(64, 64))
    sizes = []
    for step, _ in enumerate(batched):
        if step % 100 == 0:
            sizes.append(resident())
    assert step == 999
    # The first 2,000 images fill buffers and the allocator's pools.
    assert max(sizes[2:]) - sizes[2] < 30 * MIB, [size // MIB for size in sizes]


def test_an_image_of_2_000_instances_passes(tmp_path):
    dataset = write(tmp_path, 1, 512, 2000)
    assert dataset.max_instances == 2000
    batched = batches(dataset, 1, training=True, repeat=True, **resizing(512, 512))
    sizes = []
    for inputs, targets in batched.take(30):
        assert inputs["images"].shape == (1, 512, 512, 3)
        assert targets["masks"].shape == (1, 2048, 28, 28)
        assert int(tf.math.count_nonzero(targets["labels"])) == 2000
        sizes.append(resident())
    assert max(sizes[10:]) - sizes[10] < 30 * MIB, [size // MIB for size in sizes]
