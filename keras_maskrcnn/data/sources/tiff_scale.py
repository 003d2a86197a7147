"""Micrometers per pixel, as a TIFF tells them."""

import math
import re

# A resolution in a TIFF is mostly that of a printer or a screen. Even 2540 dots per inch, more than
# any printer has, are 10 micrometers per pixel.
_PLAUSIBLE = 0.001, 10.0
_MICRONS_OF = {
    "nm": 1e-3,
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "\\u00b5m": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "inch": 25400.0,
}


def microns_per_pixel(
    description: str, x_resolution: float | None, y_resolution: float | None, unit: int
) -> float | None:
    """Returns micrometers per pixel from the tags of a TIFF's first page.

    These places are asked, and the first that tells is used: the OME-XML (`PhysicalSizeX`), the
    description of ImageJ (`unit=`, with the resolution in pixels per unit), and the resolution in
    pixels per centimeter or inch. The last must give 0.001 to 10 micrometers, because else it is
    that of a print.

    Args:
        description: str. Tag ImageDescription, empty if missing.
        x_resolution, y_resolution: float. Tags XResolution and YResolution, None if missing.
        unit: int. Tag ResolutionUnit: 1 for none, 2 for inch, 3 for centimeter.

    Returns:
        float; None if nothing tells, or if a pixel is not square (by over 1 %).
    """
    if "<OME" in description:
        pixels = re.search(r"<Pixels\b[^<>]*>", description)
        sides = [_ome_side(pixels.group(), axis) for axis in "XY"] if pixels else [None, None]
        return _square(*sides)
    if not x_resolution or not y_resolution:
        return None
    sides = [1 / x_resolution, 1 / y_resolution]
    if description.startswith("ImageJ="):
        named = re.search(r"^unit=(.*)$", description, re.MULTILINE)
        factor = _MICRONS_OF.get(named.group(1).strip().lower()) if named else None
        return _square(*(side * factor for side in sides)) if factor else None
    factor = {2: 25400.0, 3: 10000.0}.get(unit)
    microns = _square(*(side * factor for side in sides)) if factor else None
    return microns if microns and _PLAUSIBLE[0] <= microns <= _PLAUSIBLE[1] else None


def _ome_side(pixels, axis):
    """Reads PhysicalSizeX or PhysicalSizeY of a Pixels element, in micrometers."""
    size = re.search(rf'\bPhysicalSize{axis}="([\d.eE+-]+)"', pixels)
    unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]*)"', pixels)
    factor = _MICRONS_OF.get(unit.group(1).lower() if unit else "µm")
    try:
        return float(size.group(1)) * factor if size and factor else None
    except ValueError:
        return None


def _square(x, y):
    """Returns the side of a square pixel; None if it is not square, or no length."""
    known = x is not None and y is not None and 0 < x < math.inf and 0 < y < math.inf
    return (x + y) / 2 if known and abs(x - y) <= 0.01 * max(x, y) else None
