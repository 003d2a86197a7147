"""doctor/lenient_reading.py goes on after an error, and warns of likely mistakes in files."""

import json

import numpy as np
import pytest
from PIL import Image

from doctor.faults import HEIGHT, WIDTH, make, sound, write_image
from keras_maskrcnn import doctor
from keras_maskrcnn.data.images import APPLIED, DARK, TOLD, TURNED


def test_all_problems_are_found_at_once(tmp_path):
    folder, path = make(tmp_path)
    content = sound()
    content["images"][1].update(width=-1, file_name="../x.png")
    content["annotations"][0].update(category_id=5, bbox=[1, 2], segmentation=[[1, 2, 3]])
    content["annotations"][1].update(id=1, iscrowd=2)
    content["annotations"][2].update(category_id=6)
    path.write_text(json.dumps(content))
    (folder / "9.png").unlink()
    found, _ = doctor.examine(folder, path)
    kinds = sorted(p.kind for p in found.problems if p.severity == "error")
    assert kinds == [
        "broken bbox",
        "broken image size",
        "broken iscrowd",
        "broken polygon",
        "duplicate annotation id",
        "missing image",
        "path outside the folder",
        "unknown category",
        "unknown category",
    ]


def test_files_outside_of_the_folder_are_not_opened(tmp_path, monkeypatch):
    opened = []

    def read(path, content, reading, sides_tell):
        opened.append(path)
        return np.zeros((HEIGHT, WIDTH, 3), np.uint8), []

    monkeypatch.setattr("keras_maskrcnn.doctor.lenient_reading.read_with_remarks", read)
    found, _ = doctor.examine(*make(tmp_path, "path upwards"))
    assert opened == [str(tmp_path / "9.png")]
    assert found.bad_images() == {1}  # so the report shows no picture of its annotations


def cut_both(tmp_path):
    """Makes a data set of two images whose pixels are cut off behind the header."""
    folder, path = make(tmp_path)
    for name in ("9.png", "10.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:60])
    return folder, path


@pytest.mark.parametrize(("sample", "decoded"), [(None, 2), (1, 1), (9, 2)])
def test_a_sample_of_the_images_is_decoded(tmp_path, sample, decoded):
    found, report = doctor.examine(*cut_both(tmp_path), sample=sample)
    broken = [p.image for p in found.problems if p.kind == "unreadable image"]
    assert len(broken) == report["decoded_images"] == decoded
    assert ("Only 1 images were decoded" in doctor.text(report)) == (decoded == 1)
    again, _ = doctor.examine(*cut_both(tmp_path), sample=sample)
    assert [p.image for p in again.problems if p.kind == "unreadable image"] == broken


def test_the_headers_outside_of_the_sample_are_read(tmp_path):
    folder, path = make(tmp_path)
    for name in ("9.png", "10.png"):
        Image.new("RGB", (7, 5)).save(folder / name)
    found, _ = doctor.examine(folder, path, sample=1)
    assert {p.image for p in found.problems if p.severity == "error"} == {0, 1}


def test_a_sample_is_a_positive_number(tmp_path):
    with pytest.raises(ValueError, match="sample must be positive. Received: sample=0"):
        doctor.examine(*make(tmp_path), sample=0)


def test_a_tag_that_turns_a_picture_and_keeps_its_sides_is_a_warning(tmp_path):
    folder, path = make(tmp_path)
    # Tag 6 swaps the sides, but the json has the stored ones: another, milder warning.
    for name, tag in (("9.png", 3), ("10.png", 6)):
        exif = Image.Exif()
        exif[0x0112] = tag
        write_image(folder / name, exif=exif)
    found, report = doctor.examine(folder, path)
    warned = [problem.image for problem in found.problems if problem.kind == TURNED]
    assert warned == [0]
    told = [problem.image for problem in found.problems if problem.kind == TOLD]
    assert told == [1]
    assert "\n1 image has an orientation tag (EXIF)." in doctor.text(report)


@pytest.mark.parametrize("tile", [None, 8])
def test_every_orientation_tag_is_a_warning(tmp_path, tile):
    folder, path = make(tmp_path)
    tiles = None if tile is None else {"tile": tile}
    for tag in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = tag
        stored = Image.new("RGB", (WIDTH, HEIGHT) if tag < 5 else (HEIGHT, WIDTH))
        stored.save(folder / "9.png", exif=exif)
        for orientation, kinds in (("apply", {APPLIED}), ("ignore", {TURNED, TOLD})):
            found, _ = doctor.examine(folder, path, orientation=orientation, tiles=tiles)
            of_image = {problem.kind for problem in found.problems if problem.image == 0}
            if tag == 1:
                assert not of_image
            elif tag > 4 and orientation == "ignore":
                assert "size mismatch" in of_image
            else:
                assert of_image & kinds


def test_16_bits_in_a_part_of_their_range_are_a_warning(tmp_path):
    folder, path = make(tmp_path)
    Image.fromarray(np.full((HEIGHT, WIDTH), 4095, np.uint16)).save(folder / "9.png")
    found, report = doctor.examine(folder, path)
    assert [problem.image for problem in found.problems if problem.kind == DARK] == [0]
    assert "\n1 image has 16 bits, but values in the lowest quarter" in doctor.text(report)
