"""Augmentation: pure functions of an example and a seed, for the graph of tf.data.

An example is a dict of tensors, as `CocoDataset.load` returns it and before it is resized for a
batch; other entries than these pass through.

    image (H, W, 3) uint8, or float32 of whole numbers in 0..255; the dtype stays
    boxes (n, 4) float32 [x1, y1, x2, y2] in pixels, inside the image
    labels (n,) int32 in 1..C
    masks (n, M, M) uint8, the covered share of each cell of the instance's own box times 255
    proposals (p, 4) float32 as boxes, if given

boxes and labels come together or not at all, masks with them or not; n may be 0. Without masks a
box that is cut stays as far as it is inside, and `copy_paste` has nothing to cut out: an error.

An *augmentation* is a callable (example, seed) -> example, with a (2,) integer seed as that of
`tf.random.stateless_uniform`: `random_flip`, `random_rotate90`, `random_crop`,
`large_scale_jitter`, `color_jitter`, with options by `functools.partial`. The same seed gives the
same example. What they draw is done by `flip_horizontal`, `flip_vertical`, `rotate90`, `crop` and
`scale_to_canvas`, which draw nothing. `copy_paste` takes a second example.

A box is the extent of its mask afterwards: an instance that loses pixels gets a new box around the
cells with at least half the coverage of its fullest one, and its mask is sampled again in that box.
A cell is 1/M of the old box's side; a sliver thinner than half a cell is lost. An instance that
loses nothing keeps its box and mask: boxes computed from polygons differ from the extent of the
pixels by 0.3 pixels on average and 1.5 at most (examples/shapes.py), those of nuclei by 0.5.

An instance of which less than `min_visible` is left (by default a tenth of its mask; YOLOv5's
`box_candidates` has this number for boxes) is dropped from the example, and what is left of it in
the image is background then.
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
