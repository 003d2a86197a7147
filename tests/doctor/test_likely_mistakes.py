"""doctor/likely_mistakes.py: warnings that the corpus does not cover."""

from doctor.faults import geometry, make
from keras_maskrcnn import doctor


def test_anchors_that_fit_few_instances_are_a_warning(tmp_path):
    options = {**geometry("mask_rcnn_resnet50_fpn"), "anchor_sizes": ((1000,),) * 5}
    found, report = doctor.examine(*make(tmp_path), anchors=options)
    assert report["sizes"]["all"]["recall_0.5"] == 0
    assert "anchors do not fit" in {p.kind for p in found.problems}
