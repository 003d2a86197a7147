"""Targets from stored crops equal targets from whole masks (benchmarks/mask_crops.py)."""

import pathlib
import runpy

import numpy as np
import pytest

from keras_maskrcnn.data import coco_json

ROOT = pathlib.Path(__file__).parents[2]
NUCLEI = ROOT.parent / "shared/data/nuclei"


@pytest.fixture(scope="module")
def agreement():
    return runpy.run_path(str(ROOT / "benchmarks/mask_crops.py"))["agreement"]


@pytest.mark.parametrize("mask_size", [28, 112])
def test_targets_of_shapes_agree(agreement, tmp_path, mask_size):
    make_shapes = runpy.run_path(str(ROOT / "examples/shapes.py"))["make_shapes"]
    make_shapes(tmp_path / "shapes", train=8, val=1, size=256)
    files = tmp_path / "shapes/train", tmp_path / "shapes/annotations/train.json"
    found = agreement(coco_json(*files, mask_size=mask_size), 2)
    assert len(found) > 40 and found.mean() >= 0.99
    assert np.percentile(found, 1) > 0.95


@pytest.mark.slow
@pytest.mark.skipif(not NUCLEI.exists(), reason=f"no nuclei data at {NUCLEI}")
def test_targets_of_nuclei_agree(agreement):
    found = agreement(coco_json(NUCLEI / "val/images", NUCLEI / "annotations/val.json"), 1)
    assert len(found) == 3475 and found.mean() >= 0.99
