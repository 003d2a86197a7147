import numpy as np
import pytest

from analysis.made_sets import made
from keras_maskrcnn.analysis.run_lengths import cover_exactly


@pytest.fixture
def counts():
    _, results = made(num_images=10, seed=18)
    return [result["segmentation"]["counts"].encode() for result in results]


def test_masks_of_pycocotools_cover_their_images(counts):
    areas = np.full(len(counts), 48 * 64)
    assert len(counts) > 30 and cover_exactly(counts, areas)
    assert cover_exactly([], areas[:0])
    assert not cover_exactly(counts, areas + 1)


@pytest.mark.parametrize("broken", [b"", b"1", b" ", b"1o", b"oooooooooo0", b"N0"])
@pytest.mark.parametrize("place", [0, 5, -1])
def test_one_broken_mask_is_noticed(counts, broken, place):
    counts[place] = broken
    assert not cover_exactly(counts, np.full(len(counts), 48 * 64))
