"""How a model of a test's own sizes resizes, as `config.resizing()` says it of a real one."""


def resizing(min_side, max_side, resize_rule="detectron2", padding_multiple=32):
    return {
        "min_side": min_side,
        "max_side": max_side,
        "resize_rule": resize_rule,
        "padding_multiple": padding_multiple,
    }
