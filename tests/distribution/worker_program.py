"""One of several workers: evaluates, trains, evaluates again, and writes its results.

    TF_CONFIG=... python tests/distribution/worker_program.py CONFIG.json DATA OUTPUT DEVICES

Without TF_CONFIG, it runs alone and gives the results that the workers must equal.
"""

import json
import os
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from keras_maskrcnn import CocoEvaluation, MaskRCNN, MaskRCNNConfig, data, distribution, training
from keras_maskrcnn.evaluation import predict_dataset


def main(config, folder, output, devices):
    """Writes weights.npz and found.json into OUTPUT."""
    config, output = json.loads(pathlib.Path(config).read_text()), pathlib.Path(output)
    output.mkdir()
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * int(devices)
    tf.config.set_logical_device_configuration(cpu, logical)
    strategy = distribution.make_strategy("multi_worker" if "TF_CONFIG" in os.environ else "none")
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = MaskRCNN(MaskRCNNConfig(**config))
        model.compile(training.sgd(0.01, warmup_steps=0, clip_norm=1.0))
    train, val = (
        data.coco_json(f"{folder}/{part}", f"{folder}/annotations/{part}.json")
        for part in ("train", "val")
    )
    results = predict_dataset(model, val, verbose=0)
    batches = data.batches(train, 4, training=True, **model.config.resizing()).map(spoil)
    callbacks = [training.Sentinel("skip", train), CocoEvaluation(val)]
    history = model.fit(batches, epochs=2, callbacks=callbacks, verbose=0, shuffle=False).history
    np.savez(output / "weights.npz", *model.get_weights())
    if distribution.is_chief():
        model.save(output / "model.keras")
    (output / "found.json").write_text(json.dumps([results, history]))
    distribution.gather(strategy, [None])  # a worker that ended earlier would look like a crash


def spoil(inputs, gt):
    """Makes one image of the data set NaN. All workers must skip its step, whichever has it."""
    spoiled = tf.reshape(inputs["indices"] == 3, [-1, 1, 1, 1])
    images = tf.where(spoiled, np.nan, tf.cast(inputs["images"], tf.float32))
    return {**inputs, "images": images}, gt


if __name__ == "__main__":
    main(*sys.argv[1:])
