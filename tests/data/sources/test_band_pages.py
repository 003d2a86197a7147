"""Pages of TIFFs that are bands, against what tifffile itself reads."""

import numpy as np
import pytest
import tifffile

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.sources import open_source


def stack(*shape):
    return np.random.default_rng(0).integers(0, 4096, (*shape, 20, 30)).astype(np.uint16)


def bands_of(path, channels=5, dtype="uint16"):
    with open_source(path, channels, dtype) as source:
        return source.read(0, 0, source.height, source.width).transpose(2, 0, 1)


@pytest.mark.parametrize("axes", ["CYX", "ZCYX", "CZYX", "TZCYX", "TCZYX", "ZTCYX", "CTZYX"])
def test_channels_of_ome(axes, tmp_path):
    """The first depth and time, in each order of the axes."""
    image = stack(*({"C": 5, "Z": 3, "T": 2}[axis] for axis in axes[:-2]))
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, image, photometric="minisblack", metadata={"axes": axes})
    expected = image[tuple(slice(None) if axis == "C" else 0 for axis in axes[:-2])]
    np.testing.assert_array_equal(bands_of(path), expected)
    np.testing.assert_array_equal(bands_of(path, None), expected)
    for channels in (3, 4):  # the first channel, repeated, is not the image
        with pytest.raises(DataError, match=f"must have {channels} band.*Received: 5 bands"):
            bands_of(path, channels)
    np.testing.assert_array_equal(bands_of(path, 3, "uint8")[0], expected[0] >> 8)  # as ever


def test_a_pyramid_of_channels(tmp_path):
    image = stack(5)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        options = {"photometric": "minisblack", "metadata": {"axes": "CYX"}}
        file.write(image, subifds=1, **options)
        file.write(image[:, ::2, ::2], subfiletype=1, photometric="minisblack")
    with open_source(tmp_path / "a.ome.tif", 5, "uint16") as source:
        assert source.levels == ((20, 30), (10, 15))
        small = source.read(0, 0, 20, 30, size=(10, 15)).transpose(2, 0, 1)
        np.testing.assert_array_equal(small, image[:, ::2, ::2])
        np.testing.assert_array_equal(source.read(0, 0, 20, 30).transpose(2, 0, 1), image)


@pytest.mark.parametrize("shape", [(1, 1, 5), (1, 3, 5), (2, 3, 5)])
def test_channels_of_imagej(shape, tmp_path):
    image = stack(*shape)  # time, depth, channel
    tifffile.imwrite(tmp_path / "a.tif", image, imagej=True, metadata={"axes": "TZCYX"})
    np.testing.assert_array_equal(bands_of(tmp_path / "a.tif"), image[0, 0])


def test_planes_in_an_order_that_the_file_tells(tmp_path):
    image = stack(3)
    data = "".join(
        f'<TiffData IFD="{page}" FirstC="{band}" FirstZ="0" FirstT="0" PlaneCount="1"/>'
        for page, band in enumerate((2, 0, 1))
    )
    pixels = '<Pixels SizeX="30" SizeY="20" SizeC="3" SizeZ="1" SizeT="1" DimensionOrder="XYCZT">'
    text = f'<?xml version="1.0"?><OME><Image>{pixels}{data}</Pixels></Image></OME>'
    options = {"photometric": "minisblack", "metadata": None, "description": text}
    tifffile.imwrite(tmp_path / "a.tif", image[[2, 0, 1]], **options)
    np.testing.assert_array_equal(bands_of(tmp_path / "a.tif", 3), image)


def test_planes_in_other_files_are_not_read(tmp_path):
    data = "".join(
        f'<TiffData IFD="0" FirstC="{c}"><UUID FileName="{c}.tif"/></TiffData>' for c in range(5)
    )
    text = f'<OME><Pixels SizeC="5" DimensionOrder="XYCZT">{data}</Pixels></OME>'
    options = {"photometric": "minisblack", "metadata": None, "description": text}
    tifffile.imwrite(tmp_path / "0.tif", stack(5)[0], **options)
    with pytest.raises(DataError, match=r"0\.tif: an image must have 5 bands.*Received: 1 band"):
        open_source(tmp_path / "0.tif", 5, "uint16")


@pytest.mark.parametrize(
    "text",
    [
        '<OME><Pixels SizeC="999999999" DimensionOrder="XYCZT"></Pixels></OME>',
        '<OME><Pixels SizeC="0"></Pixels></OME>',
        '<OME><Pixels SizeC="5" SizeZ="999999999" SizeT="999999999" DimensionOrder="XYZTC"/></OME>',
        '<OME><Pixels SizeC="5" DimensionOrder="XYCCC"/></OME>',
        '<OME><Pixels SizeC="5"><TiffData IFD="77" FirstC="3" PlaneCount="99999999"/></Pixels>',
        "ImageJ=1.53\nchannels=0\n",
        "ImageJ=1.53\nchannels=999\n",
    ],
)
def test_descriptions_that_lie(text, tmp_path):
    options = {"photometric": "minisblack", "metadata": None, "description": text}
    tifffile.imwrite(tmp_path / "a.tif", stack(2), **options)
    with pytest.raises(DataError, match=r"a\.tif: an image must have 5 bands"):
        bands_of(tmp_path / "a.tif")


def test_pages_of_another_size_are_no_bands(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for size in ((20, 30), (20, 30), (10, 30)):
            file.write(np.zeros(size, np.uint16), photometric="minisblack", metadata=None)
    with pytest.raises(DataError, match="must have 5 bands"):
        open_source(tmp_path / "a.tif", 5, "uint16")
