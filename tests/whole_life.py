"""What a model must be able to do, whatever its parts: one function for each station of its life.

All compare with what the model itself finds, called without a graph: graphs cost most.
"""

import pathlib
import runpy

import keras
import numpy as np
import tensorflow as tf

import keras_maskrcnn as mrcnn
from keras_maskrcnn.explaining import explain
from keras_maskrcnn.model import SHARES

ROOT = pathlib.Path(__file__).resolve().parents[1]


def shapes_set(folder, size=64, count=2):
    """Returns a small data set of shapes of three classes, drawn by examples/shapes.py."""
    make_shapes = runpy.run_path(str(ROOT / "examples" / "shapes.py"))["make_shapes"]
    make_shapes(folder, train=1, val=count, size=size)
    return mrcnn.data.coco_json(folder / "val", folder / "annotations" / "val.json")


def train(model, batch, steps=2, rate=0.01, **options):
    """Trains some steps with `fit`. Returns the losses, and how much each weight changed."""
    if not model.compiled:
        model.compile(mrcnn.training.sgd(rate, warmup_steps=0), **options)
    before = model.get_weights()
    batches = tf.data.Dataset.from_tensors(batch).repeat(steps)
    logs = model.fit(batches, verbose=0).history
    losses = {name: values[-1] for name, values in logs.items() if name not in SHARES}
    assert all(np.isfinite(value) and value > 0 for value in losses.values()), losses
    changes = {
        variable.path: np.abs(new.astype(np.float32) - old.astype(np.float32)).max()
        for variable, old, new in zip(model.weights, before, model.get_weights(), strict=True)
    }
    return losses, changes


def unreached(model):
    """Returns the paths of the trained weights that no gradient has reached: without momentum.

    The weights themselves do not tell. A gamma of 1 cannot change by less than 6e-8, and ConvNeXt
    scales the output of each block by 1e-6 at first.
    """
    pairs = zip(model.trainable_variables, model.optimizer.momentums, strict=True)
    return {weight.path for weight, momentum in pairs if not np.asarray(momentum).any()}


def enliven(model, inputs=None):
    """Makes the scores of a barely trained model differ by more than rounding errors.

    `inputs`, a batch, is for deep networks. The values of their maps can grow to thousands, and all
    scores would be 1.
    """
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.7, 1.4, weight.shape))
    maps = [] if inputs is None else model.features(inputs).values()
    spread = max([1.0, *(float(np.std(x)) for x in maps)])
    for weight in model.weights:
        layer = weight.path.split("/")[-2]
        if layer in ("logits", "class_logits", "box_deltas", "deltas"):
            weight.assign(rng.normal(0, 0.1 / spread, weight.shape))


def found_by(model, inputs):
    """Returns what a model finds in a batch, as arrays."""
    return {name: np.asarray(value) for name, value in model(inputs, training=False).items()}


def assert_same(found, expected, atol=1e-4):
    """Checks that all outputs agree."""
    assert set(found) == set(expected)
    assert np.asarray(expected["scores"]).any(), "nothing was found, so nothing can be compared"
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=atol, err_msg=name)


def reload(model, inputs, folder):
    """Saves and loads a .keras file and a weights file. Returns the loaded model."""
    expected = found_by(model, inputs)
    model.save(folder / "model.keras")
    loaded = keras.models.load_model(folder / "model.keras")
    assert_same(found_by(loaded, inputs), expected)
    model.save_weights(folder / "model.weights.h5")
    for variable in loaded.weights:
        variable.assign(tf.zeros_like(variable))
    loaded.load_weights(folder / "model.weights.h5")
    assert_same(found_by(loaded, inputs), expected)
    return loaded


def judge(model, dataset):
    """Evaluates a model, and explains what it did with an image. Returns COCO's metrics."""
    metrics = mrcnn.evaluate(model, dataset, verbose=0)
    assert {"bbox/AP", "segm/AP"} <= set(metrics) and all(map(np.isfinite, metrics.values()))
    rows = explain(model, dataset, 0).objects
    assert len(rows) == dataset.num_instances[0] > 0 and all(row["cause"] for row in rows)
    return metrics


def serve(model, image, folder):
    """Exports a SavedModel, and checks its answer for an image (H, W, C)."""
    model.export(folder / "served", verbose=False)
    signature = tf.saved_model.load(folder / "served").signatures["serving_default"]
    assert_same(signature(images=tf.constant(image[None])), model.predict_on_batch(image[None]))


def run_onnx(model, inputs, path, image_size=None, **tolerance):
    """Exports to ONNX, and checks what onnxruntime finds in a batch."""
    import onnxruntime

    model.export(path, format="onnx", image_size=image_size, batch_size=None, verbose=False)
    session = onnxruntime.InferenceSession(path)
    names = {x.name for x in session.get_inputs()}
    given = {"images": inputs["images"][:1], "sizes": inputs["sizes"][:1]}
    if image_size is None:
        given = {"images": inputs["images"][:1].astype(np.uint8)}
    answers = session.run(None, {name: given[name] for name in given if name in names})
    found = dict(zip((x.name for x in session.get_outputs()), answers, strict=True))
    one = {name: value[:1] for name, value in inputs.items()}
    one["original_sizes"] = one["sizes"]
    assert_same(found, found_by(model, one), **tolerance)


def run_litert(model, inputs, path, image_size, **tolerance):
    """Exports to LiteRT, and checks what TensorFlow's interpreter finds in an image."""
    model.export(path, format="litert", image_size=image_size, verbose=False)
    run = tf.lite.Interpreter(str(path)).get_signature_runner()
    one = {name: value[:1] for name, value in inputs.items()}
    one["original_sizes"] = one["sizes"]
    found = run(images=one["images"], sizes=one["sizes"])
    assert_same(found, found_by(model, one), **tolerance)
