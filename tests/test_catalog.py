import pytest

from keras_maskrcnn.catalog import BACKBONES, PLAIN, normalization
from keras_maskrcnn.config import MaskRCNNConfig


@pytest.mark.parametrize(
    ("channels", "mean"),
    [
        (1, (1.0, 2.0, 6.0)),  # the band is repeated
        (2, (3.0, 3.0)),
        (3, (1.0, 2.0, 6.0)),
        (5, (1.0, 2.0, 6.0, 1.0, 2.0)),
        (32, (1.0, 2.0, 6.0) * 10 + (1.0, 2.0)),
    ],
)
def test_numbers_of_rgb_serve_any_number_of_bands(monkeypatch, channels, mean):
    entry = BACKBONES["xception"]._replace(normalization=((1.0, 2.0, 6.0), (3.0, 3.0, 3.0)))
    monkeypatch.setitem(BACKBONES, "xception", entry)
    assert normalization("xception", channels) == (mean, (3.0,) * len(mean))


@pytest.mark.parametrize("name", BACKBONES)
def test_a_config_takes_the_numbers_of_its_backbone_unless_they_are_given(name):
    fields = {"backbone": name, "neck": "simple_fpn" if name in PLAIN else "fpn"}
    config = MaskRCNNConfig(**fields)
    assert (config.pixel_mean, config.pixel_std) == BACKBONES[name].normalization
    assert MaskRCNNConfig(**fields, pixel_mean=(1.0, 2.0, 3.0)).pixel_mean == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(("dtype", "white"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
def test_white_is_that_of_the_dtype_unless_it_is_given(dtype, white):
    assert MaskRCNNConfig(image_dtype=dtype).pixel_max == white
    assert MaskRCNNConfig(image_dtype="uint16", pixel_max=4095.0).pixel_max == 4095
