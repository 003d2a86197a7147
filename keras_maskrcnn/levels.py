"""The feature maps that the RPN and the heads get, for each neck."""

from typing import Any

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.config_rules import PYRAMIDS

_PYRAMID = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
STRIDES = {  # maps that the RPN gets, with strides; RoIs are pooled from the first four
    **dict.fromkeys(PYRAMIDS, _PYRAMID),
    "c4": {"c4": 16},
    "c5": {"c5": 32},
    "dc5": {"c5": 16},
}


def strides_of_rois(neck: str) -> dict[str, int]:
    """Returns the maps that RoIs are pooled from: a dict of name to stride in pixels."""
    return dict(list(STRIDES[neck].items())[:4])


def anchor_sizes(config: MaskRCNNConfig) -> tuple[tuple[float, ...], ...]:
    """Returns a tuple with the sizes for each map of `STRIDES`: one each with FPN, else all."""
    sizes = config.anchor_sizes
    return tuple((size,) for size in sizes) if config.neck in PYRAMIDS else (sizes,)


def maps_for(neck: Any, maps: dict[str, Any]) -> Any:
    """Leaves out the maps that a neck does not read. Keras would warn of them at each call.

    Args:
        neck: functional Keras model.
        maps: dict of the backbone's maps, or of anything else by their names.

    Returns:
        dict, `maps` or a part of it.
    """
    wanted = getattr(neck, "input", None)
    if not isinstance(wanted, dict) or not wanted.keys() <= maps.keys():
        return maps
    return {name: maps[name] for name in wanted}
