"""Flags for the config's fields: one per field, with the field's docstring as help."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, Literal

from absl import flags

from keras_maskrcnn.cli.definer import Definer
from keras_maskrcnn.config import MaskRCNNConfig, field_docs
from keras_maskrcnn.config_rules import choices
from keras_maskrcnn.presets import PRESETS, preset_config

DATA_FIELDS = ("num_classes", "class_names", "category_ids")
PROPOSAL_FIELDS = ("image_min_side", "image_max_side", "test_pre_nms", "test_proposals")
INFERENCE_FIELDS = (  # weights do not depend on these, so they may differ from training
    *PROPOSAL_FIELDS,
    *("score_threshold", "class_thresholds", "nms_iou", "nms_across_classes"),
    *("detections_per_image", "mask_paste"),
)
_MASK = "mask_rcnn_"
PRESETS_TEXT = f"Name of a preset: {_MASK} or faster_rcnn_, followed by one of " + ", ".join(
    name.removeprefix(_MASK) for name in PRESETS if name.startswith(_MASK)
)
IMAGE_SIZE_TEXT = (
    "Shorter side of resized images, in pixels: sets image_min_side, and image_max_side in "
    "proportion (1333 for 800)."
)
_PRESET = "mask_rcnn_resnet50_fpn"  # --help shows its values


def define_config(
    define: Definer,
    leave_out: Collection[str] = (),
    only: Collection[str] | None = None,
    of: Literal["preset", "model"] = "preset",
) -> None:
    """Defines a flag for each config field; a field that is not given keeps its value.

    Args:
        define: `Definer`.
        leave_out: names of fields that get no flag.
        only: names of the only fields that get a flag. None: all fields.
        of: "preset" or "model". The origin of the values of fields that are not given.
    """
    kinds: dict[Any, Callable[..., Any]] = {
        int: define.integer,
        float: define.float,
        str: define.string,
        bool: define.boolean,
    }
    docs, config = field_docs(), preset_config(_PRESET)
    for field in dataclasses.fields(MaskRCNNConfig):
        name = field.name
        if name in leave_out or (only is not None and name not in only):
            continue
        default = f"the {of}'s value"
        if of == "preset":
            default += f" ({_PRESET}: {_as_flag(getattr(config, name))})"
        text = f"{docs.get(name, '')} Default: {default}."
        flag = kinds.get(field.type, define.list)(name, None, text)
        flag.of_config, flag.choices = True, choices(name)  # usage.py shows them in --help


def _as_flag(value):
    """Returns a value as one writes it on a command line."""
    if isinstance(value, tuple):
        return ",".join(map(_as_flag, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


def config_overrides(options: flags.FlagValues, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """Returns the config fields that were given as flags.

    `leave_out` names flags that are called like a field but are not that field.
    """
    overrides = {}
    for field in dataclasses.fields(MaskRCNNConfig):
        if field.name not in options or field.name in leave_out:
            continue
        value: Any = getattr(options, field.name)
        if isinstance(value, list):
            value = [] if value == ["none"] else value  # as `_as_flag` writes it
            try:
                value = tuple(float(v) for v in value)
            except ValueError as error:
                given = ",".join(value)
                raise ValueError(
                    f"{field.name} must be numbers separated by commas. "
                    f"Received: {field.name}={given!r}."
                ) from error
        if value is not None:
            overrides[field.name] = value
    return overrides


def set_image_size(overrides: dict[str, Any], side: int | None) -> None:
    """Sets image_min_side, and image_max_side in COCO's proportion unless it was given."""
    if side is not None:
        overrides["image_min_side"] = side
        overrides.setdefault("image_max_side", round(side * 1333 / 800))
