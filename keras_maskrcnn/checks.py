"""Refuses images, boxes, labels and masks that no batch can hold, with an error of one line.

The checks are TensorFlow operations. They look at the first images of an array, and in a graph at
every batch. Odd but possible data pass: a dark image, an image without objects, a mask cut to a
sliver.
"""

import contextlib
import re
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.coco_checks import BOXES_DO
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.origin import data_error, made_with
from keras_maskrcnn.pixel_checks import check_form, check_images, ensure
from keras_maskrcnn.typing import Proposals, Tensors

_FIRST, _EVERY = 8, 16  # of an array the first 8 images are checked, every 16th row and column
_LINE = re.compile(r"assertion failed: \[(.*Received: .*\.)\]")
_ABORTED = re.compile(r".*Collective ops is aborted by: (.*)")


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Turns TensorFlow's error about a failed check or a `DataError` into its one line.

    Raises:
        ValueError: if a check of this module failed.
        DataError: if `data.batches` raised one, in this worker or in another one.
        RuntimeError: if another worker failed otherwise, or was lost.
    """
    try:
        yield
    except tf.errors.OpError as error:
        line = data_error(error)  # first: a `DataError` may be an assertion too
        if line is not None:
            raise DataError(line) from None
        found = _LINE.search(error.message)
        if found is not None:
            raise ValueError(found[1]) from None
        found = _ABORTED.search(error.message)
        if found is None:
            raise
        raise RuntimeError(
            f"another worker failed or was lost: its log says why. Received: {found[1]}"
        ) from None


# Arrays and data sets, before a model gets them


def check_data(
    x: Any,
    y: Any = None,
    *,
    finite: bool = True,
    reading: Mapping[str, Any] | None = None,
    **targets: Any,
) -> Any:
    """Checks the arguments of `fit`, `evaluate` or `predict` before anything is traced.

    Args:
        x: arrays, of which the first images are checked; or a tf.data.Dataset. Anything else passes
            unchecked.
        y: dict of arrays, the targets; None if there are none.
        finite: bool. Whether pixels must be finite. If not, `training.Sentinel` handles them.
        reading: dict. The model's `config.reading()`; None for that of RGB of 8 bits.
        **targets: arguments of `check_targets`, if there are any.

    Returns:
        `x`. A data set of floats that `data.batches` did not make gets a check: it raises an error
            at the first wrong batch.

    Raises:
        ValueError: if something is wrong.
    """
    reading = dict(reading or {})
    if isinstance(x, tf.data.Dataset):
        return _check_dataset(x, finite, reading)
    images: Any = x.get("images") if isinstance(x, dict) else x
    channels = reading.get("channels", 3)
    if isinstance(images, list | tuple):
        raise ValueError(
            f"images must be one array (B, H, W, {channels}): np.stack(...) joins images of one "
            f"size. Received: a {type(images).__name__} of {len(images)}."
        )
    if type(images).__module__.partition(".")[0] == "PIL":
        how = "use np.asarray(image.convert('RGB'))[None], or " if channels == 3 else "use "
        raise ValueError(
            f"images must be an array (B, H, W, {channels}): {how}predict_image(model, image). "
            f"Received: {type(images).__name__}."
        )
    for part in (x, y):
        for name, value in part.items() if isinstance(part, dict) else ():
            if not hasattr(value, "shape"):
                raise ValueError(f"{name} must be an array. Received: {type(value).__name__}.")
    if not hasattr(images, "__array__"):
        return x
    reading |= {"batch": _is_batch(x)}
    check_form(tf.TensorSpec(images.shape, images.dtype), **reading)
    # On the CPU, where the arrays are. The first images are enough: the graph checks every batch.
    with tf.device("CPU:0"), plain_errors():
        if images.dtype != np.uint8:  # any uint8 value is valid
            _check_some_pixels(images[:_FIRST], finite, reading)
        if isinstance(y, dict) and isinstance(x, dict):
            first, targets_of_first = (
                {name: tf.convert_to_tensor(value[:_FIRST]) for name, value in part.items()}
                for part in (x, y)
            )
            check_targets(first, targets_of_first, **targets)
    return x


def check_resizing(dataset: Any, resizing: Mapping[str, Any]) -> str:
    """Says how batches of `data.batches` were resized differently than the model resizes images.

    Args:
        dataset: anything. Only data sets that `data.batches` made are checked, also after `take`
            and similar methods.
        resizing: dict. The model's `config.resizing()`.

    Returns:
        str, one line; empty if there is no difference, or the data set is unknown.
    """
    given, _ = made_with(dataset)
    if given is None:
        return ""
    own = {name: given[name] for name in resizing}
    sides = np.ravel(own["min_side"])
    if len(sides) > 1 and sides.min() <= resizing["min_side"] <= sides.max():
        own["min_side"] = resizing["min_side"]  # multi-scale training around the model's size
    if given["rescales"]:
        own |= {name: resizing[name] for name in ("min_side", "max_side")}
    if given["canvases"] or own["padding_multiple"] % resizing["padding_multiple"] == 0:
        own["padding_multiple"] = resizing["padding_multiple"]
    different = [name for name in resizing if own[name] != resizing[name]]
    if not different:
        return ""
    theirs = ", ".join(f"{name}={reprlib.repr(own[name])}" for name in different)
    ours = ", ".join(f"{name}={resizing[name]!r}" for name in different)
    return (
        f"the batches were resized differently than the model resizes ({ours}); make them with "
        f"data.batches(..., **model.config.resizing()). Received: {theirs}."
    )


def check_reading(dataset: Any, reading: Mapping[str, Any], *, whole: bool = False) -> None:
    """Raises ValueError if the images of a data set are not those that a model takes.

    Args:
        dataset: `CocoDataset`, or an object like it. A missing attribute is that of 8-bit RGB.
        reading: dict. The model's `config.reading()`.
        whole: bool. Whether the model gets the pixels as they are stored, so that their dtype and
            white count too. `data.batches` scales pixels, and only the channels count.
    """
    found = vars(Reading.of(dataset))
    names = reading if whole else ["channels"]
    different = [name for name in names if found[name] != reading[name]]
    if different:
        ours = ", ".join(f"{name}={reading[name]!r}" for name in different)
        theirs = ", ".join(f"{name}={found[name]!r}" for name in different)
        raise ValueError(
            f"the data set must have images of the model's {ours}: read it with "
            f"**model.config.reading(). Received: {theirs}."
        )


def check_given_proposals(source: str, proposals: Proposals | None) -> None:
    """Raises ValueError if a model with an RPN gets proposals, or a model without one gets none.

    Args:
        source: `config.proposals` of the model.
        proposals: data.ProposalFile or a dict; None if none are given.
    """
    if (source == "precomputed") != (proposals is not None):
        raise ValueError(
            "a model without an RPN needs proposals, and a model with one takes none. Received: a "
            f"model with proposals={source!r}, and {'no' if proposals is None else 'some'}."
        )


def _is_batch(inputs):
    """Whether inputs of a model are a batch of `data.batches`, whose pixels are in 0..255."""
    return isinstance(inputs, dict) and "sizes" in inputs


def _check_some_pixels(images, finite, reading):
    """Checks every 16th row and column of images, and all pixels if that fails."""
    try:
        check_images(tf.convert_to_tensor(images[:, ::_EVERY, ::_EVERY]), finite, **reading)
    except tf.errors.InvalidArgumentError:
        check_images(tf.convert_to_tensor(images), finite, **reading)


def _check_dataset(dataset, finite, reading):
    """Adds `check_images` to a data set, unless `data.batches` made it and it is unchanged."""
    _, untouched = made_with(dataset)
    spec = dataset.element_spec
    inputs = spec[0] if isinstance(spec, tuple) else spec
    images = inputs.get("images") if isinstance(inputs, dict) else inputs
    if not isinstance(images, tf.TensorSpec):
        return dataset
    reading |= {"batch": _is_batch(inputs)}
    check_form(images, **reading)
    if untouched:
        return dataset

    def look(*batch):
        inputs = batch[0]
        if isinstance(inputs, dict):
            inputs = {**inputs, "images": check_images(inputs["images"], finite, **reading)}
        else:
            inputs = check_images(inputs, finite, **reading)
        return (inputs, *batch[1:]) if isinstance(spec, tuple) else inputs

    return dataset.map(tf.autograph.experimental.do_not_convert(look))


# Checks that also work in a graph


def check_prediction(inputs: tf.Tensor | Tensors, **reading: Any) -> tf.Tensor | Tensors:
    """Checks the inputs of `predict`, as `check_images` and `check_inputs` do.

    Args:
        inputs: inputs of `MaskRCNN`: a dict of tensors, or a tensor. Images of `data.batches`,
            which are always float32, need only be finite.
        **reading: the model's `config.reading()`; by default that of RGB of 8 bits.

    Returns:
        The same inputs.
    """
    inputs = _tensors(inputs)
    if not isinstance(inputs, dict):
        return check_images(inputs, **reading)
    images = inputs.get("images")
    if images is None:
        return inputs  # the model says what is missing
    if "sizes" not in inputs:
        images = check_images(images, **reading)
    elif images.dtype.is_floating:
        total = tf.reduce_sum(tf.cast(images, tf.float32))
        finite = tf.math.is_finite(total)
        images = ensure(images, [(finite, "pixels must be finite.", {"sum": total})])
    return check_inputs({**inputs, "images": images})


def _tensors(data):
    """Turns arrays into tensors. When steps run eagerly, Keras passes on the user's arrays."""
    return tf.nest.map_structure(lambda x: tf.constant(x) if isinstance(x, np.ndarray) else x, data)


