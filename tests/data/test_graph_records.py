"""data/graph_records.py: records that TensorFlow reads alone, equal to what Python reads."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from five_images import assert_equal, numpy
from PIL import Image
from resizing import resizing

from keras_maskrcnn.data import augment, batches, coco_json, origin, tfds_dataset
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.graph_records import stored_image

tfds_coco = pytest.importorskip("keras_maskrcnn.data.tfds_coco")

OLD = Path(__file__).parent / "records_1_0_0"  # written by version 0.1
MASK_SIZE = 14
KINDS = ("png", "jpg", "16 bits", "cmyk.jpg", "gif", "tif", "transparent", "webp")


def pixels_of(i, channels=3, dtype=np.uint8):
    rng = np.random.default_rng(i)
    if dtype == np.float32:
        return rng.normal(size=(30, 41, channels)).astype(np.float32)
    return rng.integers(0, np.iinfo(dtype).max + 1, (30, 41, channels), dtype)


def write_image(folder, i, kind):
    """Writes an image, and returns its name."""
    pixels = Image.fromarray(pixels_of(i))
    if kind == "cmyk.jpg":
        pixels = pixels.convert("CMYK")
    elif kind == "transparent":
        pixels.putalpha(Image.fromarray(pixels_of(i, 1)[..., 0]))
    elif kind == "16 bits":
        pixels = Image.fromarray(pixels_of(i, 1, np.uint16)[..., 0])
    name = (
        f"{i}.{kind.split('.')[-1] if kind in ('jpg', 'cmyk.jpg', 'gif', 'tif', 'webp') else 'png'}"
    )
    pixels.save(folder / name)
    return name


def write_json(folder, names):
    """Writes a json with i % 4 instances in image i; a crowd, one without outline, one outside."""
    images, annotations = [], []
    for i, name in enumerate(names):
        images.append({"id": i + 1, "file_name": name, "height": 30, "width": 41})
        for k in range(i % 4):
            x, y = 3 + 7 * k + i / 10, 4.3 + i
            polygon = [x, y, x + 9.7, y, x + 9.7, y + 11.1, x, y + 8.1]
            entry = {"id": len(annotations) + 1, "image_id": i + 1, "category_id": 1 + k % 2}
            annotations.append({**entry, "bbox": [x, y, 9.7, 11.1], "segmentation": [polygon]})
    if len(annotations) > 8:
        annotations[3]["iscrowd"] = 1
        annotations[6]["segmentation"] = []
        annotations[7]["bbox"] = [-5, 10, 60, 30]
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "train.json").write_text(json.dumps(content))


def build(folder, data_dir, **options):
    splits = {"train": (folder, folder / "train.json")}
    config = tfds_coco.CocoConfig(name="tiny", splits=splits, mask_size=MASK_SIZE, **options)
    builder = tfds_coco.CocoInstances(config=config, data_dir=data_dir)
    builder.download_and_prepare()
    return builder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with an image of each kind and their json."""
    folder = tmp_path_factory.mktemp("source")
    write_json(folder, [write_image(folder, i, kind) for i, kind in enumerate(KINDS)])
    return folder


@pytest.fixture(scope="module")
def builder(source, tmp_path_factory):
    return build(source, tmp_path_factory.mktemp("records"))


def by_python(dataset):
    """The same data set, read by Python functions."""
    return dataclasses.replace(dataset, layout=None)


@pytest.mark.parametrize(
    "augmenting",
    [
        {"canvases": [(32, 48), (64, 64)]},
        pytest.param(
            {"augment": [augment.random_rotate90], "copy_paste": augment.copy_paste},
            marks=pytest.mark.slow,  # tracing takes most of the time
        ),
    ],
)
def test_training_without_python_has_the_batches_of_today(builder, augmenting):
    dataset = tfds_dataset(builder, "train", crowds="ignore")
    options = {"training": True, "seed": 3, **augmenting, **resizing(24, 48)}
    alone = batches(dataset, 3, steps=6, first_step=1, **options)
    today = batches(by_python(dataset), 3, repeat=True, first_step=1, **options)
    assert not origin.calls_python(alone) and origin.calls_python(today)
    assert len(alone) == 5
    found = numpy(alone)
    assert_equal(found, numpy(today.take(5)))
    assert found[0][1]["masks"].any() and "ignored" in found[0][1]


@pytest.mark.parametrize("targets", [True, False])
def test_other_batches_without_python_too(builder, targets):
    dataset = tfds_dataset(builder, "train", crowds="objects", category_ids=[2, 1])
    options = {"training": False, "targets": targets, **resizing(24, 48)}
    alone, today = (batches(d, 3, **options) for d in (dataset, by_python(dataset)))
    assert not origin.calls_python(alone)
    assert_equal(numpy(alone), numpy(today))


