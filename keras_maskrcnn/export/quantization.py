"""Computes the networks of an exported ONNX graph in 8 bits, and keeps everything else in float32.

Quantizing by the type of operations, as tools do by default, also rounds anchors, boxes and the
levels of RoIs: it cost up to 0.03 AP. So nodes are chosen by the names that the export gives them.
"""

import contextlib
import copy
import io
import os
import tempfile
from typing import TYPE_CHECKING

from absl import logging

from keras_maskrcnn.export.calibration import CalibrationImages
from keras_maskrcnn.typing import Path

if TYPE_CHECKING:
    import onnx

_FEW = 10  # images; a model of shapes lost 0.06 mask AP with a single black one

NETWORKS = ("backbone/", "fpn/", "rpn_head/", "box_head/", "mask_head/", "res5/")
"""What the names of the networks' nodes begin with. All other nodes compute boxes or pool RoIs."""

PREDICTORS = (
    "rpn_head/logits",
    "rpn_head/deltas",
    "box_head/class_logits",
    "box_head/box_deltas",
    "mask_head/logits",
)
"""The last layer of each head. It is cheap, and rounding it moves boxes and scores."""

_TYPES = ("Add", "Conv", "ConvTranspose", "Gemm", "MatMul", "MaxPool", "Relu")


def is_quantized(name: str) -> bool:
    """Returns whether the node of this name computes in 8 bits in an INT8 export."""
    return name.startswith(NETWORKS) and not name.startswith(PREDICTORS)


def quantize(proto: "onnx.ModelProto", target: Path, images: CalibrationImages) -> None:
    """Writes an ONNX file with pairs of QuantizeLinear and DequantizeLinear around networks' nodes.

    Kernels have a scale per output channel. The range of an activation is the mean of its
    ranges in the images.

    Args:
        proto: onnx.ModelProto in float32, of which every input but `images` has a default.
        target: path of the file to write.
        images: CalibrationImages.

    Raises:
        ValueError: if nothing is found in the images.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization import shape_inference

    # ONNX Runtime warns about inputs with defaults, so they are constants in the meantime.
    optional = [x for x in proto.graph.input if x.name != "images"]
    constant = copy.deepcopy(proto)
    del constant.graph.input[:]
    constant.graph.input.extend(x for x in proto.graph.input if x.name == "images")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        source, prepared, made = (os.path.join(folder, f"{i}.onnx") for i in range(3))
        onnx.save(constant, source)
        shape_inference.quant_pre_process(
            source, prepared, skip_optimization=True, skip_symbolic_shape=True
        )
        reader = _Reader(prepared, images)
        if not reader.next:
            raise ValueError(
                "the model finds nothing in the images for calibration, so the mask head has no "
                f"input to calibrate it on. Received: {len(images)} images."
            )
        quantization.quantize_static(
            prepared,
            made,
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_TYPES),
            nodes_to_quantize=[n.name for n in proto.graph.node if is_quantized(n.name)],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={"CalibMovingAverage": True},
        )
        quantized = onnx.load(made)
    if reader.used < _FEW:
        logging.warning(
            "the 8 bits were fitted to %d of %d calibration images, those in which the model finds "
            "something; give about a hundred, like those that the model will get.",
            reader.used,
            len(images),
        )
    quantized.graph.input.extend(optional)
    onnx.save(quantized, target)


class _Reader:
    """A CalibrationDataReader of onnxruntime: the images in which the model finds something.

    In the others the mask head has no input, and the range of no values is an error there.

    Attributes:
        next: dict of the next image, or None.
        used: int. The images that were given.
    """

    def __init__(self, path, images):
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self._images, self._session = iter(images), session
        self._has_masks = "masks" in [output.name for output in session.get_outputs()]
        self.next, self.used = self._find(), 0

    def _find(self):
        for image in self._images:
            inputs = {"images": image[None]}
            if not self._has_masks or self._session.run(["num_detections"], inputs)[0].any():
                return inputs
        return None

    def get_next(self):
        """Returns the inputs of the next image; None after the last one."""
        given, self.next = self.next, None
        if given is not None:
            self.used += 1
            self.next = self._find()
        return given
