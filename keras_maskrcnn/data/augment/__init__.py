"""Augmentations: pure functions of an example and a seed, for the graph of tf.data.

An *example* is a dict of tensors, as `CocoDataset.load` returns it. It is not yet resized for a
batch. Entries other than these stay unchanged.

- `image`: (H, W, C) uint8, or float32 in which 255 is white. The dtype stays.
- `boxes`: (n, 4) float32 [x1, y1, x2, y2] in pixels, inside the image.
- `labels`: (n,) int32 in 1..C.
- `masks`: (n, M, M) uint8. The share of each cell of the instance's box that is covered, times 255.
- `proposals`: (p, 4) float32 as `boxes`, if given.
- `ignored`: (r, 4) float32 as `boxes`, if given. Regions where nothing is background.

An example has both boxes and labels, or neither. Masks are optional; n may be 0. Without masks, a
crop clips boxes to the window, and `copy_paste` raises an error.

An *augmentation* is a callable (example, seed) -> example. The seed is a (2,) integer as in
`tf.random.stateless_uniform`; the same seed gives the same example. The augmentations here are
`random_flip`, `random_rotate90`, `random_crop`, `large_scale_jitter` and `color_jitter`. Pass their
options by `functools.partial`. They draw random numbers and then call deterministic functions:
`flip_horizontal`, `flip_vertical`, `rotate90`, `crop` and `scale_to_canvas`. `copy_paste` takes a
second example. All of these return the changed example; the dict that they got stays as it was.

An instance that loses pixels gets a new box: the extent of its remaining mask. This is around the
cells with at least half the coverage of the fullest cell. The mask is sampled again in that box. A
cell is 1/M of the old box's side; a sliver thinner than half a cell is lost. An instance that loses
nothing keeps its box and mask, because boxes from polygons are not the extent of the pixels. The
two differ by 0.3 pixels on average and at most 1.5 (examples/shapes.py), for nuclei by 0.5.

An instance is dropped if the share of its mask that is left is below `min_visible`. The default is
a tenth, as for boxes in YOLOv5's `box_candidates`. Its remaining pixels in the image then count as
background.

Functions that take an example return the changed one, and leave the given dict as it is.
"""

from keras_maskrcnn.data.augment.color import LUMA, color_jitter
from keras_maskrcnn.data.augment.draws import apply, maybe, random_side
from keras_maskrcnn.data.augment.examples import BOXES, INSTANCES, MIN_VISIBLE, at_most, instances
from keras_maskrcnn.data.augment.geometry import (
    FILL,
    crop,
    flip_horizontal,
    flip_vertical,
    large_scale_jitter,
    random_crop,
    random_flip,
    random_rotate90,
    rotate90,
    scale_to_canvas,
)
from keras_maskrcnn.data.augment.pasting import copy_paste, paste
from keras_maskrcnn.data.augment.tightening import tighten

__all__ = [
    "BOXES",
    "FILL",
    "INSTANCES",
    "LUMA",
    "MIN_VISIBLE",
    "apply",
    "at_most",
    "color_jitter",
    "copy_paste",
    "crop",
    "flip_horizontal",
    "flip_vertical",
    "instances",
    "large_scale_jitter",
    "maybe",
    "paste",
    "random_crop",
    "random_flip",
    "random_rotate90",
    "random_side",
    "rotate90",
    "scale_to_canvas",
    "tighten",
]
