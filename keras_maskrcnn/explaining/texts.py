"""What happened to an object that was lost, and what helps, in words."""

# (what happened, what helps) by the config field that is the limit, else by the cause. The names in
# braces are filled in by `explanation.follow`.
TEXTS = {
    "no anchor": (
        "no anchor fits it: the best has IoU {iou:.2f}, less than rpn_negative_iou={negative}, so "
        "training takes the anchors here for background",
        "anchor_sizes and anchor_ratios nearer to {width:.0f} x {height:.0f} pixels, its size in "
        "the resized image, or a larger image_min_side; both need training",
    ),
    "no proposal": (
        "no box that the RPN makes of the anchors reaches IoU 0.5, the best has {iou:.2f}",
        "train longer, or on more objects of this kind",
    ),
    "given": (
        "none of the given proposals reaches IoU 0.5, the best has {iou:.2f}",
        "more or better proposals",
    ),
    "test_pre_nms": (
        "the RPN's box for it scores {score:.3f}, not among the best test_pre_nms={limit}, and NMS "
        "does not get to see it",
        "raise test_pre_nms, or train longer",
    ),
    "rpn_min_size": (
        "the RPN's box for it has a side of rpn_min_size={limit} pixels or less",
        "lower rpn_min_size",
    ),
    "rpn_nms_iou": (
        "a proposal with a higher score overlaps that for it by more than rpn_nms_iou={limit}, and "
        "NMS keeps the one with the higher score",
        "raise rpn_nms_iou",
    ),
    "test_proposals": (
        "its proposal is not among the best test_proposals={limit}",
        "raise test_proposals",
    ),
    "moved away": (
        "a proposal covers it, but the box that the head makes of it for {name} does not: the "
        "best has IoU {iou:.2f}",
        "train longer, or on more objects of this kind",
    ),
    "score_threshold": (
        "it scores {score:.3f} as {name}, not above score_threshold={limit}",
        "lower score_threshold, or train longer",
    ),
    "one_class_per_roi": (
        "it scores {score:.3f} as {name}, but no RoI more as {name} than as background",
        "train longer, or set one_class_per_roi=False",
    ),
    "wrong class": (
        "it is taken for {other} with score {other_score:.3f}, and scores {score:.3f} as {name}",
        "more examples of both classes, or a correct annotation",
    ),
    "box_min_size": (
        "its box has a side of box_min_size={limit} pixels or less",
        "lower box_min_size",
    ),
    "nms_iou": (
        "NMS dropped its box of score {score:.3f}, because {name} {other_score:.3f} at "
        "{other_box} overlaps it by {other_iou:.2f}, more than nms_iou={limit}",
        "raise nms_iou",
    ),
    "detections_per_image": (
        "its box of score {score:.3f} is not among the best detections_per_image={limit}",
        "raise detections_per_image",
    ),
}
