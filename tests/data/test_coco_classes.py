"""data/coco_classes.py."""

from keras_maskrcnn.data.coco_classes import COCO_CLASSES


def test_coco_has_80_classes_among_90_ids():
    assert len(set(COCO_CLASSES.values())) == len(COCO_CLASSES) == 80
    assert list(COCO_CLASSES) == sorted(COCO_CLASSES)
    assert COCO_CLASSES[1] == "person" and COCO_CLASSES[90] == "toothbrush"
    # Ids that COCO planned but never used.
    assert set(range(1, 91)) - set(COCO_CLASSES) == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
