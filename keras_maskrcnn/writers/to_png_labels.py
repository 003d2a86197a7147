"""Label images: the value of a pixel is the number of its object, 0 is background."""

import contextlib
from typing import Any

import numpy as np
from PIL import Image

from keras_maskrcnn.files import replacing
from keras_maskrcnn.writers.base import FilePerImage
from keras_maskrcnn.writers.record import ImageRecord

MAX_PNG_PIXELS = 89_478_485  # above this, Pillow warns of a decompression bomb
_BAND = 256  # rows that are drawn at once; a TIFF's tiles have this side


class PngLabels(FilePerImage):
    """Writes an image of 16 bits per image into `png_labels`; object n has the value n.

    Where objects overlap, the pixel belongs to the one with the higher score. The file is a PNG. It
    is a TIFF if there are more than 65535 objects, which need 32 bits, or more pixels than Pillow
    opens without a warning. Of a georeferenced image it is a GeoTIFF, which lies on the image.
    """

    place = "png_labels"
    suffix = ".png"

    def write_image(self, record: ImageRecord, found: dict[str, Any]) -> None:
        """Writes the label image of one image."""
        if "masks" not in found:
            raise ValueError(
                "png_labels needs masks, and the model finds boxes only. Received: "
                f"file_name={record.file_name!r}."
            )
        count = sum(1 for _ in self.detected(found))
        dtype = np.dtype(np.uint16 if count < 2**16 else np.uint32)
        bands = _bands(found["masks"], np.asarray(found["scores"]), dtype)
        if record.crs is not None:
            with replacing(self.new_path(record, ".tif"), sync=False) as new:
                _save_geotiff(new, bands, record, dtype)
        elif dtype == np.uint16 and record.height * record.width <= MAX_PNG_PIXELS:
            with replacing(self.new_path(record), sync=False) as new:
                Image.fromarray(np.concatenate(list(bands))).save(new, format="PNG")
        else:
            with replacing(self.new_path(record, ".tif"), sync=False) as new:
                _save_tiff(new, bands, record, dtype)


def _bands(masks, scores, dtype):
    """Yields the label image in bands of rows, from top to bottom."""
    windows = np.zeros((len(masks), 2), np.int64)  # first and last row of each mask
    for i in range(len(masks)):
        region, (y, _) = masks.crop(i)
        windows[i] = y, y + region.shape[0]
    # The highest score is drawn last, and of equal scores the first object.
    order = np.lexsort([-np.arange(len(masks)), scores])
    height, width = masks.size
    for top in range(0, height, _BAND):
        band = np.zeros((min(_BAND, height - top), width), dtype)
        touched = (windows[:, 0] < top + len(band)) & (windows[:, 1] > top)
        for i in order[touched[order]].tolist():
            region, (y, x) = masks.crop(i)
            region = region[max(0, top - y) : top + len(band) - y]
            y = max(0, y - top)
            place = band[y : y + region.shape[0], x : x + region.shape[1]]
            place[region] = i + 1
        yield band


def _save_geotiff(path, bands, record, dtype):
    with _needing("geo", record):
        import rasterio
    options = {
        **{"driver": "GTiff", "count": 1, "height": record.height, "width": record.width},
        **{"dtype": dtype.name, "nodata": 0, "crs": record.crs},
        **{"transform": rasterio.Affine(*record.transform), "compress": "deflate"},
        **{"tiled": True, "blockxsize": _BAND, "blockysize": _BAND, "BIGTIFF": "IF_SAFER"},
    }
    with rasterio.open(path, "w", **options) as file:
        for i, band in enumerate(bands):
            window = rasterio.windows.Window(0, i * _BAND, *band.shape[::-1])
            file.write(band, 1, window=window)


def _save_tiff(path, bands, record, dtype):
    with _needing("formats", record):
        import tifffile
    tiles = (band[:, x : x + _BAND] for band in bands for x in range(0, record.width, _BAND))
    tifffile.imwrite(
        path,
        tiles,
        shape=(record.height, record.width),
        dtype=dtype,
        tile=(_BAND, _BAND),
        compression="zlib",
        photometric="minisblack",
        metadata=None,
    )


@contextlib.contextmanager
def _needing(extra, record):
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"{record.file_name}: a label image of this kind is a TIFF, which needs the extra "
            f"{extra}: pip install keras3-maskrcnn[{extra}]. Received: {error}."
        ) from error
