"""Compares the SavedModel with model.predict, here and in a process without the package."""

import dataclasses
import io
import json
import os
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as coco_mask

import keras_maskrcnn as mrcnn
from keras_maskrcnn import MaskRCNN, MaskRCNNConfig, data
from keras_maskrcnn.export import saved_model, warmup
from keras_maskrcnn.ops import masks as mask_ops

NAMES, IDS = ("cat", "dog", "owl"), (3, 7, 8)
FAMILIES = {
    "fpn": {},
    "c4": dict(
        neck="c4",
        mask_pool_size=7,
        anchor_sizes=(8.0, 16.0, 32.0),
        box_head_layers=0,
        mask_head_convs=0,
    ),
    "boxes": dict(task="boxes"),
    "precomputed": dict(proposals="precomputed"),
}


def make_model(tiny_config, **fields):
    fields = {"score_threshold": 0.0, "class_names": NAMES, "category_ids": IDS, **fields}
    return MaskRCNN(dataclasses.replace(tiny_config, **fields))


@pytest.fixture(scope="module")
def exported(tiny_config, tmp_path_factory):
    """A model, the path of its SavedModel, and its signatures."""
    path = tmp_path_factory.mktemp("served") / "1"
    model = make_model(tiny_config)
    model.export(path, verbose=False)
    return model, path, tf.saved_model.load(path).signatures


@pytest.fixture(scope="module")
def model(exported):
    return exported[0]


@pytest.fixture(scope="module")
def path(exported):
    return exported[1]


@pytest.fixture(scope="module")
def signatures(exported):
    return exported[2]


def picture(height, width, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), reducing_gap=None))


def encoded(image, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def batch_of(model, images, tmp_path):
    """Makes a batch of images of different sizes with `data.batches`."""
    entries = []
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        height, width = image.shape[:2]
        entries.append({"id": i, "file_name": f"{i}.png", "height": height, "width": width})
    content = {"images": entries, "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "empty.json").write_text(json.dumps(content))
    batches = data.batches(
        data.coco_json(tmp_path, tmp_path / "empty.json"),
        len(images),
        training=False,
        targets=False,
        **model.config.resizing(),
    )
    return next(iter(batches))


def mixed(count):
    sizes = [(70, 100), (120, 64), (64, 64), (33, 90), (200, 150)][:count]
    return [picture(*size, seed) for seed, size in enumerate(sizes)]


def served_bytes(signatures, images, **more):
    encoded_images = tf.constant([encoded(image) for image in images])
    return signatures["serve_image_bytes"](image_bytes=encoded_images, **more)


@pytest.mark.parametrize(
    "count", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(5, marks=pytest.mark.slow)]
)
@pytest.mark.usefixtures("eager")
def test_serving_default_equals_predict(model, signatures, count):
    images = np.stack([picture(70, 100, seed) for seed in range(count)])
    found = signatures["serving_default"](images=tf.constant(images))
    assert_same(found, model.predict(images, verbose=0))


@pytest.mark.parametrize(
    "count", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(5, marks=pytest.mark.slow)]
)
@pytest.mark.usefixtures("eager")
def test_image_bytes_of_different_sizes_equal_predict(model, signatures, tmp_path, count):
    batch = batch_of(model, mixed(count), tmp_path)
    assert_same(served_bytes(signatures, mixed(count)), model.predict_on_batch(batch))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.usefixtures("eager")
def test_every_family_equals_predict(tiny_config, tmp_path, family):
    model = make_model(tiny_config, **FAMILIES[family])
    model.export(tmp_path / "1", verbose=False)
    signatures = tf.saved_model.load(tmp_path / "1").signatures
    for count in (1, 2, 5):
        batch, more = batch_of(model, mixed(count), tmp_path), {}
        images = np.stack([picture(70, 100, seed) for seed in range(count)])
        plain = {"images": images}
        if model.config.proposals == "precomputed":
            corners = np.random.default_rng(0).uniform(0, 60, (count, 40, 2, 2)).astype(np.float32)
            boxes = np.sort(corners, axis=2).reshape(count, 40, 4)
            scale = batch["sizes"] / batch["original_sizes"]
            batch = {**batch, "proposals": boxes * np.tile(scale[:, ::-1], 2)[:, None]}
            batch["proposals"] = batch["proposals"].astype(np.float32)
            plain["proposals"], more["proposals"] = boxes, tf.constant(boxes)
        found = signatures["serving_default"](images=tf.constant(images), **more)
        assert_same(found, model.predict_on_batch(plain))
        assert_same(served_bytes(signatures, mixed(count), **more), model.predict_on_batch(batch))


