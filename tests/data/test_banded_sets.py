"""Bands and dtypes through all of `data`: files, data sets, records, tiles and batches."""

import json

import banded
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from resizing import resizing

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data import DataError, batches, coco_json, tfds_dataset
from keras_maskrcnn.data.formats import yolo_seg

KINDS = [
    (1, "uint8", ".png"),
    (1, "uint16", ".png"),
    (3, "uint16", ".png"),
    (4, "uint8", ".png"),
    (5, "uint8", ".npy"),
    (5, "uint16", ".tif"),
    (5, "float32", ".tif"),
    (2, "float32", ".npy"),
]


def open_set(folder, channels, dtype, suffix, **options):
    pixels = banded.write_set(folder, channels, dtype, suffix)
    options = {**banded.reading(channels, dtype), **options}
    return pixels, coco_json(folder, folder / "a.json", mask_size=14, **options)


@pytest.mark.parametrize(("channels", "dtype", "suffix"), KINDS)
def test_a_data_set_keeps_bands_and_dtype(tmp_path, channels, dtype, suffix):
    pixels, dataset = open_set(tmp_path, channels, dtype, suffix)
    assert (dataset.channels, dataset.image_dtype) == (channels, dtype)
    assert dataset.pixel_max == banded.WHITES[dtype]
    for i, expected in enumerate(pixels):
        found = dataset.load(i)["image"]
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)


def test_the_config_says_how_to_read(tmp_path):
    config = MaskRCNNConfig(in_channels=5, image_dtype="uint16", pixel_max=4095)
    banded.write_set(tmp_path, 5, "uint16", ".npy")
    dataset = coco_json(tmp_path, tmp_path / "a.json", **config.reading())
    assert (dataset.channels, dataset.image_dtype, dataset.pixel_max) == (5, "uint16", 4095)


def test_wrong_bands_are_found_when_the_set_is_opened(tmp_path):
    banded.write_set(tmp_path, 5, "uint16", ".npy")
    with pytest.raises(DataError, match=r"0.npy: .*must have 4 bands .* Received: 5 bands."):
        coco_json(tmp_path, tmp_path / "a.json", channels=4, image_dtype="uint16")
    with pytest.raises(DataError, match="0.npy: .* Received: dtype=int16, image_dtype='uint8'"):
        np.save(tmp_path / "0.npy", np.zeros((20, 30, 5), np.int16))
        coco_json(tmp_path, tmp_path / "a.json", channels=5)
    np.save(tmp_path / "0.npy", np.zeros((20, 30, 5), np.uint16))
    np.save(tmp_path / "1.npy", np.zeros((24, 18, 4), np.uint16))
    dataset = coco_json(
        tmp_path, tmp_path / "a.json", channels=5, image_dtype="uint16", on_error="skip"
    )
    assert dataset.skipped == {"1.npy": 1} and len(dataset) == 2


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (5, "uint16"), (2, "float32")])
def test_batches_are_in_units_of_255(tmp_path, channels, dtype):
    pixels, dataset = open_set(tmp_path, channels, dtype, ".npy")
    options = {**resizing(16, 64), "padding_multiple": 8}
    plain, resized = [], []
    for x, _ in batches(dataset, 1, training=False, **options).as_numpy_iterator():
        (height, width), image = x["sizes"][0], x["images"][0]
        assert image.dtype == np.float32 and image.shape[2] == channels
        resized.append(image[:height, :width])
    scale = 255 / banded.WHITES[dtype]
    for i, expected in enumerate(pixels):
        for band in range(channels):
            scaled = Image.fromarray(expected[..., band].astype(np.float32) * np.float32(scale))
            if dtype == "uint8":
                scaled = scaled.convert("L")
            size = resized[i].shape[1::-1]
            plain = np.asarray(scaled.resize(size, Image.Resampling.BILINEAR))
            np.testing.assert_allclose(resized[i][..., band], plain, atol=2e-4)
    fractions = np.concatenate([np.ravel(image % 1) for image in resized])
    assert (fractions == 0).all() == (dtype == "uint8")


