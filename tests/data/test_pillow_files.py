import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_maskrcnn.data import DataError, pillow_files


def test_a_tiff_that_pillow_does_not_know_has_its_own_error(tmp_path):
    bands = np.zeros((4, 6, 5), np.float32)
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="contig")
    with pytest.raises(pillow_files.OtherTiff, match="a TIFF of this kind .*width=6, height=4"):
        pillow_files.open_image(tmp_path / "a.tif")
    found = pillow_files.tiff_fields(tmp_path / "a.tif")
    assert (found["height"], found["width"], found["samples"]) == (4, 6, 5)
    (tmp_path / "a.tif").write_bytes(b"no tiff")
    with pytest.raises(DataError, match="a.tif: not an image, or in none of the formats JPEG"):
        pillow_files.open_image(tmp_path / "a.tif")


@pytest.mark.parametrize("tag", range(1, 9))
def test_a_picture_may_be_turned_if_nothing_tells(tag):
    assert pillow_files.may_be_turned(tag, (4, 4), True) == (tag != 1)
    assert pillow_files.may_be_turned(tag, (4, 6), True) == (tag in (2, 3, 4))
    assert pillow_files.may_be_turned(tag, (4, 6), False) == (tag != 1)


def test_16_bits_are_seen():
    file = io.BytesIO()
    Image.fromarray(np.zeros((3, 3), np.uint16)).save(file, "PNG")
    with pillow_files.open_image("a", file.getvalue()) as image:
        assert pillow_files.has_16_bits(image)
    file = io.BytesIO()
    Image.fromarray(np.zeros((3, 3, 3), np.uint8)).save(file, "PNG")
    with pillow_files.open_image("a", file.getvalue()) as image:
        assert not pillow_files.has_16_bits(image) and pillow_files.raw_mode(image) == "RGB"
