"""Flags of the commands, and those that stand for the config's fields."""

import dataclasses

from absl import flags

from keras_maskrcnn.config import MaskRCNNConfig

DATA_FIELDS = ("num_classes", "class_names", "category_ids")
PROPOSAL_FIELDS = ("image_min_side", "image_max_side", "test_pre_nms", "test_proposals")
INFERENCE_FIELDS = (
    *PROPOSAL_FIELDS,
    *("score_threshold", "nms_iou", "detections_per_image", "mask_paste"),
)


class Definer:
    """Defines absl flags in a set of their own, so that commands do not share them."""

    def __init__(self, values):
        self._values = values
        self.boolean("quiet", False, "print nothing but errors")

    def _define(self, define, name, default, text, required=False):
        define(name, default, text, flag_values=self._values, required=required)

    def string(self, *args, **kwargs):
        self._define(flags.DEFINE_string, *args, **kwargs)

    def enum(self, name, default, choices, text, required=False):
        flags.DEFINE_enum(name, default, choices, text, flag_values=self._values, required=required)

    def integer(self, *args, **kwargs):
        self._define(flags.DEFINE_integer, *args, **kwargs)

    def float(self, *args, **kwargs):
        self._define(flags.DEFINE_float, *args, **kwargs)

    def boolean(self, *args, **kwargs):
        self._define(flags.DEFINE_boolean, *args, **kwargs)

    def list(self, *args, **kwargs):
        self._define(flags.DEFINE_list, *args, **kwargs)


def define_config(define, leave_out):
    """Makes a flag of every config field; those that are not given keep the preset's value."""
    kinds = {int: define.integer, float: define.float, str: define.string, bool: define.boolean}
    for field in dataclasses.fields(MaskRCNNConfig):
        if field.name not in leave_out:
            kind = kinds.get(field.type, define.list)
            kind(field.name, None, f"config; the paper's value is {field.default}")


def define_inference_config(define, kept=INFERENCE_FIELDS):
    """The config fields that can differ from those of training: weights do not depend on them."""
    fields = {field.name for field in dataclasses.fields(MaskRCNNConfig)}
    define_config(define, fields - set(kept))


def config_overrides(options, leave_out=()):
    """The config fields that were given as flags; `leave_out` names flags that are no fields."""
    overrides = {}
    for field in dataclasses.fields(MaskRCNNConfig):
        if field.name not in options or field.name in leave_out:
            continue
        value = getattr(options, field.name)
        if isinstance(value, list):
            value = tuple(float(v) for v in value)
        if value is not None:
            overrides[field.name] = value
    return overrides


def set_image_size(overrides, side):
    """Sets the shorter side that images get, and by it the limit of the longer one."""
    if side:
        overrides["image_min_side"] = side
        overrides.setdefault("image_max_side", round(side * 1333 / 800))
