"""data/orientation.py: pixels, sizes and masks agree, whatever the tag and the format."""

import json
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
import tifffile
from PIL import Image, ImageOps
from pycocotools import mask as mask_api

from keras_maskrcnn import data
from keras_maskrcnn.data import DataError, formats, images, orientation, pixels
from keras_maskrcnn.data.bands import Reading

TAGS = range(1, 9)
UPRIGHT = np.random.default_rng(0).integers(0, 256, [20, 30, 3], np.uint8)
UPRIGHT[4:12, 6:16] = 255  # the object
BOX = [6, 4, 10, 8]
POLYGON = [6, 4, 16, 4, 16, 12, 6, 12]
# The tag that turns the upright picture into the stored one: 6 and 8 undo each other.
BACK = {6: 8, 8: 6}


def stored(tag, upright=UPRIGHT):
    return orientation.upright(upright, BACK.get(tag, tag))


def write(path, tag, upright=UPRIGHT):
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(stored(tag, upright)).save(path, exif=exif)
    return path


def write_set(folder, tag, suffix="png"):
    """Writes an image whose object was outlined on the upright picture; returns both paths."""
    write(folder / f"a.{suffix}", tag)
    image = {"id": 1, "file_name": f"a.{suffix}", "height": 20, "width": 30}
    outline = {"id": 1, "image_id": 1, "category_id": 1, "bbox": BOX, "segmentation": [POLYGON]}
    content = {"images": [image], "annotations": [outline]}
    content["categories"] = [{"id": 1, "name": "object"}]
    (folder / "a.json").write_text(json.dumps(content))
    return folder, folder / "a.json"


def check_object(dataset):
    """Requires upright pixels, and a mask of the object's pixels."""
    np.testing.assert_array_equal(dataset.load(0)["image"], UPRIGHT)
    assert dataset.sizes == ((20, 30),)
    mask = mask_api.decode({"size": [20, 30], "counts": dataset.counts[0]})
    assert mask.sum() == 80 and mask[4:12, 6:16].all()


@pytest.mark.parametrize("tag", TAGS)
def test_pixels_are_turned_as_pillow_turns_them(tmp_path, tag):
    with Image.open(write(tmp_path / "a.png", tag)) as image:
        np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(image)), UPRIGHT)
        np.testing.assert_array_equal(images.from_pillow(image, orientation="apply"), UPRIGHT)
        gray = pixels.from_pillow(image, channels=1, orientation="apply")
        assert gray.shape == (20, 30, 1)
    assert orientation.upright_size(stored(tag).shape[:2], tag) == (20, 30)
    window = (3, 5, 9, 14)
    top, left, height, width = orientation.stored_window(window, (20, 30), tag)
    part = stored(tag)[top : top + height, left : left + width]
    np.testing.assert_array_equal(orientation.upright(part, tag), UPRIGHT[3:12, 5:19])


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "deep.png", "deep.tif"])
def test_all_readers_of_files_apply_the_tag(tmp_path, suffix):
    deep = suffix.startswith("deep")
    reading = Reading(4, "uint16", orientation="apply") if deep else Reading(orientation="apply")
    for tag in TAGS:
        path, expected = tmp_path / f"{tag}.{suffix}", UPRIGHT
        if deep:
            expected = np.dstack([UPRIGHT, UPRIGHT[..., :1]]).astype(np.uint16) * 257
            turned = stored(tag, expected)
        if suffix == "deep.tif":
            tags = {"extratags": [(274, "H", 1, tag, True)], "metadata": None}
            tifffile.imwrite(path, turned, photometric="minisblack", planarconfig="contig", **tags)
        elif deep:
            path.write_bytes(with_exif(data.png.encode(turned), tag))
        elif suffix == "webp":
            exif = Image.Exif()
            exif[0x0112] = tag
            Image.fromarray(stored(tag)).save(path, exif=exif, lossless=True)
        else:
            write(path, tag)
        found, remarks = pixels.read_with_remarks(path, None, reading)
        np.testing.assert_array_equal(found, expected)
        assert remarks == [images.APPLIED] * (tag > 1)
        assert pixels.read_header(path, None, reading) == ((20, 30), remarks)
        with data.open_source(
            path, reading.channels, reading.image_dtype, orientation="apply"
        ) as source:
            np.testing.assert_array_equal(source.read(3, 5, 9, 14), expected[3:12, 5:19])
            assert source.remarks() == remarks


def with_exif(png, tag):
    """Puts an eXIf chunk behind the header of a PNG."""
    body = struct.pack("<2sHIHHHII", b"II", 42, 8, 1, 0x0112, 3, 1, tag) + b"\0" * 4
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body
    return png[:33] + chunk + struct.pack(">I", zlib.crc32(b"eXIf" + body)) + png[33:]


