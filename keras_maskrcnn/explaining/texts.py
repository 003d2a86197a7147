"""Texts that explain why an object was lost, and what to do about it."""

# (reason, remedy), by the config field that dropped the object, or else by the cause.
# `explanation._follow` fills in the names in braces.
TEXTS = {
    "no anchor": (
        "no anchor fits it: the best has IoU {iou:.2f}, less than rpn_negative_iou={negative}, so "
        "training labels all anchors here except the best as background",
        "choose anchor_sizes and anchor_ratios nearer to {width:.0f} x {height:.0f} pixels, its "
        "size in the resized image, or a larger image_min_side; then train again",
    ),
    "no proposal": (
        "no box of the RPN reaches IoU 0.5 with it; the best has {iou:.2f}",
        "train longer, or on more objects of this kind",
    ),
    "given": (
        "none of the given proposals reaches IoU 0.5 with it; the best has {iou:.2f}",
        "give more or better proposals",
    ),
    "test_pre_nms": (
        "the RPN's box for it has score {score:.3f} and is not among the best test_pre_nms={limit} "
        "that enter NMS",
        "raise test_pre_nms, or train longer",
    ),
    "rpn_min_size": (
        "the RPN's box for it has a side of rpn_min_size={limit} pixels or fewer",
        "lower rpn_min_size",
    ),
    "rpn_nms_iou": (
        "NMS dropped its proposal, because a proposal with a higher score overlaps it with an IoU "
        "above rpn_nms_iou={limit}",
        "raise rpn_nms_iou",
    ),
    "test_proposals": (
        "its proposal is not among the best test_proposals={limit}",
        "raise test_proposals",
    ),
    "moved away": (
        "a proposal reaches IoU 0.5 with it, but no box that the head predicts for {name} does; "
        "the best has IoU {iou:.2f}",
        "train longer, or on more objects of this kind",
    ),
    "score_threshold": (
        "its score as {name} is {score:.3f}, not above score_threshold={limit}",
        "lower score_threshold, or train longer",
    ),
    "class_thresholds": (
        "its score as {name} is {score:.3f}, below the {limit} of its class in class_thresholds",
        "lower the threshold of {name} in class_thresholds, or train longer",
    ),
    "one_class_per_roi": (
        "its score as {name} is {score:.3f}, but no RoI has a higher score as {name} than as "
        "background",
        "train longer, or set one_class_per_roi=False",
    ),
    "wrong class": (
        "the model takes it for {other} with score {other_score:.3f}; its score as {name} is "
        "{score:.3f}",
        "add examples of both classes, or correct the annotation",
    ),
    "box_min_size": (
        "its box has a side of box_min_size={limit} pixels or fewer",
        "lower box_min_size",
    ),
    "nms_iou": (
        "NMS dropped its box of score {score:.3f}, because {other} of score {other_score:.3f} at "
        "{other_box} overlaps it with IoU {other_iou:.2f}, above nms_iou={limit}",
        "raise nms_iou{or_else}",
    ),
    "detections_per_image": (
        "its box of score {score:.3f} is not among the best detections_per_image={limit}",
        "raise detections_per_image",
    ),
}
