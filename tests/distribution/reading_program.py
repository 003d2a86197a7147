"""One of several workers, each of which reads its share: trains, validates, evaluates.

    TF_CONFIG=... python tests/distribution/reading_program.py CONFIG.json DATA OUTPUT DEVICES

Without TF_CONFIG it runs alone, reads everything, and gives the results that the workers must
equal. One image of DATA/broken cannot be read.
"""

import collections
import json
import os
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from keras_maskrcnn import MaskRCNN, MaskRCNNConfig, data, distribution, evaluate, training
from keras_maskrcnn.evaluation import predict_dataset

OPENED = collections.defaultdict(list)  # phase -> names of the images that were opened
PHASE = [None]


def _weights(model):
    return zip(model.weights, model.get_weights(), strict=True)


def note_open(event, arguments):
    """An audit hook: Python calls it for every file that it opens."""
    if event == "open" and PHASE[0] and str(arguments[0]).endswith((".png", ".jpg")):
        OPENED[PHASE[0]].append(str(arguments[0]))


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
    train, val, broken = (
        data.coco_json(f"{folder}/{part}", f"{folder}/annotations/{name}.json")
        for part, name in (("train", "train"), ("val", "val"), ("broken", "val"))
    )
    sys.addaudithook(note_open)
    PHASE[0] = "evaluate"
    results = predict_dataset(model, val, verbose=0)
    PHASE[0] = "skip"
    metrics = evaluate(model, broken, on_error="skip", verbose=0)
    PHASE[0] = "fit"
    # Images of several sizes: no worker knows the padding of the others.
    options = {**model.config.resizing(), "min_side": [48, 64, 80]}
    batches = data.batches(train, 4, training=True, **options)
    canvases = [(64, 64), (80, 64), (96, 96)]
    checked = data.batches(val, 4, training=False, canvases=canvases, **model.config.resizing())
    history = [
        model.fit(batches, epochs=2, validation_data=checked, verbose=0, shuffle=False).history,
        model.fit(batches, verbose=0, shuffle=False).history,  # goes on with the third order
    ]
    PHASE[0] = None
    losses = model.evaluate(checked, verbose=0, return_dict=True)
    np.savez(output / "weights.npz", **{v.path: value for v, value in _weights(model)})
    read = {
        phase: {"opens": len(names), "bytes": sum(map(os.path.getsize, names))}
        for phase, names in OPENED.items()
    }
    found = dict(results=results, metrics=metrics, history=[*history, losses], read=read)
    (output / "found.json").write_text(json.dumps({**found, "skipped": broken.skipped}))
    distribution.gather(strategy, [None])  # a worker that ended earlier would look like a crash


if __name__ == "__main__":
    main(*sys.argv[1:])
