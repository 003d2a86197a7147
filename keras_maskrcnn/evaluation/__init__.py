"""Computes COCO's metrics of a model. All numbers come from pycocotools (§4).

Metrics of detections, each also under `segm/` for masks:

- `bbox/AP`: average precision, averaged over the IoU thresholds 0.50 to 0.95.
- `bbox/AP50`, `bbox/AP75`: average precision at IoU 0.50 and 0.75.
- `bbox/APs`, `bbox/APm`, `bbox/APl`: average precision of small, medium and large objects.
- `bbox/AR1`, `bbox/AR10`, `bbox/AR100`: average recall with at most 1, 10 or 100 detections per
  image.
- `bbox/ARs`, `bbox/ARm`, `bbox/ARl`: average recall of small, medium and large objects.

Metrics of proposals, which have no class:

- `bbox/AR100`, `bbox/AR1000`: recall with the best 100 or 1000 proposals of each image, averaged
  over the same IoU thresholds.
- `bbox/ARs100`, `bbox/ARm100`, ...: the same for small, medium and large objects.

As in pycocotools, -1 means that there was nothing to average, for instance no annotated object of
this size.
"""

from typing import TYPE_CHECKING

from keras_maskrcnn.on_demand import names_on_demand

if TYPE_CHECKING:
    from keras_maskrcnn.evaluation import measures as measures
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
__getattr__, __dir__ = names_on_demand(  # `analysis` reads COCO's files without TensorFlow
    __name__,
    {
        "callback": ["CocoEvaluation"],
        "coco_metrics": ["evaluate_results"],
        "evaluating": ["evaluate"],
        "predicting": ["predict_dataset"],
        "proposing": ["propose"],
        "recall": ["average_recall"],
    },
)
