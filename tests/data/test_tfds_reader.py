"""data/tfds_reader.py: errors. test_tfds_coco.py builds records and reads them."""

import io

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.tfds_reader import encode_png, read_identity


def test_ids_that_are_no_json_are_errors():
    assert read_identity(b'"a"') == "a"
    for text in (b"[" * 100_000, b"a", b""):
        with pytest.raises(DataError, match="an id must be JSON"):
            read_identity(text)


def test_masks_that_are_no_png_are_errors():
    file = io.BytesIO()
    Image.fromarray(np.eye(3, dtype=np.uint8)).save(file, "PNG")
    assert encode_png(file.getvalue())["size"] == [3, 3]
    for png in (file.getvalue()[:40], b"", b"no png"):
        with pytest.raises(DataError, match="a mask must be a PNG"):
            encode_png(png)
