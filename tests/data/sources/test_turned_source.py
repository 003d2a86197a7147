"""data/sources/turned_source.py: windows of the upright image, resized ones too."""

import numpy as np
import pytest

from keras_maskrcnn.data.orientation import upright
from keras_maskrcnn.data.sources.array_source import ArraySource
from keras_maskrcnn.data.sources.turned_source import TurnedSource


@pytest.mark.parametrize("tag", range(2, 9))
def test_windows_are_those_of_the_upright_image(pixels, require_windows, tag):
    image = upright(pixels, {6: 8, 8: 6}.get(tag, tag))
    source = ArraySource(image)
    turned = TurnedSource(source, tag)
    small = turned.read(10, 20, 60, 80, size=(30, 40))
    straight = ArraySource(pixels).read(10, 20, 60, 80, size=(30, 40))
    np.testing.assert_array_equal(small, straight)
    require_windows(turned)
    assert source.closed