@pytest.mark.parametrize("tag", TAGS)
def test_a_data_set_has_upright_pixels_and_masks(tmp_path, tag):
    dataset = data.coco_json(*write_set(tmp_path, tag), orientation="apply")
    check_object(dataset)
    tiles = data.tiled(
        data.coco_json(*write_set(tmp_path, tag), orientation="apply", check_images=False), 16
    )
    for i, (top, left, height, width) in enumerate(tiles.windows):
        expected = UPRIGHT[top : top + height, left : left + width]
        np.testing.assert_array_equal(tiles.load_image(i), expected)


@pytest.mark.slow
def test_batches_are_of_upright_pixels(tmp_path):
    dataset = data.coco_json(*write_set(tmp_path, 6), orientation="apply")
    sizes = {"min_side": 20, "max_side": 30, "resize_rule": "torchvision", "padding_multiple": 1}
    inputs, targets = next(iter(data.batches(dataset, 1, training=False, **sizes)))
    np.testing.assert_array_equal(inputs["images"][0], UPRIGHT)
    np.testing.assert_array_equal(targets["boxes"][0, 0], [6, 4, 16, 12])


def test_turned_sides_are_refused_as_ever_and_the_way_out_is_named(tmp_path):
    paths = write_set(tmp_path, 6)
    with pytest.raises(DataError, match=r"tag \(6\) swaps the sides.* .--orientation=apply"):
        data.coco_json(*paths)
    content = json.loads(paths[1].read_text())
    content["images"][0] |= {"height": 30, "width": 20}
    paths[1].write_text(json.dumps(content))
    assert data.coco_json(*paths).sizes == ((30, 20),)
    with pytest.raises(DataError, match=r"It was applied: pass orientation='ignore'"):
        data.coco_json(*paths, orientation="apply")
    with pytest.raises(ValueError, match="must be one of 'ignore', 'apply'. Received: .*'auto'"):
        data.coco_json(*paths, orientation="auto")


def test_a_json_says_how_its_images_are_read(tmp_path):
    paths = write_set(tmp_path, 3)
    assert "info" not in data.coco_json(*paths).content()
    content = data.coco_json(*paths, orientation="apply").content()
    assert content["info"] == {"orientation": "apply"}
    paths[1].write_text(json.dumps(content))
    dataset = data.coco_json(*paths)
    assert dataset.orientation == "apply" and dataset.content() == content
    np.testing.assert_array_equal(dataset.load_image(0), UPRIGHT)
    ignoring = data.coco_json(*paths, orientation="ignore")
    np.testing.assert_array_equal(ignoring.load_image(0), stored(3))
    assert ignoring.content()["info"] == {"orientation": "ignore"}


@pytest.mark.parametrize("tag", TAGS)
def test_tools_that_show_upright_pictures_are_read_so(tmp_path, tag):
    write(tmp_path / "a.png", tag)
    shape = {"label": "object", "points": np.reshape(POLYGON, [-1, 2]).tolist()}
    entry = {"imagePath": "a.png", "imageHeight": 20, "imageWidth": 30, "shapes": [shape]}
    (tmp_path / "a.json").write_text(json.dumps(entry))
    (tmp_path / "labels").mkdir()
    shares = (np.reshape(POLYGON, [-1, 2]) / [30, 20]).ravel()
    (tmp_path / "labels" / "a.txt").write_text("0 " + " ".join(map(str, shares)))
    for dataset in (
        formats.labelme(tmp_path, tmp_path),
        formats.yolo_seg(tmp_path, tmp_path / "labels", class_names=["object"]),
    ):
        check_object(dataset)


@pytest.mark.slow
def test_records_hold_upright_pixels(tmp_path):
    tfds_coco = pytest.importorskip("keras_maskrcnn.data.tfds_coco")
    for tag in (1, 6):
        folder = tmp_path / str(tag)
        folder.mkdir()
        config = tfds_coco.CocoConfig(
            name="tiny", splits={"train": write_set(folder, tag)}, orientation="apply"
        )
        builder = tfds_coco.CocoInstances(config=config, data_dir=folder / "records")
        builder.download_and_prepare()
        example = data.tfds_dataset(builder, "train").load(0)
        np.testing.assert_array_equal(example["image"], UPRIGHT)
        (record,) = builder.as_dataset("train")  # decoded by TensorFlow, which knows no tag
        np.testing.assert_array_equal(record["image"], UPRIGHT)


def test_tensorflow_ignores_the_tag_as_a_served_model_does(tmp_path):
    content = write(tmp_path / "a.png", 6).read_bytes()
    decoded = tf.io.decode_image(content).numpy()
    np.testing.assert_array_equal(decoded, images.read_image("a", content))
    turned = images.read_image("a", content, orientation="apply")
    np.testing.assert_array_equal(turned, UPRIGHT)
