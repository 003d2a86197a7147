"""data/sources/tiff_scale.py: micrometers per pixel from what a TIFF tells."""

import pytest

from keras_maskrcnn.data.sources.tiff_scale import microns_per_pixel

NONE, INCH, CENTIMETER = 1, 2, 3


def ome(attributes):
    """OME-XML with these attributes of Pixels."""
    return (
        f'<?xml version="1.0"?><OME xmlns="..."><Image><Pixels ID="P" {attributes}/></Image></OME>'
    )


@pytest.mark.parametrize(
    ("description", "resolution", "unit", "expected"),
    [
        (ome('PhysicalSizeX="0.25" PhysicalSizeY="0.25"'), 1, NONE, 0.25),
        (ome('PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="0.25"'), 1, NONE, 0.25),
        (ome('PhysicalSizeX="2e-4" PhysicalSizeXUnit="mm" PhysicalSizeY="0.2"'), 1, NONE, 0.2),
        (ome('PhysicalSizeX="0.25" PhysicalSizeY="0.5"'), 40000, CENTIMETER, None),
        (ome('PhysicalSizeX="0.25"'), 40000, CENTIMETER, None),
        (ome('PhysicalSizeX="1-1" PhysicalSizeY="1-1"'), 40000, CENTIMETER, None),
        (ome('PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1"'), 1, NONE, None),
        ("ImageJ=1.53\nimages=1\nunit=micron\n", 4, NONE, 0.25),
        ("ImageJ=1.53\nunit=\\u00B5m\n", 4, NONE, 0.25),
        ("ImageJ=1.53\nunit=cm\n", 40000, NONE, 0.25),
        ("ImageJ=1.53\nunit=furlong\n", 4, NONE, None),
        ("ImageJ=1.53\nimages=1\n", 4, NONE, None),
        ("", 40000, CENTIMETER, 0.25),
        ("", 25400, INCH, 1.0),
        ("", 40000, NONE, None),
        ("", 300, INCH, None),  # a print
        ("", 72, INCH, None),
        ("", 118, CENTIMETER, None),
        ("", 1e9, CENTIMETER, None),
        ("", None, CENTIMETER, None),
        ("", 0.0, CENTIMETER, None),
    ],
)
def test_the_first_place_that_tells_is_used(description, resolution, unit, expected):
    found = microns_per_pixel(description, resolution, resolution, unit)
    assert found == (None if expected is None else pytest.approx(expected))


def test_pixels_that_are_not_square_have_no_size():
    assert microns_per_pixel("", 40000, 20000, CENTIMETER) is None
    assert microns_per_pixel("", 40000, 40100, CENTIMETER) == pytest.approx(0.25, rel=0.01)


def test_a_long_description_takes_no_time():
    assert microns_per_pixel("<OME" + "<Pixels " * 100_000, 1, 1, NONE) is None
