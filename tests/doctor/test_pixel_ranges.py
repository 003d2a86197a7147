import json

import numpy as np
import pytest
from PIL import Image

from doctor.faults import HEIGHT, WIDTH, make
from keras_maskrcnn import doctor
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.doctor import pixel_ranges


def write(folder, channels, dtype, top, empty=()):
    """Writes two images of noise from 0 to `top` in place of those of a sound data set."""
    folder, path = make(folder)
    content = json.loads(path.read_text())
    pixels = []
    for i, image in enumerate(content["images"]):
        noise = np.random.default_rng(i).random((HEIGHT, WIDTH, channels)) * top
        noise = noise.astype(dtype)
        noise[0, 0], noise[..., list(empty)] = top, 3
        image["file_name"] = f"{i}.npy"
        np.save(folder / f"{i}.npy", noise)
        pixels.append(noise)
    path.write_text(json.dumps(content))
    return folder, path, pixels


def examine(folder, path, **options):
    found, report = doctor.examine(folder, path, **options)
    kinds = [p["kind"] for p in report["problems"] if p["kind"] != "rare class"]
    return kinds, doctor.text(report), report, found


def test_12_bits_in_16_name_the_largest_value_and_what_fits(tmp_path):
    folder, path, _ = write(tmp_path, 5, "uint16", 4000)
    options = {"channels": 5, "image_dtype": "uint16"}
    kinds, text, _, _ = examine(folder, path, **options)
    assert kinds == ["range of pixels not used"]
    assert "largest value of all images is 4000, so they come out nearly black" in text
    assert "pixel_max=4095 fits. Received: pixel_max=65535, image_dtype='uint16'." in text
    assert examine(folder, path, **options, pixel_max=4095)[0] == []


def test_the_high_byte_of_12_bits_gets_one_advice(tmp_path):
    folder, path, _ = write(tmp_path, 5, "uint16", 4000, empty=[1])
    kinds, text, report, _ = examine(folder, path, channels=5)
    assert set(kinds) == {"16 bits in a part of their range"}
    assert "image_dtype=uint16 with pixel_max=4095" in text and "pixel_max=15" not in text
    assert report["pixels"]["bands"][0]["max"] == 15


@pytest.mark.parametrize(
    ("dtype", "top", "white", "kinds", "advice"),
    [
        ("float32", 1.0, 255, ["range of pixels not used"], "pixel_max=1 fits"),
        ("float32", 200.0, 1, ["pixels above pixel_max"], "pixel_max=255 fits"),
        ("float32", 100000.0, 1, ["pixels above pixel_max"], "pixel_max=100000 fits"),
        ("float32", 0.9, 1, [], None),
        ("uint16", 9000, 4095, ["pixels above pixel_max"], "pixel_max=16383 fits"),
        (
            "uint16",
            200,
            65535,
            ["range of pixels not used"],
            "image_dtype='float32' with pixel_max",
        ),
        ("uint8", 60, 255, ["range of pixels not used"], "pixel_max=63 fits"),
        ("uint8", 250, 255, [], None),
    ],
)
def test_what_is_white_is_compared_with_the_values(tmp_path, dtype, top, white, kinds, advice):
    folder, path, _ = write(tmp_path, 1, dtype, top)
    found, text, _, _ = examine(folder, path, channels=1, image_dtype=dtype, pixel_max=white)
    assert found == kinds
    assert advice is None or advice in text


def test_images_above_pixel_max_are_named(tmp_path):
    folder, path, _ = write(tmp_path, 2, "uint16", 4000)
    np.save(folder / "1.npy", np.full((HEIGHT, WIDTH, 2), 5000, np.uint16))
    options = {"channels": 2, "image_dtype": "uint16", "pixel_max": 4095}
    _, text, _, _ = examine(folder, path, **options)
    assert "1 images have values above pixel_max, up to 5000 ('1.npy'); pixel_max=16383 fit" in text


def test_bands_without_content_and_statistics(tmp_path):
    folder, path, pixels = write(tmp_path, 3, "uint16", 4000, empty=[1])
    options = {"channels": 3, "image_dtype": "uint16", "pixel_max": 4095}
    content = json.loads(path.read_text())
    content["annotations"][0]["area"] = 7  # the page shows the image of this mistake
    path.write_text(json.dumps(content))
    kinds, text, report, found = examine(folder, path, **options)
    assert kinds == ["area and mask disagree", "constant band"]
    assert "band 2 has one value in all images, 3." in text
    assert "mean of 255" in text
    values = np.concatenate([p.reshape(-1, 3) for p in pixels]) * (255 / 4095)
    for i, row in enumerate(report["pixels"]["bands"]):
        assert row["band"] == i + 1
        assert row["mean"] == pytest.approx(values[:, i].mean())
        assert row["std"] == pytest.approx(values[:, i].std())
    assert doctor.page(report, found).count("data:image/png") == 1


def test_images_of_other_bands_are_errors_with_their_names(tmp_path):
    folder, path, _ = write(tmp_path, 5, "uint16", 60000)
    np.save(folder / "1.npy", np.zeros((HEIGHT, WIDTH, 4), np.uint16))
    kinds, _, report, _ = examine(folder, path, channels=5, image_dtype="uint16")
    assert kinds == ["wrong number of bands"]
    (line,) = [p["line"] for p in report["problems"] if p["severity"] == "error"]
    assert line.endswith("1.npy: an image must have 5 bands (channels=5). Received: 4 bands.")


def test_8_bit_rgb_is_not_measured(tmp_path):
    folder, path = make(tmp_path)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "9.png")
    kinds, _, report, _ = examine(folder, path)
    assert kinds == [] and report["pixels"] is None
    assert pixel_ranges.is_measured(Reading(3, "uint8", 100))


def test_the_repaired_copy_has_sizes_of_files_of_bands(tmp_path):
    folder, path, _ = write(tmp_path, 5, "uint16", 60000)
    content = json.loads(path.read_text())
    del content["images"][0]["height"]
    path.write_text(json.dumps(content))
    found, _ = doctor.examine(folder, path, channels=5, image_dtype="uint16")
    repaired, lines = doctor.repair(found)
    assert repaired["images"][0]["height"] == HEIGHT and lines
