"""Numbers to decide by: errors by kind, thresholds, confusions, and whether B is better than A.

All of it works on COCO results and annotations, without a model and without TensorFlow.
"""

from typing import TYPE_CHECKING

from keras_maskrcnn.on_demand import names_on_demand

if TYPE_CHECKING:
    from keras_maskrcnn.analysis.breakdown import (
        by_crowding,
        by_shape,
        counting,
        overlap_distribution,
    )
    from keras_maskrcnn.analysis.comparing import compare
    from keras_maskrcnn.analysis.confusion import confusions
    from keras_maskrcnn.analysis.curves import Curves, precision_recall
    from keras_maskrcnn.analysis.errors import Errors, find_errors
    from keras_maskrcnn.analysis.matching import Matched, match
    from keras_maskrcnn.analysis.numbers import best_thresholds, report_numbers
    from keras_maskrcnn.analysis.reporting import report

__all__ = [
    "Curves",
    "Errors",
    "Matched",
    "best_thresholds",
    "by_crowding",
    "by_shape",
    "compare",
    "confusions",
    "counting",
    "find_errors",
    "match",
    "overlap_distribution",
    "precision_recall",
    "report",
    "report_numbers",
]
__getattr__, __dir__ = names_on_demand(
    __name__,
    {
        "breakdown": ["by_crowding", "by_shape", "counting", "overlap_distribution"],
        "comparing": ["compare"],
        "confusion": ["confusions"],
        "curves": ["Curves", "precision_recall"],
        "errors": ["Errors", "find_errors"],
        "matching": ["Matched", "match"],
        "numbers": ["best_thresholds", "report_numbers"],
        "reporting": ["report"],
    },
)
