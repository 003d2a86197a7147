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

import tensorflow as tf

from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.ops import masks as mask_ops

BOXES = {"boxes", "proposals"}  # what is moved with the image
INSTANCES = ("boxes", "labels", "masks")
MIN_VISIBLE = 0.1
FILL = 128  # detectron2's FixedSizeCrop; near the mean color of photographs
LUMA = (0.299, 0.587, 0.114)  # of grey in ITU-R BT.601, as torchvision and Pillow


def apply(example, seed, augmentations):
    """Applies augmentations one after the other, each with a seed of its own.

    Args:
        example: dict, see the module.
        seed: (2,) integer.
        augmentations: sequence of callables (example, seed) -> example.
    """
    for i, augmentation in enumerate(augmentations):
        example = augmentation(example, tf.random.fold_in(seed, i))
    return example


def maybe(probability, augmentation):
    """Makes an augmentation that applies another one with a probability in [0, 1]."""

    def augment(example, seed):
        draw, seed = tf.unstack(tf.random.split(seed))
        return tf.cond(
            _uniform(draw) < probability, lambda: augmentation(example, seed), lambda: example
        )

    return augment


def random_flip(example, seed, horizontal=0.5, vertical=0.0):
    """Mirrors an example left to right, and top to bottom, with these probabilities."""
    draw = _uniform(seed, [2])
    example = tf.cond(draw[0] < horizontal, lambda: flip_horizontal(example), lambda: example)
    return tf.cond(draw[1] < vertical, lambda: flip_vertical(example), lambda: example)


def random_rotate90(example, seed):
    """Turns an example by 0, 90, 180 or 270 degrees, all equally likely."""
    turns = tf.cast(4 * _uniform(seed), tf.int32)
    return tf.switch_case(turns, [lambda k=k: rotate90(example, k) for k in range(4)])


def random_crop(example, seed, low=0.5, high=1.0, min_visible=MIN_VISIBLE):
    """Cuts out a random window that holds the center of a random instance's box.

    As detectron2's crop with instances. Without instances any window will do.

    Args:
        example: dict, see the module.
        seed: (2,) integer.
        low, high: float in (0, 1]. Range of the window's sides in parts of the image's, drawn for
            each axis.
        min_visible: as in `crop`; that instance too is dropped if too little of it is inside.
    """
    _check(0 < low <= high <= 1, "0 < low <= high <= 1", low=low, high=high)
    which, extent, place = tf.unstack(tf.random.split(seed, 3))
    size = tf.cast(_width_height(example["image"]), tf.float32)
    sides = tf.maximum(tf.floor(size * _uniform(extent, [2], low, high)), 1.0)
    lowest, highest = tf.zeros([2]), size - sides
    if "boxes" in example:
        count = tf.shape(example["boxes"])[0]
        index = tf.cast(_uniform(which) * tf.cast(count, tf.float32), tf.int32)
        box = tf.pad(example["boxes"], [[0, 1], [0, 0]])[index]  # the padding is for no instance
        center = (box[:2] + box[2:]) / 2
        lowest = tf.where(count > 0, tf.maximum(tf.floor(center - sides) + 1, 0.0), lowest)
        highest = tf.where(count > 0, tf.minimum(tf.floor(center), highest), highest)
    corner = tf.floor(lowest + _uniform(place, [2]) * (highest - lowest + 1))
    corner = tf.minimum(corner, highest)
    return crop(example, tf.cast(tf.concat([corner, corner + sides], 0), tf.int32), min_visible)


def large_scale_jitter(example, seed, size, low=0.1, high=2.0, min_visible=MIN_VISIBLE, fill=FILL):
    """Scales an example at random and brings it to size x size (Simple Copy-Paste, §3).

    Args:
        example: dict, see the module.
        seed: (2,) integer.
        size: int. Sides of the result; the image is 1024 x 1024 in the paper.
        low, high: float > 0. Range of the scale; at 1 the image just fits.
        min_visible: as in `crop`.
        fill: int in 0..255. Value of the padding.
    """
    _check(0 < low <= high, "0 < low <= high", low=low, high=high)
    draw, place = tf.unstack(tf.random.split(seed))
    scale = _uniform(draw, [], low, high)
    return scale_to_canvas(example, size, scale, _uniform(place, [2]), min_visible, fill)


