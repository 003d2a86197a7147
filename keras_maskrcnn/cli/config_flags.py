"""Flags that stand for fields of the config: one per field, with the field's docstring as help."""

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
INFERENCE_FIELDS = (  # they can differ from those of training: weights do not depend on them
    *PROPOSAL_FIELDS,
    *("score_threshold", "nms_iou", "detections_per_image", "mask_paste"),
)
_MASK = "mask_rcnn_"
PRESETS_TEXT = f"{_MASK} or faster_rcnn_ with one of: " + ", ".join(
    name.removeprefix(_MASK) for name in PRESETS if name.startswith(_MASK)
)
_PRESET = "mask_rcnn_resnet50_fpn"  # whose values --help names


def define_config(
    define: Definer,
    leave_out: Collection[str] = (),
    only: Collection[str] | None = None,
    of: Literal["preset", "model"] = "preset",
) -> None:
    """Makes a flag of each config field; fields that are not given keep their values.

    Args:
        define: `Definer`.
        leave_out: names of fields that are no flags.
        only: names of the fields that are flags, instead.
        of: "preset" or "model". Whose values are kept.
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
        default = f"the {of}'s"
        if of == "preset":
            default += f"; of {_PRESET}: {_as_flag(getattr(config, name))}"
        text = f"{docs.get(name, '')} Default: {default}."
        flag = kinds.get(field.type, define.list)(name, None, text)
        flag.of_config, flag.choices = True, choices(name)  # what --help makes of them: usage.py


def _as_flag(value):
    """Returns the text that gives a flag this value."""
    if isinstance(value, tuple):
        return ",".join(map(_as_flag, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


def config_overrides(options: flags.FlagValues, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """The config fields that were given as flags; `leave_out` names flags that are no fields."""
    overrides = {}
    for field in dataclasses.fields(MaskRCNNConfig):
        if field.name not in options or field.name in leave_out:
            continue
        value: Any = getattr(options, field.name)
        if isinstance(value, list):
            try:
                value = tuple(float(v) for v in value)
            except ValueError as error:
                given = ",".join(value)
                raise ValueError(
                    f"{field.name} must be numbers with commas between. "
                    f"Received: {field.name}={given!r}."
                ) from error
        if value is not None:
            overrides[field.name] = value
    return overrides


def set_image_size(overrides: dict[str, Any], side: int | None) -> None:
    """Sets the shorter side that images get, and by it the limit of the longer one."""
    if side is not None:
        overrides["image_min_side"] = side
        overrides.setdefault("image_max_side", round(side * 1333 / 800))
