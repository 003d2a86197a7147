"""Finds the pages of a TIFF that are the bands of one image, at its first time and depth.

OME-TIFF and ImageJ keep each channel of a microscope in a page of its own, and say which. Other
files say nothing; then all pages are the bands, if they are alike and as many as asked for.
"""

import re
from typing import Any

_MAX_PAGES = 1000  # that are looked at, to count the bands


def pages_of_bands(tif: Any, channels: int | None) -> list[Any]:
    """Returns the gray pages that are the bands of an image, or the first page alone.

    Args:
        tif: tifffile.TiffFile.
        channels: int. The bands that are wanted, which count if the file does not tell its own.
            None: as many as the file tells.
    """
    first = tif.pages[0]
    if channels == 1 or first.samplesperpixel > 1:
        return [first]
    told = _ome_planes(first.description) or _imagej_planes(first.description)
    if told is not None:
        pages = [_page(tif, i) for i in told]
        return pages if pages and all(page and _alike(page, first) for page in pages) else [first]
    if channels is None:
        return [first]
    alike, i = [first], 0
    while len(alike) <= channels and i < _MAX_PAGES:
        i += 1
        page = _page(tif, i)
        if page is None:
            break
        if page.subfiletype & 1:  # a smaller copy of another page
            continue
        if not _alike(page, first):
            return [first]
        alike.append(page)
    return alike if len(alike) == channels else [first]


def _page(tif, i):
    """Returns a page, None if there is none."""
    try:
        return tif.pages[i]
    except IndexError:
        return None


def _alike(page, first):
    """Whether a page can be a band beside the first one."""
    return (
        page.imagelength == first.imagelength
        and page.imagewidth == first.imagewidth
        and page.samplesperpixel == 1
        and page.dtype == first.dtype
        and page.photometric == first.photometric
    )


def _imagej_planes(description):
    """Returns the pages of the channels that ImageJ's description tells; None if it tells none."""
    found = re.search(r"^channels=(\d{1,3})\s*$", description, re.MULTILINE)
    return range(int(found[1])) if found and description.startswith("ImageJ=") else None


def _ome_planes(description):
    """Returns the pages of the channels that OME-XML tells; None if it tells none.

    The file must hold all of them. An OME-TIFF of several files has one channel here.
    """
    pixels = re.search(r"<Pixels\b[^<>]*>", description) if "<OME" in description else None
    if pixels is None:
        return None
    sizes = {axis: _number(pixels[0], f"Size{axis}", 1) for axis in "CZT"}
    order = re.search(r'\bDimensionOrder="XY([CZT]{3})"', pixels[0])
    order = order[1] if order and len(set(order[1])) == 3 else "CZT"
    if (
        not 1 <= sizes["C"] <= _MAX_PAGES
        or len(set(re.findall(r'FileName="([^"]*)"', description))) > 1
    ):
        return range(1)
    step = 1
    for axis in order[: order.index("C")]:
        step *= sizes[axis]
    planes = [c * step for c in range(sizes["C"])]
    for data in re.findall(r"<TiffData\b[^<>]*>", description.partition("</Pixels>")[0]):
        begin = [_number(data, f"First{axis}", 0) for axis in "CZT"]
        if begin[1:] == [0, 0] and begin[0] < len(planes) and "IFD=" in data:
            planes[begin[0]] = _number(data, "IFD", 0)
            count = _number(data, "PlaneCount", len(planes) if step == 1 else 1)
            for i in range(1, min(count, len(planes) - begin[0]) if step == 1 else 1):
                planes[begin[0] + i] = planes[begin[0]] + i
    return planes


def _number(element, name, default):
    """Returns an attribute of an XML element as int."""
    found = re.search(rf'\b{name}="(\d{{1,9}})"', element)
    return int(found[1]) if found else default