def random_side(seed, sides):
    """Draws a shorter side for multi-scale training: one of `sides`, () int32."""
    sides = tf.constant(sides, tf.int32)
    return sides[tf.cast(_uniform(seed) * len(sides), tf.int32)]


def color_jitter(example, seed, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0):
    """Changes the colors of the image as torchvision's ColorJitter, but always in this order.

    Args:
        example: dict, see the module.
        seed: (2,) integer.
        brightness, contrast, saturation: float in [0, 1]. With strength s the image is mixed with
            black, with its mean grey or with its own grey, itself at a weight in 1 - s..1 + s.
        hue: float in [0, 0.5]. The largest turn of the hue, of a full circle of 1.
    """
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    for name, strength in strengths.items():
        _check(0 <= strength <= 1, f"0 <= {name} <= 1", **{name: strength})
    _check(0 <= hue <= 0.5, "0 <= hue <= 0.5", hue=hue)
    draw = _uniform(seed, [4], -1.0, 1.0)
    image = tf.cast(example["image"], tf.float32)

    def mix(image, other, weight):
        return tf.clip_by_value(other + (1 + weight) * (image - other), 0.0, 255.0)

    def grey(image):
        return tf.reduce_sum(image * tf.constant(LUMA), axis=-1, keepdims=True)

    if brightness:
        image = mix(image, 0.0, draw[0] * brightness)
    if contrast:
        image = mix(image, tf.reduce_mean(grey(image)), draw[1] * contrast)
    if saturation:
        image = mix(image, grey(image), draw[2] * saturation)
    if hue:
        image = tf.clip_by_value(tf.image.adjust_hue(image / 255, draw[3] * hue) * 255, 0.0, 255.0)
    return {**example, "image": tf.cast(tf.round(image), example["image"].dtype)}


def copy_paste(example, other, seed, share=0.5, min_visible=MIN_VISIBLE):
    """Pastes random instances of another example (Simple Copy-Paste, Ghiasi et al., 2021).

    The paper jitters both with `large_scale_jitter` and flips them before. Its blurred edges are
    left out: without them the results were as good (§3).

    Args:
        example, other: dicts with instances, see the module.
        seed: (2,) integer.
        share: float in [0, 1]. Probability of each instance of `other` to be pasted.
        min_visible: as in `paste`.
    """
    chosen = _uniform(seed, tf.shape(other["labels"])) < share
    return paste(example, _keep(other, chosen), min_visible)


def at_most(example, limit, seed):
    """Takes `limit` random instances, in their order, if there are more."""
    order = tf.argsort(_uniform(seed, tf.shape(example["labels"])))
    kept = tf.sort(order[:limit])
    return {**example, **{name: tf.gather(example[name], kept) for name in instances(example)}}


def instances(example):
    """The entries of an example that have a row for each instance."""
    return [name for name in INSTANCES if name in example]


def flip_horizontal(example):
    """Mirrors an example left to right; twice is the identity."""
    width = tf.cast(tf.shape(example["image"])[1], tf.float32)
    flipped = {**example, "image": example["image"][:, ::-1]}
    for name in BOXES & example.keys():
        x1, y1, x2, y2 = tf.unstack(example[name], axis=-1)
        flipped[name] = tf.stack([width - x2, y1, width - x1, y2], axis=-1)
    if "masks" in example:
        flipped["masks"] = example["masks"][..., ::-1]
    return flipped


