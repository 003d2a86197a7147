"""Scores a model before its export and the file after it, on images that calibrated nothing."""

import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from keras_maskrcnn.cli import inputs, outputs
from keras_maskrcnn.typing import Path

if TYPE_CHECKING:
    from keras_maskrcnn.data.coco import CocoDataset
    from keras_maskrcnn.model import MaskRCNN


def read_val(options: flags.FlagValues, model: "MaskRCNN") -> "CocoDataset | None":
    """Reads the data set to score on; None without --images and --annotations.

    Args:
        options: the flags' values.
        model: a MaskRCNN. The data set must fit it.

    Raises:
        ValueError: if only one of the flags is given, or an image is also among the calibration
            images, as the same file or as a copy.
        DataError: as in `data.coco_json`.
    """
    from keras_maskrcnn.evaluation.dataset_checks import check_dataset
    from keras_maskrcnn.export.calibration import CalibrationImages

    given = [name for name in ("images", "annotations") if getattr(options, name) is not None]
    if not given:
        return None
    if len(given) == 1:
        raise ValueError(f"--images and --annotations go together. Received: --{given[0]} only.")
    if options.image_size is not None or options.masks not in (None, "soft"):
        raise ValueError(
            "only exports for images of any size, with soft masks, are scored. Received: "
            f"image_size={options.image_size!r}, masks={options.masks!r}."
        )
    dataset = inputs.read_dataset(options, model.config)
    check_dataset(model, dataset)
    names = {*dataset.file_names, *dataset.skipped}
    scored = [os.path.join(dataset.images, name) for name in sorted(names)]
    if options.calibration is not None:
        count = options.calibration_images or 100
        refuse_shared(CalibrationImages(options.calibration, count).paths, scored)
    return dataset


def refuse_shared(calibration: Sequence[Path], scored: Sequence[Path]) -> None:
    """Raises ValueError if a file is in both lists, or if files of both have the same bytes."""
    scored = [path for path in scored if os.path.isfile(path)]
    sizes = {os.path.getsize(path) for path in calibration}
    known = {_digest(path): path for path in scored if os.path.getsize(path) in sizes}
    for path in calibration:
        same = known.get(_digest(path)) if known else None
        if same is not None:
            raise ValueError(
                "images to score on must not be calibration images, because INT8 is fitted to "
                f"those. Received: calibration image {path}, scored image {same}."
            )


def _digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def print_scores(
    options: flags.FlagValues, model: "MaskRCNN", path: str, dataset: "CocoDataset"
) -> None:
    """Prints mask AP and box AP (recall of an RPN) of the model and of the file in its runtime."""
    from keras_maskrcnn.evaluation import evaluate
    from keras_maskrcnn.runtime import ExportedModel

    exported = ExportedModel(path)  # it fails before the work if its runtime is missing
    scores = {}
    for name, candidate in ((options.model, model), (path, exported)):
        scores[name] = evaluate(
            candidate,
            dataset,
            max_detections=max(11, model.config.detections_per_image),
            verbose=outputs.verbosity(options) % 2,
            on_error="skip",
        )
    width = max(map(len, scores))
    for name, metrics in scores.items():
        kinds = [kind for kind in ("segm/AP", "bbox/AP") if kind in metrics] or metrics
        numbers = "  ".join(f"{kind} {metrics[kind]:.4f}" for kind in kinds)
        print(f"{name:<{width}}  {numbers}")
