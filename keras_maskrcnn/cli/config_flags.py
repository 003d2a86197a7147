"""Flags that several commands have, and those that stand for the config's fields."""

import dataclasses
import math

from absl import flags

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.presets import PRESETS

DATA_FIELDS = ("num_classes", "class_names", "category_ids")
PROPOSAL_FIELDS = ("image_min_side", "image_max_side", "test_pre_nms", "test_proposals")
INFERENCE_FIELDS = (
    *PROPOSAL_FIELDS,
    *("score_threshold", "nms_iou", "detections_per_image", "mask_paste"),
)
_MASK = "mask_rcnn_"
PRESETS_TEXT = f"{_MASK} or faster_rcnn_ with one of: " + ", ".join(
    name.removeprefix(_MASK) for name in PRESETS if name.startswith(_MASK)
)


class _Number(flags.ArgumentParser):
    """Parses a number in a range: absl's own parsers take NaN, and speak Python."""

    def __init__(self, kind, low, high):
        super().__init__()
        self._kind, self._low, self._high = kind, low, high
        self.syntactic_help = f"{'a whole number' if kind is int else 'a number'}{self._range()}"

    def parse(self, argument):
        """Returns the number; ValueError if it is none, or out of range."""
        try:
            value = self._kind(argument)
            taken = math.isfinite(value) and self._low <= value <= self._high
        except (ValueError, TypeError, OverflowError):
            taken = False
        if not taken:
            raise ValueError(f"{self.syntactic_help} is expected")
        return value

    def flag_type(self):
        return self._kind.__name__

    def _range(self):
        if self._high < math.inf:
            return f" from {self._low} to {self._high}"
        return f" of at least {self._low}" if self._low > -math.inf else ""


class Definer:
    """Defines absl flags in a set of their own, so that commands do not share them."""

    def __init__(self, values):
        self._values = values
        self.boolean("quiet", False, "write nothing but errors: no bars, warnings or logs")

    def mark_as_config(self, name):
        """Puts a flag among those of the config, in the help."""
        self._values[name].of_config = True

    def _define(self, define, name, default, *args, required=False):
        define(name, default, *args, flag_values=self._values)
        self._values[name].must_be_given = required

    def string(self, *args, **kwargs):
        self._define(flags.DEFINE_string, *args, **kwargs)

    def enum(self, name, default, choices, text, required=False):
        self._define(flags.DEFINE_enum, name, default, choices, text, required=required)

    def integer(self, name, default, text, low=-math.inf, high=math.inf):
        self._number(int, name, default, text, low, high)

    def float(self, name, default, text, low=-math.inf, high=math.inf):
        self._number(float, name, default, text, low, high)

    def _number(self, kind, name, default, text, low, high):
        parser, serializer = _Number(kind, low, high), flags.ArgumentSerializer()
        flags.DEFINE(parser, name, default, text, flag_values=self._values, serializer=serializer)

    def boolean(self, *args, **kwargs):
        self._define(flags.DEFINE_boolean, *args, **kwargs)

    def list(self, *args, **kwargs):
        self._define(flags.DEFINE_list, *args, **kwargs)


def define_crowds(define):
    """Defines the flag --crowds, of every command that reads annotations."""
    define.enum(
        "crowds",
        "drop",
        ["drop", "objects"],
        "what annotations with iscrowd=1 are: no objects to learn, or objects as all others",
    )


def define_on_error(define, others):
    """Defines the flag --on_error of a command that goes on without images that are unreadable."""
    define.enum(
        "on_error",
        "raise",
        ["raise", "skip"],
        f"the status if an image is unreadable, when {others}: 1 (raise) or 0 (skip)",
    )


def define_config(define, leave_out):
    """Makes a flag of every config field; those that are not given keep the preset's value."""
    kinds = {int: define.integer, float: define.float, str: define.string, bool: define.boolean}
    for field in dataclasses.fields(MaskRCNNConfig):
        if field.name not in leave_out:
            kind = kinds.get(field.type, define.list)
            value = "none" if field.default in ("", ()) else field.default
            kind(field.name, None, f"the paper's value is {value}")
            define.mark_as_config(field.name)


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


def set_image_size(overrides, side):
    """Sets the shorter side that images get, and by it the limit of the longer one."""
    if side is not None:
        overrides["image_min_side"] = side
        overrides.setdefault("image_max_side", round(side * 1333 / 800))