def flip_vertical(example):
    """Mirrors an example top to bottom; twice is the identity."""
    height = tf.cast(tf.shape(example["image"])[0], tf.float32)
    flipped = {**example, "image": example["image"][::-1]}
    for name in BOXES & example.keys():
        x1, y1, x2, y2 = tf.unstack(example[name], axis=-1)
        flipped[name] = tf.stack([x1, height - y2, x2, height - y1], axis=-1)
    if "masks" in example:
        flipped["masks"] = example["masks"][:, ::-1]
    return flipped


def rotate90(example, turns=1):
    """Turns an example counterclockwise by `turns` quarters, an int; four are the identity."""
    for _ in range(turns % 4):
        example = flip_vertical(_transpose(example))
    return example


def crop(example, window, min_visible=MIN_VISIBLE):
    """Cuts an example to a window of its image.

    Proposals are clipped too, and may lose their area. Painted in full, masks that are cut have an
    IoU of 0.9997 with the cut of those in full resolution, for shapes of 100 to 256 pixels at
    M = 112 (0.9999 if M x M cells are made of the latter), and of 1 for nuclei.

    Args:
        example: dict, see the module.
        window: (4,) int32 [x1, y1, x2, y2], not empty, inside the image.
        min_visible: float in [0, 1]. An instance is dropped if a smaller share of its mask is left.

    Returns:
        The example: first the instances that lie wholly inside, then those that are cut.
    """
    x1, y1, x2, y2 = tf.unstack(window)
    cropped = {**example, "image": example["image"][y1:y2, x1:x2]}
    limits = tf.cast(window, tf.float32)
    low, high = tf.tile(limits[:2], [2]), tf.tile(limits[2:], [2])
    if "proposals" in example:
        cropped["proposals"] = tf.clip_by_value(example["proposals"], low, high) - low
    if "boxes" not in example:
        return cropped
    clipped = tf.clip_by_value(example["boxes"], low, high)
    whole = tf.reduce_all(clipped == example["boxes"], axis=1)
    partly = ~whole & (box_ops.shorter_side(clipped) > 0)
    cut, frames = _keep(example, partly), tf.boolean_mask(clipped, partly)
    if "masks" not in example:
        visible = tf.math.divide_no_nan(box_ops.area(frames), box_ops.area(cut["boxes"]))
        cut = _keep({**cut, "boxes": frames}, visible >= min_visible)
        cropped |= _join(_keep(example, whole), cut)
        return cropped | {"boxes": cropped["boxes"] - low}
    boxes, masks = cut["boxes"], cut["masks"]
    # In cells of their own inside the window, because those of the mask do not end at its border.
    inside = _recrop(masks, boxes, frames)
    left = _mass(inside) * box_ops.area(frames)
    visible = tf.math.divide_no_nan(left, _mass(masks) * box_ops.area(boxes))
    moved = _extents(inside, frames)
    cut |= {"boxes": moved, "masks": _recrop(masks, boxes, moved)}
    cut = _keep(cut, (visible >= min_visible) & (left > 0))
    cropped |= _join(_keep(example, whole), cut)
    return cropped | {"boxes": cropped["boxes"] - low}


def scale_to_canvas(
    example, size, scale=1.0, offset=(0.0, 0.0), min_visible=MIN_VISIBLE, fill=FILL
):
    """Scales an example to fit scale * size, then cuts it or pads it to size x size.

    Args:
        example: dict, see the module.
        size: int. Sides of the result.
        scale: () float > 0. At 1 the image just fits, its longer side becomes `size`.
        offset: (2,) float in [0, 1). What is cut left and above, in parts of what is too much.
        min_visible: as in `crop`.
        fill: int in 0..255. Value of the padding, right and below.
    """
    old = _width_height(example["image"])
    side = tf.cast(scale, tf.float64) * size
    image = image_ops.resize(example["image"], side, side)
    scaled = {**example, "image": tf.cast(image, example["image"].dtype)}
    new = _width_height(image)
    for name in BOXES & example.keys():
        scaled[name] = example[name] * tf.tile(tf.cast(new / old, tf.float32), [2])
    room = tf.cast(tf.maximum(new - size, 0) + 1, tf.float32)
    corner = tf.cast(tf.floor(offset * room), tf.int32)
    window = tf.concat([corner, tf.minimum(corner + size, new)], axis=0)
    return _pad(crop(scaled, window, min_visible), size, size, fill)


