"""Inputs that Python users pass to a model."""

import numpy as np
import pytest

from keras_maskrcnn import data
from keras_maskrcnn.model import MaskRCNN


def test_float_images_of_0_to_1_are_an_error(case, tiny_config):
    image = data.images.read_image(str(case("float_images_0_to_1") / "img00.png"))
    model = MaskRCNN(tiny_config)
    wrong = np.float32(image[None] / 255)
    for method in (model.predict, model.predict_on_batch):
        with pytest.raises(ValueError, match="not in 0..1: multiply them by 255. Received: dtype="):
            method(wrong)
