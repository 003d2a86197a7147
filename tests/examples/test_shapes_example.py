import contextlib
import io
import pathlib
import runpy

import numpy as np
import pytest
from pycocotools.coco import COCO

SHAPES = runpy.run_path(str(pathlib.Path(__file__).parents[2] / "examples" / "shapes.py"))


def test_shapes_are_a_valid_data_set(tmp_path):
    SHAPES["make_shapes"](tmp_path / "a", train=6, val=2, size=96, seed=3)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(tmp_path / "a" / "annotations" / "train.json")
    assert len(truth.imgs) == len(list((tmp_path / "a" / "train").glob("*.png"))) == 6
    assert [truth.cats[i]["name"] for i in (3, 7, 8)] == list(SHAPES["CATEGORIES"])
    kinds = {type(annotation["segmentation"]) for annotation in truth.anns.values()}
    assert kinds == {list, dict}  # polygons and run lengths
    for image_id, annotations in truth.imgToAnns.items():
        masks = np.array([truth.annToMask(annotation) for annotation in annotations])
        assert 2 <= len(masks) <= 5, image_id
        for mask, annotation in zip(masks, annotations, strict=True):
            x, y, w, h = annotation["bbox"]
            assert min(x, y) >= 0 and max(x + w, y + h) <= 96
            assert annotation["area"] == mask.sum() > 30
        # Polygons and sampled masks differ only in pixels on the border.
        assert masks.sum() - masks.any(axis=0).sum() < 0.02 * masks.sum()


def test_shapes_depend_on_the_seed_alone(tmp_path):
    for name, train, seed in (("a", 3, 5), ("b", 4, 5), ("c", 3, 6)):
        SHAPES["make_shapes"](tmp_path / name, train=train, val=0, size=64, seed=seed)
    first = [(tmp_path / name / "train" / "000003.png").read_bytes() for name in "abc"]
    assert first[0] == first[1] != first[2]


def test_shapes_do_not_overwrite(tmp_path):
    (tmp_path / "precious").write_text("")
    with pytest.raises(FileExistsError, match="new or empty"):
        SHAPES["make_shapes"](tmp_path)