def paste(example, other, min_visible=MIN_VISIBLE):
    """Puts all instances of another example on top of this one, upper left corner on corner.

    What they cover is lost to the instances below; proposals stay as they are.

    Args:
        example, other: dicts with instances, see the module. Where `other` reaches beyond the
            image it is cut.
        min_visible: float in [0, 1]. An instance is dropped if a smaller share of its mask is left,
            of the base and, where it is cut, of the other.

    Returns:
        The example: its own instances, first those far from the pasted ones, then the pasted ones.
    """
    _check("masks" in other, "a data set with masks", masks=False)
    size = tf.shape(example["image"])[:2]
    common = tf.minimum(size, tf.shape(other["image"])[:2])
    other = crop(other, tf.stack([0, 0, common[1], common[0]]), min_visible)
    other = _pad(other, size[0], size[1], 0)
    painted = _paint(other["masks"], other["boxes"], size)
    pixels = tf.cast(other["image"], example["image"].dtype)
    image = tf.where(painted[..., None], pixels, example["image"])

    near = tf.reduce_any(box_ops.iou(example["boxes"], other["boxes"]) > 0, axis=1)
    apart, below = _keep(example, ~near), _keep(example, near)
    boxes, masks = below["boxes"], below["masks"]
    uncovered = 1 - _coverage(painted, boxes, masks.shape[1])
    remaining = tf.cast(tf.round(tf.cast(masks, tf.float32) * uncovered), tf.uint8)
    left = _mass(remaining)
    visible = tf.math.divide_no_nan(left, _mass(masks))
    whole = tf.reduce_all(remaining == masks, axis=[1, 2])
    moved = tf.where(whole[:, None], boxes, _fine_extents(remaining, boxes))
    below |= {"boxes": moved, "masks": _recrop(remaining, boxes, moved)}
    below = _keep(below, whole | ((visible >= min_visible) & (left > 0)))
    return {**example, "image": image, **_join(apart, below, other)}


def tighten(example):
    """Moves every box to the extent of its mask; instances of empty masks are dropped."""
    boxes = _fine_extents(example["masks"], example["boxes"])
    masks = _recrop(example["masks"], example["boxes"], boxes)
    return _keep({**example, "boxes": boxes, "masks": masks}, _mass(example["masks"]) > 0)


def _uniform(seed, shape=(), low=0.0, high=1.0):
    return tf.random.stateless_uniform(shape, seed, low, high)


def _width_height(image):
    """(2,) int32, in the order of x and y."""
    return tf.gather(tf.shape(image), [1, 0])


def _check(valid, expected, **received):
    if not valid:
        values = ", ".join(f"{name}={value}" for name, value in received.items())
        raise ValueError(f"Must be {expected}. Received: {values}.")


def _keep(example, keep):
    """Leaves out the instances where `keep` (n,) is False."""
    kept = {name: tf.boolean_mask(example[name], keep) for name in instances(example)}
    return {**example, **kept}


def _join(*examples):
    """The instances of several examples, one after the other."""
    names = instances(examples[0])
    return {name: tf.concat([e[name] for e in examples], axis=0) for name in names}


def _transpose(example):
    """Swaps x and y."""
    swapped = {**example, "image": tf.transpose(example["image"], [1, 0, 2])}
    for name in BOXES & example.keys():
        swapped[name] = tf.gather(example[name], [1, 0, 3, 2], axis=1)
    if "masks" in example:
        swapped["masks"] = tf.transpose(example["masks"], [0, 2, 1])
    return swapped


def _pad(example, height, width, fill):
    """Pads the image right and below."""
    shape = tf.shape(example["image"])
    missing = [[0, height - shape[0]], [0, width - shape[1]], [0, 0]]
    image = tf.pad(example["image"], missing, constant_values=fill)
    sides = [tf.get_static_value(side) for side in (height, width)]
    return {**example, "image": tf.ensure_shape(image, [*sides, 3])}


