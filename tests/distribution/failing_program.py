"""One of several workers, in one of which an image cannot be read: all must name it and end.

    TF_CONFIG=... python tests/distribution/failing_program.py CONFIG.json DATA OUTPUT DEVICES

Without TF_CONFIG it runs alone. The second image of DATA/broken cannot be read, nor the sixth of
DATA/spoiled.
"""

import json
import os
import pathlib
import sys
import time

import keras

from keras_maskrcnn import MaskRCNN, MaskRCNNConfig, data, distribution, training
from keras_maskrcnn.evaluation import predict_dataset

FOUND = {"seconds": {}}


def note_failure(name, call, *args, **options):
    """Writes down the error of a call, or None, and how long the call took."""
    start, FOUND[name] = time.time(), None
    try:
        call(*args, **options)
    except Exception as error:
        FOUND[name] = [type(error).__name__, str(error)]
    FOUND["seconds"][name] = time.time() - start


def main(config, folder, output, devices):
    """Writes found.json into OUTPUT."""
    config, output = json.loads(pathlib.Path(config).read_text()), pathlib.Path(output)
    output.mkdir()
    strategy = distribution.make_strategy("multi_worker" if "TF_CONFIG" in os.environ else "none")
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = MaskRCNN(MaskRCNNConfig(**config))
        model.compile(training.sgd(0.01, warmup_steps=0), run_eagerly=True)
    val, broken, spoiled = (
        data.coco_json(f"{folder}/{part}", f"{folder}/annotations/{name}.json")
        for part, name in (("val", "val"), ("broken", "val"), ("spoiled", "train"))
    )
    # The first worker has two of the three images, and twice as many tiles.
    tiles = {"tile": 48, "verbose": 0}
    FOUND["tiles"] = predict_dataset(model, val, **tiles)
    note_failure("by_tiles", predict_dataset, model, broken, **tiles)
    note_failure("evaluate", predict_dataset, model, broken, verbose=0)
    model.run_eagerly = False  # errors of a graph look different
    batches = data.batches(spoiled, 4, training=True, shuffle=False, **model.config.resizing())
    note_failure("fit", model.fit, batches, verbose=0, shuffle=False)
    (output / "found.json").write_text(json.dumps(FOUND))


if __name__ == "__main__":
    main(*sys.argv[1:])
