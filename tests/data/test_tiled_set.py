import concurrent.futures
import json
import pickle

import big_images
import numpy as np
import pytest
import tifffile

from keras_maskrcnn.data import DataError, coco_dict, coco_json, tiled_set
from keras_maskrcnn.data.tile_grid import tile_windows
from keras_maskrcnn.data.tiled_set import tiled
from keras_maskrcnn.ops.rle import encode_region

TILE, OVERLAP = (24, 32), (8, 5)


def read(folder, **options):
    return coco_json(folder, folder / "a.json", check_images=False, mask_size=14, **options)


def test_a_tile_is_what_cutting_by_hand_gives(tmp_path):
    _, pixels, masks = big_images.write(tmp_path)
    dataset = tiled(read(tmp_path), TILE, OVERLAP, min_share=0.3)
    place = 0
    for image, size in enumerate(big_images.SIZES):
        for top, left, height, width in tile_windows(*size, TILE, OVERLAP).tolist():
            by_hand = {"images": [{"id": 1, "file_name": "x", "height": height, "width": width}]}
            by_hand |= {"annotations": [], "categories": big_images.CATEGORIES}
            for entry in read(tmp_path).content()["annotations"]:
                if entry["image_id"] == f"image {image}":
                    whole = masks[entry["id"]]
                    part = whole[top : top + height, left : left + width]
                    if part.any():
                        entry |= {"image_id": 1, "bbox": big_images.extent(part)}
                        entry |= {"segmentation": big_images.encode(part)}
                        entry["iscrowd"] = int(part.sum() < 0.3 * whole.sum())
                        by_hand["annotations"].append(entry)
            options = dict(check_images=False, mask_size=14, crowds="ignore")
            expected = coco_dict("", by_hand, **options).load_targets(0)
            expected.setdefault("ignored", np.zeros([0, 4], np.float32))
            found = dataset.load(place)
            window = pixels[image][top : top + height, left : left + width]
            np.testing.assert_array_equal(found.pop("image"), window)
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                np.testing.assert_array_equal(found[name], value)
                assert found[name].dtype == value.dtype
            assert dataset.sizes[place] == (height, width)
            place += 1
    assert place == len(dataset)
    assert dataset.file_names[:2] == ("0.png[0:24,0:32]", "0.png[0:24,27:59]")
    assert dataset.class_names == ("bar", "disc") and dataset.category_ids == (3, 7)
    assert dataset.tile_counts.tiles == place and dataset.has_ignored


def test_its_annotations_are_a_json_that_reads_the_same(tmp_path):
    big_images.write(tmp_path)
    dataset = tiled(read(tmp_path), TILE, OVERLAP)
    (tmp_path / "tiles.json").write_text(json.dumps(dataset.annotations))
    again = coco_json(
        "", tmp_path / "tiles.json", check_images=False, crowds="ignore", mask_size=14
    )
    for i in range(len(dataset)):
        found, expected = again.load_targets(i), dataset.load_targets(i)
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)


def write_tiff(folder):
    """Writes the first image again, as a TIFF in tiles of 16 x 16."""
    content, pixels, _ = big_images.write(folder)
    path = folder / "0.tif"
    tifffile.imwrite(path, pixels[0], tile=(16, 16), photometric="rgb")
    content["images"][0]["file_name"] = "0.tif"
    (folder / "a.json").write_text(json.dumps(content))
    return path, pixels


def test_a_tiff_that_is_cut_off_while_training_names_file_and_window(tmp_path):
    path, pixels = write_tiff(tmp_path)
    dataset = tiled(read(tmp_path), 16, 4)
    np.testing.assert_array_equal(dataset.load_image(0), pixels[0][:16, :16])
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)
    last = dataset.sources.count("0.tif") - 1
    for _ in range(2):  # while it is open, and when it is opened again
        with pytest.raises(DataError, match=r"0\.tif: .* In the window top=44, left=64,") as error:
            dataset.load_image(last)
        assert "\n" not in str(error.value) and str(error.value).endswith("width=16.")
        dataset.open_sources.close()