def _mass(masks):
    """The sum of each mask's cells, (n,) float32."""
    return tf.reduce_sum(tf.cast(masks, tf.float32), axis=[1, 2])


def _extents(masks, boxes):
    """Boxes around the cells with at least half the coverage of the fullest one.

    Half of the fullest, and not of 255: a line thinner than a cell has an extent too.

    Returns:
        (n, 4) float32; the box itself for an empty mask.
    """
    side = masks.shape[1]
    values = tf.cast(masks, tf.int32)
    covered = 2 * values >= tf.reduce_max(values, axis=[1, 2], keepdims=True)
    # x from what is covered in any row, y in any column; (n, 2, M)
    lines = tf.stack([tf.reduce_any(covered, axis=1), tf.reduce_any(covered, axis=2)], axis=1)
    lines = tf.cast(lines, tf.int32)
    before = tf.argmax(lines, axis=2, output_type=tf.int32) / side
    behind = tf.argmax(lines[..., ::-1], axis=2, output_type=tf.int32) / side
    sides = boxes[:, 2:] - boxes[:, :2]
    low = boxes[:, :2] + tf.cast(before, tf.float32) * sides
    high = boxes[:, 2:] - tf.cast(behind, tf.float32) * sides
    return tf.concat([low, high], axis=1)


def _fine_extents(masks, boxes):
    """`_extents`, and again in the finer cells that the masks are then sampled in."""
    rough = _extents(masks, boxes)
    return _extents(_recrop(masks, boxes, rough), rough)


def _recrop(masks, boxes, new_boxes):
    """Samples masks in other boxes: (n, M, M) uint8."""
    side, count = masks.shape[1], tf.shape(masks)[0]
    sampled = mask_ops.sample(masks, boxes, tf.range(count), new_boxes, side, side)
    return tf.cast(tf.round(sampled), tf.uint8)


def _coverage(painted, boxes, side):
    """The share of each cell of each box that is painted.

    Args:
        painted: (H, W) bool.
        boxes: (n, 4) float32.
        side: int M.

    Returns:
        (n, M, M) float32 in [0, 1], the mean of 2 x 2 points.
    """
    # Beyond the image's border the border pixel counts.
    grid = tf.pad(tf.cast(painted, tf.uint8), [[1, 1], [1, 1]], "SYMMETRIC")[None]
    height, width = tf.unstack(tf.cast(tf.shape(painted), tf.float32))
    frame = [[-1.0, -1.0, width + 1, height + 1]]
    owners = tf.zeros([tf.shape(boxes)[0]], tf.int32)
    points = mask_ops.sample(grid, tf.stack(frame), owners, boxes, 2 * side, 2 * side)
    return tf.nn.avg_pool2d(points[..., None], 2, 2, "VALID")[..., 0]


def _paint(masks, boxes, size):
    """Which pixels of an image of this size belong to any of the masks: (H, W) bool."""

    limit = tf.gather(size, [1, 0])  # x, y

    def add(canvas, instance):
        mask, box = instance
        low = tf.clip_by_value(tf.cast(tf.floor(box[:2]), tf.int32), 0, limit - 1)
        high = tf.clip_by_value(tf.cast(tf.math.ceil(box[2:]), tf.int32), low + 1, limit)
        window = tf.cast(tf.concat([low, high], axis=0), tf.float32)[None]
        width, height = tf.unstack(high - low)
        values = mask_ops.sample(mask[None], box[None], [0], window, height, width)[0]
        around = tf.gather(tf.stack([low, limit - high], axis=1), [1, 0])
        return canvas | tf.reshape(tf.pad(values >= 127.5, around), size)

    # One at a time: all at once would take an image of memory for each.
    return tf.foldl(add, (masks, boxes), tf.zeros(size, tf.bool))
