"""Fixtures for the tests of the formats."""

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

HEIGHT, WIDTH = 20, 30


@pytest.fixture
def images(tmp_path):
    """A folder with a.png and b.jpg, both 20 x 30."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name)
    return folder


@pytest.fixture
def masks_of():
    """A function of a data set that returns its masks, (N, 20, 30) of 0 and 1."""

    def decode(dataset):
        encoded = [{"size": [HEIGHT, WIDTH], "counts": counts} for counts in dataset.counts]
        return np.stack([mask_api.decode(one) for one in encoded]) if encoded else np.zeros(0)

    return decode


@pytest.fixture
def box():
    """A function of x1, y1, x2, y2 that returns the mask of this rectangle."""

    def draw(x1, y1, x2, y2):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[y1:y2, x1:x2] = 1
        return mask

    return draw