@pytest.mark.parametrize(
    ("channels", "dtype", "white"),
    [
        pytest.param(1, "uint8", None, marks=pytest.mark.slow),
        pytest.param(4, "uint16", 4095, marks=pytest.mark.slow),
        (2, "float32", 2.0),
    ],
)
def test_other_bands_and_dtypes_without_python_too(tmp_path, channels, dtype, white):
    for i in range(2):
        np.save(tmp_path / f"{i}.npy", pixels_of(i, channels, np.dtype(dtype).type))
    write_json(tmp_path, ["0.npy", "1.npy"])
    options = {"channels": channels, "image_dtype": dtype, "pixel_max": white}
    dataset = tfds_dataset(build(tmp_path, tmp_path, **options), "train")
    alone, today = (
        batches(d, 2, training=False, **resizing(24, 48)) for d in (dataset, by_python(dataset))
    )
    assert not origin.calls_python(alone)
    assert_equal(numpy(alone), numpy(today))


def test_what_records_do_not_hold_is_read_by_python(builder, source):
    dataset = tfds_dataset(builder, "train")
    assert dataset.mask_size == MASK_SIZE and dataset.in_graph(True) is not None
    other = tfds_dataset(builder, "train", mask_size=7)
    assert other.in_graph(True) is None and other.in_graph(False) is not None
    assert tfds_dataset(builder, "train", masks=False, mask_size=7).in_graph(True) is not None
    assert tfds_dataset(builder, "train", channels=1).in_graph(True) is None

    class Own(type(dataset)):
        """May read images in its own way."""

    fields = {field.name: getattr(dataset, field.name) for field in dataclasses.fields(dataset)}
    assert Own(**fields).in_graph(True) is None
    for options in ({"on_error": "skip"}, {"cache": True}):
        assert origin.calls_python(
            batches(dataset, 2, training=False, **options, **resizing(24, 48))
        )
    assert not hasattr(coco_json(source, source / "train.json"), "in_graph")


def test_records_of_version_1_0_0_are_read_by_folder_and_by_name(tmp_path):
    old = tfds_dataset(OLD / "coco_instances/old/1.0.0", "train")
    assert (len(old), old.mask_size, old.in_graph(True)) == (2, 112, None)
    assert sorted(old.load(i)["masks"].shape for i in (0, 1)) == [(1, 112, 112), (2, 112, 112)]
    assert all(old.load(i)["masks"].min(axis=0).any() for i in (0, 1))
    # The code has a config of this name, and would build 1.1.0.
    shutil.copytree(OLD / "coco_instances/old", tmp_path / "coco_instances/2017")
    named = tfds_dataset("coco_instances/2017", "train", data_dir=tmp_path)
    assert named.image_ids == old.image_ids


def test_shards_may_lie_in_any_file_system_of_tensorflow(builder):
    dataset = tfds_dataset(builder, "train")
    tf.io.gfile.makedirs("ram://records")
    for path in {path for path, *_ in dataset.places}:
        tf.io.gfile.copy(path, f"ram://records/{os.path.basename(path)}", overwrite=True)
    places = [(f"ram://records/{os.path.basename(p)}", *rest) for p, *rest in dataset.places]
    remote = dataclasses.replace(dataset, places=places)
    ours, expected = (
        batches(d, 2, training=False, **resizing(24, 48)) for d in (remote, by_python(dataset))
    )
    assert_equal(numpy(ours), numpy(expected))
    np.testing.assert_array_equal(remote.load_image(0), dataset.load_image(0))


def test_a_shard_that_breaks_after_opening_is_told_in_one_line(source, tmp_path):
    built = build(source, tmp_path)
    dataset = tfds_dataset(built, "train")
    (shard,) = built.data_path.glob("*.tfrecord*")
    content = bytearray(shard.read_bytes())
    content[dataset.places[0][1] + 40] ^= 1
    shard.write_bytes(content)
    with pytest.raises(tf.errors.OpError) as caught:
        numpy(batches(dataset, 2, training=False, **resizing(24, 48)))
    line = origin.data_error(caught.value)
    begin = dataset.places[0][1]  # of the data; TensorFlow counts from where it fails
    assert line.endswith(f"names the file. Received: corrupted record at {begin}.")
    with pytest.raises(DataError, match="tfrecord-00000-of-00001: broken records"):
        tfds_dataset(built, "train")


def test_a_broken_image_is_stored_and_the_set_read_by_python(tmp_path, caplog):
    name = write_image(tmp_path, 0, "png")
    write_json(tmp_path, [name])
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:200])
    dataset = tfds_dataset(build(tmp_path, tmp_path), "train")
    assert "0.png: image cannot be decoded" in caplog.text and "stored as it is" in caplog.text
    assert dataset.in_graph(False) is None
    with pytest.raises(DataError, match="image '?1'?: image cannot be decoded"):
        dataset.load_image(0)


@pytest.mark.parametrize("kind", KINDS)
def test_files_stay_as_they_are_if_tensorflow_reads_the_same(source, kind):
    (path,) = source.glob(f"{KINDS.index(kind)}.*")
    file, exact = stored_image(path, Reading(), False)
    kept = file.getvalue() == path.read_bytes()
    assert exact and kept == (kind not in ("tif", "webp"))