@pytest.mark.parametrize("masks", ["rle", pytest.param("binary", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("eager")
def test_masks_are_pasted_as_predict_image_does(tiny_config, tmp_path, masks):
    model, images = make_model(tiny_config), mixed(2)
    model.export(tmp_path / "1", masks=masks, verbose=False)
    found = served_bytes(tf.saved_model.load(tmp_path / "1").signatures, images)
    expected = model.predict_on_batch(batch_of(model, images, tmp_path))
    assert found["sizes"].numpy().tolist() == [[70, 100], [120, 64]]
    for i, (height, width) in enumerate(found["sizes"].numpy()):
        for j in range(expected["num_detections"][i]):
            region, (top, left) = mask_ops.paste(
                expected["masks"][i, j], expected["boxes"][i, j], height, width
            )
            pasted = np.zeros((height, width))
            pasted[top : top + region.shape[0], left : left + region.shape[1]] = region
            if masks == "rle":
                counts = found["rle"][i, j].numpy()
                binary = coco_mask.decode({"size": [int(height), int(width)], "counts": counts})
            else:
                binary = found["masks"][i, j, :height, :width].numpy()
            # An untrained model's mask probabilities are near 0.5. There the last digits decide,
            # and those of predict and of the graph differ.
            sure = abs(pasted - 0.5) > 1e-4
            assert sure.mean() > 0.5
            np.testing.assert_array_equal(binary[sure], pasted[sure] >= 0.5)
    del expected["masks"], expected["labels"]
    assert_same({name: found[name] for name in expected}, expected)


@pytest.mark.usefixtures("eager")
def test_the_next_request_after_a_bad_one_is_right(model, signatures):
    image = picture(70, 100)
    expected = model.predict(image[None], verbose=0)
    cut = encoded(image, "JPEG")[:-100]
    for image_bytes in ([], [b""], [encoded(image), cut]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="assertion failed: .image_bytes"):
            signatures["serve_image_bytes"](image_bytes=tf.constant(image_bytes, tf.string))
        assert_same(served_bytes(signatures, [image]), expected)
    with pytest.raises(tf.errors.InvalidArgumentError, match="images must hold"):
        signatures["serving_default"](images=tf.zeros([0, 9, 9, 3], tf.uint8))


@pytest.mark.usefixtures("eager")
def test_the_v1_loader_that_tensorflow_serving_uses(model, path):
    image = picture(70, 100)
    expected = model.predict(image[None], verbose=0)
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(path))

        def run(name, **inputs):
            signature = loaded.signature_def[name]
            fed = {signature.inputs[key].name: value for key, value in inputs.items()}
            fetched = {key: tensor.name for key, tensor in signature.outputs.items()}
            return session.run(fetched, fed)

        assert_same(run("serving_default", images=image[None]), expected)
        assert_same(run("serve_image_bytes", image_bytes=[encoded(image)]), expected)
        assert run("describe")["class_names"].tolist() == [b"cat", b"dog", b"owl"]
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"image_bytes\[0\] is empty"):
            run("serve_image_bytes", image_bytes=[b""])


@pytest.mark.usefixtures("eager")
def test_saved_model_cli_runs_it(model, path, tmp_path):
    np.save(tmp_path / "bytes.npy", np.array([encoded(picture(70, 100))]))
    command = [
        pathlib.Path(sys.executable).with_name("saved_model_cli"),
        "run",
        "--dir",
        path,
        "--tag_set",
        "serve",
        "--signature_def",
        "serve_image_bytes",
        "--inputs",
        f"image_bytes={tmp_path / 'bytes.npy'}",
        "--outdir",
        tmp_path / "answer",
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    found = {file.stem: np.load(file) for file in (tmp_path / "answer").iterdir()}
    assert_same(found, model.predict(picture(70, 100)[None], verbose=0))


@pytest.mark.usefixtures("eager")
def test_another_process_needs_only_tensorflow(model, path, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(picture(70, 100)))
    program = """
import sys, numpy as np, tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serve_image_bytes"]
found = serve(image_bytes=tf.constant([open(sys.argv[2], "rb").read()]))
assert not any(name.startswith("keras_maskrcnn") for name in sys.modules)
np.savez(sys.argv[3], **{name: value.numpy() for name, value in found.items()})
"""
    command = [sys.executable, "-c", program, path, tmp_path / "a.png", tmp_path / "out.npz"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    with np.load(tmp_path / "out.npz") as found:
        assert_same(dict(found), model.predict(picture(70, 100)[None], verbose=0))


def test_describe_and_the_file_beside_the_graph_tell_what_is_served(model, path, signatures):
    found = {name: value.numpy() for name, value in signatures["describe"]().items()}
    assert found["class_names"].tolist() == [b"cat", b"dog", b"owl"]
    assert found["category_ids"].tolist() == [3, 7, 8]
    text = (path / "assets.extra" / "model.json").read_text()
    assert found["description"].decode() == text
    content = json.loads(text)
    assert content["class_names"] == ["cat", "dog", "owl"]
    assert content["category_ids"] == [3, 7, 8]
    assert MaskRCNNConfig(**content["config"]) == model.config
    assert content["keras_maskrcnn"] == mrcnn.__version__
    assert (content["masks"], content["max_pixels"]) == ("soft", 178_956_970)


def test_warm_up_requests_are_of_the_size_that_needs_no_resizing(path):
    file = path / "assets.extra" / "tf_serving_warmup_requests"
    image = tf.make_tensor_proto(128, dtype=tf.uint8, shape=[1, 64, 96, 3]).SerializeToString()
    found = [record.numpy() for record in tf.data.TFRecordDataset(str(file))]
    assert [image in record for record in found] == [True, False]


def test_a_folder_with_something_in_it_is_not_overwritten(model, path):
    with pytest.raises(FileExistsError, match="new or empty"):
        model.export(path, verbose=False)


def test_of_two_exports_at_once_one_is_whole_and_the_other_an_error(tmp_path, monkeypatch, model):
    barrier, errors = threading.Barrier(2), []

    def write(signatures, folder):
        os.makedirs(folder)
        barrier.wait(timeout=60)
        pathlib.Path(folder, "saved_model.pb").write_bytes(b"whole")

    def work():
        try:
            model.export(tmp_path / "1", warmup_sizes=(), verbose=False)
        except FileExistsError as error:
            errors.append(str(error))

    monkeypatch.setattr(saved_model, "_write", write)
    monkeypatch.setattr(saved_model, "trace_signatures", lambda *args: {})
    monkeypatch.setattr(saved_model, "inference_function", lambda *args: None)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.listdir(tmp_path) == ["1"]
    assert sorted(os.listdir(tmp_path / "1")) == ["assets.extra", "saved_model.pb"]
    assert len(errors) == 1 and "another process has filled the folder" in errors[0]


def test_an_export_that_fails_leaves_nothing(model, tmp_path, monkeypatch):
    def fill_disk(signatures, folder):
        os.makedirs(folder)
        assert [name.isdigit() for name in os.listdir(tmp_path)] == [False]
        raise OSError("disk is full")

    monkeypatch.setattr(saved_model, "_write", fill_disk)
    with pytest.raises(OSError, match="disk is full"):
        model.export(tmp_path / "1", verbose=False)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": "hard"}, "masks must be one of soft, binary, rle. Received: masks='hard'."),
        ({"max_pixels": 0}, "max_pixels must be positive. Received: max_pixels=0."),
        ({"warmup_sizes": [(0, 5)]}, r"Received: warmup_sizes=\[\(0, 5\)\]"),
        ({"warmup_sizes": [(99, 99)], "max_pixels": 100}, "of at most 100 pixels"),
    ],
)
def test_other_options_are_refused(model, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        model.export(tmp_path / "1", **options)
    assert not os.listdir(tmp_path)


def test_a_model_without_masks_pastes_none(tiny_config, tmp_path):
    with pytest.raises(ValueError, match="masks must be 'soft' for a model without masks"):
        make_model(tiny_config, task="boxes").export(tmp_path / "1", masks="rle")


@pytest.mark.slow
def test_two_exports_of_a_model_give_equal_answers_from_equal_graphs(model, path, tmp_path):
    model.save(tmp_path / "model.keras")
    program = """
import sys, keras, keras_maskrcnn
keras.models.load_model(sys.argv[1]).export(sys.argv[2], verbose=False)
"""
    command = [sys.executable, "-c", program, tmp_path / "model.keras"]
    for name in ("1", "2"):
        subprocess.run([*command, tmp_path / name], check=True, capture_output=True)
    one, two = (tf.saved_model.load(tmp_path / name).signatures for name in ("1", "2"))
    expected = served_bytes(two, mixed(2))
    for name, value in served_bytes(one, mixed(2)).items():
        np.testing.assert_array_equal(value, expected[name])
    for file in ("saved_model.pb", "assets.extra/model.json", f"assets.extra/{warmup.FILE}"):
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()
