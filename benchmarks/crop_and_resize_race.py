"""Shows that TensorFlow's gradient of CropAndResize loses additions on a CPU with several threads.

    python benchmarks/crop_and_resize_race.py

It computes the gradient for 512 boxes of one map at once, and for one box at a time, where no two
threads add to the map. It prints the differences of five runs as JSON. Because of this fault,
`layers/roi_align.py` has its own gradient (tensorflow/tensorflow#42033).
"""

import json

import numpy as np
import tensorflow as tf
from absl import app

BOXES = 512


def main(_):
    rng = np.random.default_rng(0)
    corner, sides = rng.uniform(0, 0.7, (BOXES, 2)), rng.uniform(0.02, 0.3, (BOXES, 2))
    boxes = np.concatenate([corner, corner + sides], axis=1).astype(np.float32)
    features = tf.constant(rng.normal(size=(1, 128, 128, 256)), tf.float32)
    upstream = rng.normal(size=(BOXES, 14, 14, 256)).astype(np.float32)

    def gradient(part):
        count = len(boxes[part])
        with tf.GradientTape() as tape:
            tape.watch(features)
            zeros = tf.zeros([count], tf.int32)
            out = tf.image.crop_and_resize(features, boxes[part], zeros, [14, 14])
        return tape.gradient(out, features, upstream[part]).numpy().astype(np.float64)

    exact = sum(gradient(slice(i, i + 1)) for i in range(BOXES))
    for _ in range(5):
        error = gradient(slice(None)) - exact
        report = {
            "largest_error_in_spreads": np.max(np.abs(error)) / np.std(exact),
            "relative_error_of_the_norm": np.linalg.norm(error) / np.linalg.norm(exact),
        }
        print(json.dumps({name: round(float(value), 5) for name, value in report.items()}))


if __name__ == "__main__":
    app.run(main)
