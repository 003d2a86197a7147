"""What went wrong in each image, and everything about the worst ones."""

from typing import Any

import numpy as np

from keras_maskrcnn.analysis.errors import KINDS, Errors
from keras_maskrcnn.analysis.matching import Assignment, Matched


def summaries(
    matched: Matched,
    assignment: Assignment,
    errors: Errors,
    score_threshold: float,
    annotated: np.ndarray,
    detected: np.ndarray,
) -> list[dict[str, Any]]:
    """Sums up each image.

    Args:
        matched, assignment, errors, score_threshold: as in `breakdown.by_shape`.
        annotated, detected: (I,) int. Numbers of objects and detections, from
            `breakdown.counting`.

    Returns:
        list of dicts of "id", "file_name", "height", "width" (None if the file tells none),
            "objects", "detections", "missed" (objects nobody found), "wrong" (detections that found
            none), and "kinds", a dict of the kinds of the wrong ones to their numbers, without 0.
    """
    found, images = matched.detections, len(matched.image_ids)
    kept = ~assignment.ignored & (found.score >= score_threshold)
    right = kept & (assignment.object >= 0)
    correct = np.bincount(found.image[right], minlength=images)
    wrong = np.flatnonzero(kept & ~right)
    kinds = np.zeros([images, len(KINDS) + 1], np.int64)  # the last: beyond TIDE's limit
    np.add.at(kinds, (found.image[wrong], errors.kind[wrong]), 1)
    columns = (matched.image_ids, matched.file_names, matched.sizes.tolist(), annotated.tolist(),
               detected.tolist(), correct.tolist(), kinds[:, :-1].tolist())  # fmt: skip
    return [
        {
            "id": identity,
            "file_name": name,
            "height": size[0] or None,
            "width": size[1] or None,
            "objects": objects,
            "detections": detections,
            "missed": objects - hits,
            "wrong": detections - hits,
            "kinds": {kind: n for kind, n in zip(KINDS, row, strict=True) if n},
        }
        for identity, name, size, objects, detections, hits, row in zip(*columns, strict=True)
    ]


def worst_images(
    matched: Matched,
    assignment: Assignment,
    errors: Errors,
    images: list[dict[str, Any]],
    count: int = 50,
) -> list[dict[str, Any]]:
    """Lists the detections and objects of the images with most errors.

    Args:
        matched, assignment, errors: as in `breakdown.by_shape`.
        images: list from `summaries`. Images are ranked by "missed" plus "wrong".
        count: int. Number of images. Images without an error are left out.

    Returns:
        list of dicts of "image" (index into `images`), "detections" and "objects". An object is a
            dict of "annotation" (index into the file's annotations), "class" (index into the
            categories), "box", "ignored", "found" (at any score), and "iou" (the highest of a
            detection of its class). A detection is a dict of "result" (index into the results),
            "class", "box", "score", "kind" (of `KINDS`; "ignored" in a crowd, None beyond TIDE's
            limit), "object" (index into "objects" of the one that it found or should have found,
            or None), and "iou" (with it, or else the highest of any object). Boxes are
            [x1, y1, x2, y2] in pixels. Detections are listed whatever their score.
    """
    number = [image["missed"] + image["wrong"] for image in images]
    order = sorted(range(len(images)), key=lambda i: -number[i])[: max(count, 0)]
    found, true = matched.detections, matched.objects
    listed = []
    for image in order:
        if not number[image]:
            break
        rows, columns = matched.rows(image)
        ious = matched.ious(image)
        detections = []
        for i, row in enumerate(range(rows.start, rows.stop)):
            kind, about = int(errors.kind[row]), int(errors.object[row]) - columns.start
            ignored = bool(assignment.ignored[row] or errors.ignored[row])
            name = "ignored" if ignored else KINDS[kind] if kind >= 0 else None
            near = about >= 0
            detections.append(
                {
                    "result": int(found.result[row]),
                    "class": int(found.category[row]),
                    "box": [round(x, 2) for x in found.box[row].tolist()],
                    "score": float(found.score[row]),
                    "kind": name,
                    "object": about if near else None,
                    "iou": float(ious[i, about] if near else found.any_iou[row]),
                }
            )
        objects = [
            {
                "annotation": int(true.annotation[column]),
                "class": int(true.category[column]),
                "box": [round(x, 2) for x in true.box[column].tolist()],
                "ignored": bool(true.ignore[column]),
                "found": bool(assignment.detection[column] >= 0),
                "iou": float(true.iou[column]),
            }
            for column in range(columns.start, columns.stop)
        ]
        listed.append({"image": image, "detections": detections, "objects": objects})
    return listed
