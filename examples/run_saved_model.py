"""Runs an exported SavedModel on image files; needs only TensorFlow and NumPy.

    python examples/run_saved_model.py served/1 answers.npz a.png b.jpg ...

It writes the outputs of the signature `serve_image_bytes`: boxes (B, D, 4) in pixels of each image,
scores, labels, masks (B, D, m, m) in their boxes, num_detections.
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf


def main(saved_model, answers, *images):
    """Reads the images, runs the model, and writes its outputs."""
    serve = tf.saved_model.load(saved_model).signatures["serve_image_bytes"]
    encoded = [pathlib.Path(path).read_bytes() for path in images]
    found = serve(image_bytes=tf.constant(encoded))
    assert "keras_maskrcnn" not in sys.modules, "a SavedModel needs no Python of ours"
    np.savez(answers, **{name: value.numpy() for name, value in found.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
