"""Writes a model as ONNX with the operations RoiAlign and NonMaxSuppression, node by node.

`export_onnx` is in `export/onnx.py`. Each module here writes one part of Figure 1 and follows the
module of the model that computes the same:

| here | there |
| --- | --- |
| `images` | `batch`, `ops/images.py` |
| `networks` | the Keras networks, layer by layer |
| `boxes` | `ops/boxes.py`, `ops/frames.py` |
| `proposals` | `rpn.py`, `decode.proposals` |
| `roi_pooling` | `layers/roi_align.py`, `layers/roi_layer.py` |
| `detections` | `roi_heads.py`, `decode.detections` |

Maps are (B, K, H, W), as ONNX wants them. Only slots that are filled reach a network.
"""
