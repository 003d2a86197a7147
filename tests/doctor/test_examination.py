"""doctor/examination.py: finds all faults of the corpus, with the same errors as training."""

import json
import re

import pytest

from doctor.faults import CORPUS, DROPS, ERRORS, NUCLEI, errors, geometry, load_all, make
from keras_maskrcnn import doctor
from keras_maskrcnn.data.errors import DataError


def test_a_sound_data_set_has_no_problem_but_its_size(tmp_path):
    seen = []
    found, report = doctor.examine(*make(tmp_path), progress=lambda i: seen.extend(i) or i)
    assert seen == [0, 1]
    assert {p.kind for p in found.problems} == {"rare class"}
    assert report["severities"] == {"error": 0, "dropped": 0, "warning": 2}
    assert report["counts"] == {"images": 2, "annotations": 3, "categories": 2}


@pytest.mark.parametrize("name", CORPUS)
def test_a_fault_is_found_with_its_kind_and_line(tmp_path, name):
    _, kind, line = CORPUS[name]
    found, report = doctor.examine(*make(tmp_path, name), max_instances=2)
    severity = "error" if name in ERRORS else "dropped" if name in DROPS else "warning"
    alike = [p for p in found.problems if (p.kind, p.severity) == (kind, severity)]
    assert any(re.search(line, problem.line) for problem in alike), found.problems
    assert all(len(p.line) <= 400 and p.line.isprintable() for p in found.problems)
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("name", [None, *CORPUS])
def test_there_is_an_error_if_and_only_if_training_would_fail(tmp_path, name):
    arguments = make(tmp_path, name)
    found, _ = doctor.examine(*arguments)
    try:
        dataset = load_all(*arguments)
    except DataError as error:
        assert str(error)[:397] in [line[:397] for line in errors(found)]
    else:
        assert not errors(found)
        dropped = {doctor.DROPPED_KINDS[reason]: n for reason, n in dataset.dropped.items()}
        kinds = [p.kind for p in found.problems if p.severity == "dropped"]
        assert {kind: kinds.count(kind) for kind in kinds} == dropped
        assert len(found.entries) == dataset.offsets[-1]


def test_crowds_are_examined_as_objects_when_asked(tmp_path):
    found, _ = doctor.examine(*make(tmp_path, "crowd"), crowds="objects")
    assert len(found.entries) == 3 and not [p for p in found.problems if p.severity != "warning"]
    assert doctor.repair(found)[0]["annotations"][2]["iscrowd"] == 0


@pytest.mark.skipif(not NUCLEI.exists(), reason="needs ../shared")
def test_the_nuclei_have_no_errors(tmp_path):
    paths = NUCLEI / "val/images", NUCLEI / "annotations/val.json"
    options = geometry("mask_rcnn_resnet18_fpn_small")
    found, report = doctor.examine(*paths, anchors=options)
    assert not found.problems
    assert report["instances_per_image"]["total"] == 3475
    assert doctor.repair(found) == (found.content, [])