def test_batches_have_static_bands(tmp_path):
    _, dataset = open_set(tmp_path, 5, "uint16", ".npy")
    batched = batches(dataset, 3, training=True, canvases=[(32, 32)], **resizing(32, 32))
    assert batched.element_spec[0]["images"].shape == (3, 32, 32, 5)


def test_uint8_rgb_is_what_it_was(tmp_path):
    """Its pixels reach the augmentations as uint8, without a copy in floats."""
    banded.write_set(tmp_path, 3, "uint8", ".png")
    dataset, seen = coco_json(tmp_path, tmp_path / "a.json"), []

    def note(example, seed):
        del seed
        seen.append((example["image"].dtype, example["image"].shape[-1]))
        return example

    batches(dataset, 1, training=True, augment=[note], **resizing(32, 32))
    assert seen == [(tf.uint8, 3)]


def test_a_set_that_is_not_what_its_attributes_say(tmp_path):
    _, dataset = open_set(tmp_path, 5, "uint16", ".npy")
    for name, value in (("channels", 4), ("image_dtype", "float32")):

        class Other:
            def __getattr__(self, attribute):
                return getattr(dataset, attribute)

            def __len__(self):
                return len(dataset)

        other = Other()
        setattr(other, name, value)
        other.pixel_max = 65535.0
        with pytest.raises(tf.errors.OpError, match=r"0.npy: the data set's images must be \(H, W"):
            next(iter(batches(other, 1, training=False, **resizing(32, 32))))


def test_ultralytics_copies_beside_images_are_no_images(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        (tmp_path / "labels" / f"{name}.txt").write_text("0 0.1 0.1 0.6 0.1 0.6 0.6")
        np.save(tmp_path / "images" / f"{name}.npy", np.zeros((20, 30, 3), np.uint8))
    Image.new("RGB", (30, 20)).save(tmp_path / "images" / "a.jpg")
    dataset = yolo_seg(tmp_path / "images", tmp_path / "labels")
    assert dataset.file_names == ("a.jpg", "b.npy")


def test_another_format_takes_bands(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "images").mkdir()
    pixels = banded.write_set(tmp_path / "images", 5, "uint16", ".npy")
    for i in range(3):
        (tmp_path / "labels" / f"{i}.txt").write_text("0 0.1 0.1 0.6 0.1 0.6 0.6")
    options = banded.reading(5, "uint16")
    dataset = yolo_seg(tmp_path / "images", tmp_path / "labels", **options)
    np.testing.assert_array_equal(dataset.load_image(1), pixels[1])
    with pytest.raises(DataError, match="0.npy: an image must have 3 bands"):
        yolo_seg(tmp_path / "images", tmp_path / "labels")


@pytest.mark.parametrize(
    ("channels", "dtype", "suffix"),
    [(1, "uint8", ".png"), (3, "uint16", ".png"), (5, "uint16", ".tif"), (5, "float32", ".npy")],
)
def test_records_come_back_to_the_bit(tmp_path, channels, dtype, suffix):
    tfds_coco = pytest.importorskip("keras_maskrcnn.data.tfds_coco")
    pixels, dataset = open_set(tmp_path, channels, dtype, suffix)
    options = banded.reading(channels, dtype)
    config = tfds_coco.CocoConfig(
        name="bands", splits={"train": (str(tmp_path), str(tmp_path / "a.json"))}, **options
    )
    builder = tfds_coco.CocoInstances(config=config, data_dir=str(tmp_path / "built"))
    builder.download_and_prepare()
    again = tfds_dataset(str(builder.data_path), "train", mask_size=14)
    assert {name: getattr(again, name) for name in options} == options
    place = {image_id: i for i, image_id in enumerate(dataset.image_ids)}
    for i, image_id in enumerate(again.image_ids):
        found, expected = again.load(i), dataset.load(place[image_id])
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
            assert found[name].dtype == value.dtype
    assert tfds_dataset(str(builder.data_path), "train", **options).pixel_max == dataset.pixel_max
    for example in builder.as_dataset("train").as_numpy_iterator():
        stored = pixels[place[json.loads(example["image/id"])]]
        np.testing.assert_array_equal(example["image"], stored)
    with pytest.raises(DataError, match="an image must have 7 bands"):
        tfds_dataset(str(builder.data_path), "train", channels=7, image_dtype="float32")
