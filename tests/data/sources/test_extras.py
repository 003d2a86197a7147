"""data/sources/extras.py: one line names the extra."""

from keras_maskrcnn.data.sources.extras import needed


def test_the_line_names_file_extra_and_cause():
    error = needed("a.tif", "geo", ModuleNotFoundError("No module named 'rasterio'"))
    assert str(error) == (
        "a.tif: needs the extra geo: pip install keras3-maskrcnn[geo]. "
        "Received: No module named 'rasterio'."
    )
    assert str(needed("a.tif", "tiff")).endswith("[tiff].")
