"""Exports a model for OpenVINO, as an .xml file with a .bin file beside it."""

import json
import os
import tempfile
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

import keras
import numpy as np

from keras_maskrcnn import files
from keras_maskrcnn.export.description import KEY
from keras_maskrcnn.export.onnx import export_onnx
from keras_maskrcnn.export.portable_model import require_new, require_suffix
from keras_maskrcnn.export.quantization import NETWORKS
from keras_maskrcnn.typing import Orientation, Path

PRECISIONS = ("float32", "bfloat16", "int8")

_ALIGN = ("box_align/", "mask_align/")


def export_openvino(
    model: keras.Model,
    filepath: Path,
    *,
    precision: str = "float32",
    calibration: Path | Iterable[np.ndarray] | None = None,
    calibration_images: int = 100,
    orientation: Orientation = "ignore",
    verbose: bool = True,
) -> None:
    """Exports a model as an OpenVINO IR: FILE.xml with the graph, and FILE.bin with the weights.

    Inputs and outputs are those of `export_onnx`, for images of any size and batches of any size.
    The entry "keras_maskrcnn" of the file's rt_info is the description of the model, a JSON text.

    OpenVINO computes in bfloat16 whenever the processor can, whatever is in the file, unless the
    program sets INFERENCE_PRECISION_HINT to "f32". All nodes that compute boxes are marked as
    `precise`, so they stay float32 in both cases. `runtime.ExportedModel` sets the hint by
    `precision`.

    The export needs onnx and openvino, and for "int8" onnxruntime: the extra `openvino`.

    Args:
        model: a `MaskRCNN`.
        filepath: str. The file to write; the name must end with ".xml".
        precision: "float32", "bfloat16" or "int8". "bfloat16" stores the same as "float32" but for
            the description. "int8" is what `export_onnx` makes of it.
        calibration, calibration_images, orientation: as in `export_onnx`.
        verbose: bool. Whether to print the path of the file.

    Raises:
        FileExistsError: if the .xml or the .bin file exists.
        ImportError: if a package is missing.
        ValueError: if an option is not allowed, the model takes proposals, or has an operation
            without a native form.
        DataError: if the folder of images or a file in it cannot be read.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision of openvino must be {', '.join(PRECISIONS)}. "
            f"Received: precision={precision!r}."
        )
    path = os.fspath(filepath)
    require_suffix(path, ".xml", "an OpenVINO")
    weights = path.removesuffix(".xml") + ".bin"
    for name in (path, weights):
        require_new(name)
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise ImportError(
            "OpenVINO files need the extra openvino: pip install keras3-maskrcnn[openvino]. "
            f"Received: {error}."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "model.onnx")
        export_onnx(
            model,
            source,
            precision="int8" if precision == "int8" else "float32",
            calibration=calibration,
            calibration_images=calibration_images,
            orientation=orientation,
            verbose=False,
        )
        graph = openvino.Core().read_model(source)
    description = json.loads(graph.get_rt_info(["framework", KEY]).astype(str))
    graph.set_rt_info(json.dumps({**description, "precision": precision}, indent=1), KEY)
    for output in graph.outputs:  # a tensor also has the name of the node that makes it
        output.get_tensor().set_names({name for name in output.get_names() if "/" not in name})
    with files.replacing(weights) as new_weights, files.replacing(path) as new:
        openvino.serialize(graph, new, new_weights)
        _mark_precise(
            new, {node.get_friendly_name() for node in graph.get_ops()} - _networks(graph)
        )
    if verbose:
        print(f"Wrote {path} and {os.path.basename(weights)}.")


def _networks(graph: Any) -> set[str]:
    """Returns the names of the nodes that may compute in a smaller type without moving any box.

    They are the nodes of the networks, and those that pool the features of RoIs. OpenVINO divides
    some nodes of an ONNX file, and makes up a name without "/" for all parts but the last. A part
    counts if all its readers do. What is read as the boxes of a ROIAlign never counts.
    """
    nodes = graph.get_ordered_ops()
    found: set[str] = set()
    for node in nodes:
        name = node.get_friendly_name()
        reads = {x.get_source_output().get_node().get_friendly_name() for x in node.inputs()}
        pools = node.get_type_name() == "ROIAlign" or name.startswith(_ALIGN) and found & reads
        if pools or name.startswith(NETWORKS):
            found.add(name)
    for node in reversed(nodes):
        name = node.get_friendly_name()
        readers = [reader for output in node.outputs() for reader in output.get_target_inputs()]
        if "/" not in name and readers and all(_counts(reader, found) for reader in readers):
            found.add(name)
    return found


def _counts(reader, found):
    node = reader.get_node()
    takes_boxes = node.get_type_name() == "ROIAlign" and reader.get_index() > 0
    return node.get_friendly_name() in found and not takes_boxes


def _mark_precise(path, names):
    """Marks nodes of an IR as to be computed in float32; OpenVINO's Python API cannot."""
    tree = ElementTree.parse(path)
    for layer in tree.getroot().iterfind("layers/layer"):
        if layer.get("name") in names and layer.get("type") not in ("Parameter", "Result"):
            info = layer.find("rt_info")
            if info is None:
                info = ElementTree.Element("rt_info")
                layer.insert(0 if layer.find("data") is None else 1, info)
            ElementTree.SubElement(info, "attribute", name="precise", version="0")
    tree.write(path, encoding="utf-8", xml_declaration=True)
