"""Draws boxes, masks, names and scores into a picture, with NumPy and Pillow.

Colors are those of Okabe and Ito ("Color Universal Design", 2008) without black, which people with
the common kinds of color blindness can distinguish. Every instance also has an outline and a label.
"""

from keras_maskrcnn.visualize.drawing import (
    PALETTE,
    colors_of,
    draw,
    grid,
    largest_first,
    legend,
    save_png,
)
from keras_maskrcnn.visualize.look import Bands, Stretch, default_stretch
from keras_maskrcnn.visualize.shown import Picture, as_rgb

__all__ = [
    "PALETTE",
    "Bands",
    "Picture",
    "Stretch",
    "as_rgb",
    "colors_of",
    "default_stretch",
    "draw",
    "grid",
    "largest_first",
    "legend",
    "save_png",
]
