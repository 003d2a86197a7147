"""Which feature maps the RPN and the heads see, by the neck of the model."""

from keras_maskrcnn.config import MaskRCNNConfig

STRIDES = {  # of the maps that the RPN sees; RoIs are pooled from the first four
    "fpn": {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64},
    "c4": {"c4": 16},
    "c5": {"c5": 32},
    "dc5": {"c5": 16},
}


def strides_of_rois(neck: str) -> dict[str, int]:
    """Returns a dict of the maps that RoIs are pooled from to their strides."""
    return dict(list(STRIDES[neck].items())[:4])


def anchor_sizes(config: MaskRCNNConfig) -> tuple[tuple[float, ...], ...]:
    """Returns a tuple of the sizes on each map of `STRIDES`: one each with FPN, else all."""
    sizes = config.anchor_sizes
    return tuple((size,) for size in sizes) if config.neck == "fpn" else (sizes,)
