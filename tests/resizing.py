"""Resizing arguments for the sizes of a test, as `config.resizing()` returns them for a model."""


def resizing(min_side, max_side, resize_rule="detectron2", padding_multiple=32):
    return {
        "min_side": min_side,
        "max_side": max_side,
        "resize_rule": resize_rule,
        "padding_multiple": padding_multiple,
    }
