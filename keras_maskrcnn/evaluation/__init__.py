"""Detections → COCO results → pycocotools. Every metric is pycocotools' own number (§4).

Names are `bbox/AP` (averaged over IoU 0.50:0.95), `bbox/AP50`, `bbox/AP75`, `bbox/APs`, `bbox/APm`,
`bbox/APl` (small, medium, large), `bbox/AR1`, `bbox/AR10`, `bbox/AR100`, `bbox/ARs`, `bbox/ARm`,
`bbox/ARl`, and the same under `segm/`. As in pycocotools, -1 means that there was nothing to
average: no annotated object of that size, for instance.

Proposals have no class; theirs are `bbox/AR100` and `bbox/AR1000`, recall averaged over the same
IoU among the best 100 or 1000 of an image, and `bbox/ARs100`, `bbox/ARm100`, ... by object size.
"""

from keras_maskrcnn.evaluation.callback import CocoEvaluation
from keras_maskrcnn.evaluation.coco_metrics import evaluate_results
from keras_maskrcnn.evaluation.evaluating import evaluate
from keras_maskrcnn.evaluation.predicting import predict_dataset
from keras_maskrcnn.evaluation.proposing import propose
from keras_maskrcnn.evaluation.recall import average_recall

__all__ = [
    "CocoEvaluation",
    "average_recall",
    "evaluate",
    "evaluate_results",
    "predict_dataset",
    "propose",
]
