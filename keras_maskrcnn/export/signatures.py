"""Traces the functions that a SavedModel serves."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.export import paste_in_graph, requests
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.typing import Tensors


def trace_signatures(
    forward: Callable[[Tensors], Tensors],
    config: MaskRCNNConfig,
    masks: str,
    max_pixels: int,
    description: str,
) -> dict[str, Callable[..., Any]]:
    """Traces the signatures of a model.

    Args:
        forward: function from the inputs of `MaskRCNN` to its outputs.
        config: MaskRCNNConfig of the model.
        masks, max_pixels: as in `export_saved_model`.
        description: str. The text that `describe` returns besides the classes.

    Returns:
        dict of "serving_default", "serve_image_bytes" and "describe": concrete functions. The
            second is left out if `requests.why_not_encoded` gives a reason.
    """
    served = _Served(forward, config, masks, max_pixels, description)
    shape = [None, None, None, config.in_channels]
    images = tf.TensorSpec(shape, config.image_dtype, name="images")
    strings = tf.TensorSpec([None], tf.string, name="image_bytes")
    more = []
    if config.proposals == "precomputed":
        shape = [None, config.test_proposals, 4]
        more = [tf.TensorSpec(shape, tf.float32, name="proposals")]
    traced: dict[str, Any] = {
        "serving_default": (served.serve_images, [images, *more]),
        "serve_image_bytes": (served.serve_image_bytes, [strings, *more]),
        "describe": (served.describe, []),
    }
    if requests.why_not_encoded(config.in_channels, config.image_dtype):
        del traced["serve_image_bytes"]
    return {
        name: tf.function(function, input_signature=signature).get_concrete_function()
        for name, (function, signature) in traced.items()
    }


class _Served:
    """The functions before they are traced; arguments as in `trace_signatures`."""

    def __init__(self, forward, config, masks, max_pixels, description):
        self.forward, self.config, self.masks = forward, config, masks
        self.max_pixels, self.description = max_pixels, description

    def serve_images(self, images, proposals=None):
        images = requests.check_images(images, self.max_pixels)
        batch = tf.shape(images)[0]
        sizes = self._check_masks(tf.tile(tf.shape(images)[None, 1:3], [batch, 1]))
        if proposals is not None:
            images = {"images": images, "proposals": requests.check_proposals(proposals, batch)}
        return self._finish(self.forward(images), sizes)

    def serve_image_bytes(self, image_bytes, proposals=None):
        config = self.config
        inputs = requests.decode_images(
            image_bytes,
            config.image_min_side,
            config.image_max_side,
            config.resize_rule,
            config.padding_multiple,
            self.max_pixels,
            **config.reading(),
        )
        sizes = self._check_masks(inputs["original_sizes"])
        if proposals is not None:
            proposals = requests.check_proposals(proposals, tf.shape(sizes)[0])
            inputs["proposals"] = box_ops.rescale(proposals, sizes, inputs["sizes"])
        return self._finish(self.forward(inputs), sizes)

    def describe(self):
        return {
            "description": tf.constant(self.description),
            "class_names": tf.constant(self.config.names()),
            "category_ids": tf.constant(self.config.ids(), tf.int64),
        }

    def _check_masks(self, sizes):
        if self.masks == "binary":
            return requests.check_masks(sizes, self.config.detections_per_image)
        return sizes

    def _finish(self, outputs, sizes):
        """Pastes the masks into images of `sizes` (B, 2); "soft" masks stay unchanged."""
        if self.masks == "soft":
            return outputs
        outputs["sizes"] = sizes
        if self.masks == "binary":
            outputs["masks"] = paste_in_graph.paste_binary(outputs, sizes, self.config.mask_paste)
        else:
            outputs["rle"] = paste_in_graph.paste_rle(outputs, sizes, self.config.mask_paste)
            del outputs["masks"]
        return outputs
