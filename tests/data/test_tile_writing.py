import json

import banded
import big_images
import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn.data import coco_json
from keras_maskrcnn.data.tile_writing import write_tiles
from keras_maskrcnn.data.tiled_set import tiled


def read(folder):
    return coco_json(folder, folder / "a.json", check_images=False)


def test_the_tiles_and_their_json_are_the_data_set(tmp_path):
    big_images.write(tmp_path)
    dataset = tiled(read(tmp_path), (24, 32), (8, 5))
    content = write_tiles(dataset, tmp_path / "tiles")
    (tmp_path / "tiles.json").write_text(json.dumps(content))
    again = coco_json(tmp_path / "tiles", tmp_path / "tiles.json", crowds="ignore")
    assert again.file_names[:2] == ("0_0_0.png", "0_0_27.png")
    assert content["images"][1]["tile"] == {
        "source": "0.png",
        "source_id": "image 0",
        "top": 0,
        "left": 27,
    }
    assert len(again) == len(dataset) and len({*again.file_names}) == len(again)
    for i in range(len(dataset)):
        found, expected = again.load(i), dataset.load(i)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)


def test_jpegs_and_names_that_differ_in_their_suffix_only(tmp_path):
    content, pixels, _ = big_images.write(tmp_path)
    (tmp_path / "sub").mkdir()
    for i, name in enumerate(("sub/Scan.png", "sub/scan.bmp")):
        Image.fromarray(pixels[i]).save(tmp_path / name)
        content["images"][i]["file_name"] = name
    (tmp_path / "a.json").write_text(json.dumps(content))
    dataset = tiled(read(tmp_path), 32, 8)
    names = [e["file_name"] for e in write_tiles(dataset, tmp_path / "t", "jpg")["images"]]
    assert names[0] == "sub/Scan.png_0_0.jpg" and names[-1] == "sub/scan.bmp_1_15.jpg"
    with Image.open(tmp_path / "t" / names[0]) as image:
        assert (image.format, image.size) == ("JPEG", (32, 32))


def test_progress_sees_every_tile(tmp_path):
    big_images.write(tmp_path)
    seen = []
    dataset = tiled(read(tmp_path), 32, 8)

    def progress(tiles):
        for i in tiles:
            seen.append(i)
            yield i

    write_tiles(dataset, tmp_path / "t", progress=progress)
    assert seen == list(range(len(dataset)))
    with pytest.raises(KeyError):
        write_tiles(dataset, tmp_path / "t", "gif")


@pytest.mark.parametrize(
    ("channels", "dtype", "asked", "written"),
    [
        (1, "uint8", "jpg", "jpg"),
        (1, "uint16", "jpg", "png"),
        (4, "uint8", "jpg", "png"),
        (3, "uint16", "png", "png"),
        (5, "uint16", "png", "npy"),
        (3, "float32", "png", "npy"),
    ],
)
def test_tiles_of_bands_are_in_files_that_hold_them(tmp_path, channels, dtype, asked, written):
    banded.write_set(tmp_path, channels, dtype, ".npy")
    options = banded.reading(channels, dtype)
    dataset = tiled(coco_json(tmp_path, tmp_path / "a.json", check_images=False, **options), 16, 4)
    assert {name: getattr(dataset, name) for name in options} == options
    content = write_tiles(dataset, tmp_path / "t", asked)
    assert {entry["file_name"][-3:] for entry in content["images"]} == {written}
    (tmp_path / "t.json").write_text(json.dumps(content))
    again = coco_json(tmp_path / "t", tmp_path / "t.json", crowds="ignore", **options)
    for i in range(len(dataset)):
        expected = dataset.load_image(i)
        assert expected.dtype == dtype and expected.shape[2] == channels
        if written != "jpg":
            np.testing.assert_array_equal(again.load_image(i), expected)