def check_inputs(inputs: Tensors, finite: bool = True) -> Tensors:
    """Checks the sizes and proposals of a batch. Errors are raised as in `check_targets`.

    Args:
        inputs: dict of tensors, see `MaskRCNN`.
        finite: bool. Whether proposals must be finite.

    Returns:
        The same inputs.
    """
    inputs, checks = _tensors(inputs), []
    if "sizes" in inputs:
        sizes, sides = inputs["sizes"], tf.shape(inputs["images"])[1:3]
        bad = tf.reduce_any((sizes < 0) | (sizes > tf.cast(sides, sizes.dtype)), axis=1)
        checks.append(
            (
                ~tf.reduce_any(bad),
                "sizes must be the height and width of each image inside its padding.",
                {"sizes": _first(sizes, bad), "padded": sides},
            )
        )
    if "proposals" in inputs and finite:
        bad = ~tf.reduce_all(tf.math.is_finite(inputs["proposals"]), axis=2)
        checks.append(
            (
                ~tf.reduce_any(bad),
                "proposals must be finite.",
                {"proposal": _first(inputs["proposals"], bad)},
            )
        )
    return {**inputs, "images": ensure(inputs["images"], checks)}


def check_targets(
    inputs: Tensors, gt: Tensors, *, num_classes: int, masks: bool, finite: bool = False
) -> Tensors:
    """Checks the boxes, labels and masks of a batch.

    Args:
        inputs: dict of tensors. The inputs of a batch, see `MaskRCNN`.
        gt: dict of tensors. The targets of a batch, see `MaskRCNN`.
        num_classes: int C.
        masks: bool. Whether the model learns masks.
        finite: bool. Whether boxes must be finite. If not, `training.Sentinel` handles them.

    Returns:
        gt with labels as int32 and boxes as float32. It is available once the checks have passed.

    Raises:
        ValueError: if something is missing, or has a wrong shape or dtype.
        tf.errors.InvalidArgumentError: if a value is wrong. The operation raises it, see
            `plain_errors`.
    """
    inputs, gt = _tensors((inputs, gt))
    _check_target_form(inputs, gt, masks)
    boxes, labels = tf.cast(gt["boxes"], tf.float32), tf.cast(gt["labels"], tf.int32)
    numbers = tf.reduce_all(tf.math.is_finite(boxes), axis=2)
    x1, y1, x2, y2 = tf.unstack(boxes, axis=2)
    real, area = labels > 0, numbers & (x2 > x1) & (y2 > y1)
    unknown = (labels < 0) | (labels > num_classes)
    nameless = area & (labels == 0)
    reverse = real & numbers & ((x2 < x1) | (y2 < y1))
    # A true box can lie in the first pixel, but it then touches the left or upper edge.
    tiny = real & area & (x2 <= 1) & (y2 <= 1)
    shares = tf.reduce_any(tiny & (x1 > 0) & (y1 > 0)) & tf.reduce_all(tiny | ~(real & area))
    size = tf.cast(inputs["sizes"], tf.float32)
    height, width = size[:, :1], size[:, 1:]
    # One pixel of tolerance, because sides are rounded when an image is resized.
    outside = (x1 >= width + 1) | (y1 >= height + 1) | (x2 <= -1) | (y2 <= -1)
    outside &= real & area
    owners = tf.broadcast_to(size[:, None], [*tf.unstack(tf.shape(labels)), 2])
    expected = "boxes must be [x1, y1, x2, y2] in pixels of the resized images"
    checks = [
        (
            ~tf.reduce_any(unknown),
            f"labels must be in 1..{num_classes}, 0 in padding.",
            {"label": _first(labels, unknown)},
        ),
        (
            ~tf.reduce_any(nameless),
            "labels must count from 1; label 0 is padding, with boxes of zeros.",
            {"label": _first(labels, nameless), "box": _first(boxes, nameless)},
        ),
        (
            ~tf.reduce_any(reverse),
            f"{expected}, with x1 <= x2 and y1 <= y2; not [x, y, width, height].",
            {"box": _first(boxes, reverse)},
        ),
        (~shares, f"{expected}, not in 0..1.", {"box": _first(boxes, tiny)}),
        (
            ~tf.reduce_any(outside),
            f"{expected}, and must not lie outside of their image.",
            {"box": _first(boxes, outside), "size": _first(owners, outside)},
        ),
    ]
    if finite:
        checks.append(
            (tf.reduce_all(numbers), "boxes must be finite.", {"box": _first(boxes, ~numbers)})
        )
    if masks:
        fullest = tf.reduce_max(gt["masks"], axis=[2, 3])
        fullest = tf.reduce_max(tf.where(real, tf.cast(fullest, tf.float32), 0.0))
        fullest = tf.maximum(fullest, 0.0)  # the maximum over no slots at all is -infinity
        checks.append(
            (
                (fullest == 0) | (fullest > 1),
                "masks must be in 0..255, not in 0..1: multiply them by 255.",
                {"maximum": fullest},
            )
        )
    regions = {"ignored": tf.cast(gt["ignored"], tf.float32)} if "ignored" in gt else {}
    return ensure({**gt, **regions, "boxes": boxes, "labels": labels}, checks)


