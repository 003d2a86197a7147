"""A callback that evaluates at the end of epochs."""

from collections.abc import Sequence

import keras
from absl import logging

from keras_maskrcnn.data.coco import CocoDataset, require_data_set
from keras_maskrcnn.data.pipeline import check_positive
from keras_maskrcnn.evaluation.coco_metrics import check_max_detections
from keras_maskrcnn.evaluation.dataset_checks import check_dataset
from keras_maskrcnn.evaluation.engines import check_engine
from keras_maskrcnn.evaluation.evaluating import evaluate
from keras_maskrcnn.evaluation.measures.named import check_measures
from keras_maskrcnn.model import LOSSES
from keras_maskrcnn.typing import OnError, Proposals


class CocoEvaluation(keras.callbacks.Callback):
    """Evaluates at the end of epochs, and adds the metrics to the logs, for instance `val_segm/AP`.

    History, the progress bar, TensorBoard and callbacks later in the list get the metrics. For
    instance, put `EarlyStopping(monitor="val_segm/AP", mode="max")` after this callback. Give the
    mode, because Keras cannot guess it. Epochs without evaluation have no entry in the logs.

    Args:
        dataset: data.CocoDataset.
        batch_size: int. Images per step and replica.
        max_detections: int above 10. Detections counted per image.
        every: int. Number of epochs from one evaluation to the next.
        prefix: str. Prefix of each metric's name.
        verbose: int. 0 is silent, 1 shows a progress bar.
        proposals: data.ProposalFile, for a model without an RPN.
        on_error: str. As in `evaluate`.
        measures, measures_threshold, engine: as in `evaluate`.

    Raises:
        TypeError: if `dataset` is not a data set.
        ValueError: if a number is out of its range, or there is no such measure or engine.
    """

    def __init__(
        self,
        dataset: CocoDataset,
        batch_size: int = 1,
        max_detections: int = 100,
        every: int = 1,
        prefix: str = "val_",
        verbose: int = 0,
        proposals: Proposals | None = None,
        on_error: OnError = "raise",
        measures: Sequence[str] = (),
        measures_threshold: float = 0.5,
        engine: str = "pycocotools",
    ) -> None:
        super().__init__()
        check_measures(measures)
        check_engine(engine)
        require_data_set(dataset, "image_ids")
        check_positive(every=every, batch_size=batch_size)
        check_max_detections(max_detections)
        self.dataset = dataset
        self.batch_size = batch_size
        self.max_detections = max_detections
        self.every = every
        self.prefix = prefix
        self.verbose = verbose
        self.proposals = proposals
        self.on_error = on_error
        self.measures = measures
        self.measures_threshold = measures_threshold
        self.engine = engine

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Checks before the first epoch whether the data set fits the model."""
        check_dataset(self.model, self.dataset)

    def look_at_others(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        """Warns about callbacks of the same `fit` that monitor a loss.

        Args:
            callbacks: list of Keras callbacks. `MaskRCNN.fit` passes the ones it got.
        """
        losses = {f"val_{name}" for name in ("loss", *LOSSES)}
        for callback in callbacks:
            monitor = getattr(callback, "monitor", None)
            if monitor in losses and getattr(callback, "save_best_only", True):
                logging.warning(
                    "%s(monitor=%r): this loss can be lowest while the detector finds nothing yet. "
                    'After CocoEvaluation use monitor="%ssegm/AP" (without masks "bbox/AP"), '
                    'mode="max".',
                    type(callback).__name__,
                    monitor,
                    self.prefix,
                )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Adds the metrics to `logs`, which Keras passes on to the next callback."""
        if logs is None or (epoch + 1) % self.every:
            return
        metrics = evaluate(
            self.model,
            self.dataset,
            batch_size=self.batch_size,
            max_detections=self.max_detections,
            proposals=self.proposals,
            verbose=self.verbose,
            on_error=self.on_error,
            measures=self.measures,
            measures_threshold=self.measures_threshold,
            engine=self.engine,
        )
        logs.update({self.prefix + name: value for name, value in metrics.items()})