def test_threads_and_copies_read_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(tiled_set, "_OPEN_BYTES", 1)  # one open file, so they are always replaced
    big_images.write(tmp_path)
    dataset = tiled(read(tmp_path), TILE, OVERLAP)
    expected = [dataset.load_image(i) for i in range(len(dataset))]
    order = np.random.default_rng(0).integers(0, len(dataset), 300).tolist()
    copy = pickle.loads(pickle.dumps(dataset))
    for read_from in (dataset, copy):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for i, found in zip(order, pool.map(read_from.load_image, order), strict=True):
                np.testing.assert_array_equal(found, expected[i])


def test_files_stay_open_up_to_a_limit(tmp_path, monkeypatch):
    big_images.write(tmp_path)
    opened, closed = [], []
    open_source = tiled_set.open_source

    def counted(path, *pixels, **options):
        source = open_source(path, *pixels, **options)
        close = source.close
        source.close = lambda: (closed.append(path), close())
        opened.append(path)
        return source

    dataset = tiled(read(tmp_path), TILE, OVERLAP)
    monkeypatch.setattr(tiled_set, "open_source", counted)
    for i in (0, len(dataset) - 1, 1, len(dataset) - 2):
        dataset.load_image(i)
    assert len(opened) == 2 and not closed
    monkeypatch.setattr(tiled_set, "_OPEN_BYTES", 1)
    dataset.load_image(0)
    assert closed == [opened[1]]
    dataset.load_image(len(dataset) - 1)
    assert len(opened) == 3 and closed == [opened[1], opened[0]]


def test_unusable_images_are_named_or_skipped(tmp_path):
    content, *_ = big_images.write(tmp_path)
    content["images"][0]["width"] += 1
    for annotation in content["annotations"]:
        annotation.pop("segmentation")
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"0\.png: the json says width=81, height=60. Received: w"):
        tiled(read(tmp_path, masks=False), 20, 4)
    dataset = tiled(read(tmp_path, masks=False), 20, 4, on_error="skip")
    assert dataset.skipped == {"0.png": 1} and set(dataset.sources) == {"1.png"}
    assert not dataset.has_masks
    by_hand = coco_dict(
        "",
        {
            **content,
            "images": content["images"][1:],
            "annotations": [a for a in content["annotations"] if a["image_id"] == "image 1"],
        },
        check_images=False,
        masks=False,
    )
    assert dataset.tile_counts.objects == len(by_hand.labels) == 4
    (tmp_path / "1.png").unlink()
    with pytest.raises(DataError, match="none of 2 images can be read"):
        tiled(read(tmp_path, masks=False), 20, 4, on_error="skip")


def test_other_data_sets_are_refused(tmp_path):
    big_images.write(tmp_path)
    dataset = tiled(read(tmp_path), 20, 4)
    with pytest.raises(TypeError, match="a data set of image files.*Received: TiledDataset"):
        tiled(dataset, 10, 4)
    with pytest.raises(DataError, match="the tile is larger than every image"):
        tiled(read(tmp_path), 1024, 128)


def test_an_image_may_have_more_pixels_than_pillow_decodes(tmp_path):
    side, mask = 20_000, np.zeros([9, 9], bool)
    sparse = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.uint8, (side, side, 3))
    sparse[-64:, -64:] = pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    mask[:] = True
    outline = encode_region(mask, (side - 20, side - 30), side, side)
    entry = {"id": 1, "image_id": 1, "category_id": 7, "segmentation": outline}
    entry["bbox"] = [side - 30, side - 20, 9, 9]
    content = {"images": [{"id": 1, "file_name": "big.npy", "height": side, "width": side}]}
    content |= {"annotations": [entry], "categories": big_images.CATEGORIES}
    with pytest.raises(DataError, match="have a product of at most 178956970"):
        coco_dict(tmp_path, content)
    dataset = tiled(coco_dict(tmp_path, content, check_images=False), 64, 16, empty_tiles=0)
    assert dataset.file_names[-1] == "big.npy[19936:20000,19936:20000]"
    found = dataset.load(len(dataset) - 1)
    np.testing.assert_array_equal(found["image"], pixels)
    np.testing.assert_array_equal(found["boxes"], [[34, 44, 43, 53]])
    assert found["masks"][0, 56, 56] == 255