def _check_target_form(inputs, gt, masks):
    for name, batch, needed in (
        ("inputs", inputs, ["images", "sizes"]),
        ("targets", gt, ["boxes", "labels", *(["masks"] if masks else [])]),
    ):
        if not isinstance(batch, dict) or not set(needed) <= set(batch):
            found = sorted(batch) if isinstance(batch, dict) else type(batch).__name__
            boxes = isinstance(batch, dict) and set(needed) - set(batch) == {"masks"}
            hint = f"{BOXES_DO} " if boxes else ""
            raise ValueError(
                f"training needs {name} as data.batches makes them, a dict of {', '.join(needed)}. "
                f"{hint}Received: {found}."
            )
    if not gt["labels"].dtype.is_integer:
        raise ValueError(
            f"labels must be whole numbers, int32. Received: dtype={gt['labels'].dtype.name}."
        )
    shapes = {"boxes": "(B, G, 4)", "labels": "(B, G)"}
    shapes |= {"masks": "(B, G, M, M)"} if masks else {}
    shapes |= {"ignored": "(B, K, 4)"} if "ignored" in gt else {}
    for name, expected in shapes.items():
        shape = gt[name].shape
        rank = expected.count(",") + 1
        wrong = shape.rank is not None and (
            shape.rank != rank
            or (name in ("boxes", "ignored") and shape[2] not in (4, None))
            or (name == "masks" and None not in shape[2:] and shape[2] != shape[3])
        )
        if wrong:
            raise ValueError(f"{name} must be {expected}. Received: shape={shape}.")
    if masks and gt["masks"].dtype == tf.bool:
        raise ValueError("masks must be uint8 in 0..255. Received: dtype=bool.")


def _first(values, chosen):
    """Makes a function that returns the first of the chosen values; empty if there is none."""
    return lambda: tf.reshape(tf.boolean_mask(values, chosen)[:1], [-1])
