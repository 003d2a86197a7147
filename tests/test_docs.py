"""References in the documents exist, and the numbers in them are those of the code."""

import ast
import pathlib
import re

import pytest

from keras_maskrcnn import data
from keras_maskrcnn.data.formats import READERS
from keras_maskrcnn.presets import preset_config

ROOT = pathlib.Path(__file__).parents[1]
MAP = (ROOT / "docs" / "paper_map.md").read_text(encoding="utf-8")


def defined(path):
    """Names of the functions, classes and methods of a file."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
    return names


@pytest.mark.parametrize("reference", sorted(set(re.findall(r"`([\w/]+\.py:[\w.]+)`", MAP))))
def test_code_that_the_paper_map_names_exists(reference):
    file, name = reference.split(":")
    assert name in defined(ROOT / "keras_maskrcnn" / file)


@pytest.mark.parametrize("reference", sorted(set(re.findall(r"`([\w/]+\.py::\w+)`", MAP))))
def test_tests_that_the_paper_map_names_exist(reference):
    file, name = reference.split("::")
    assert name in defined(ROOT / "tests" / file)


def test_links_between_documents_lead_somewhere():
    documents = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "benchmarks" / "RESULTS.md",
    ]
    for document in documents:
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.parametrize("name", READERS)
def test_every_format_is_public_and_on_its_page(name):
    assert name in data.__all__
    page = (ROOT / "docs" / "data_formats.md").read_text(encoding="utf-8")
    assert f"`mrcnn.data.{name}`" in page and f"`{name}`" in page


def test_numbers_of_section_3_1():
    fpn, c4 = (preset_config(f"mask_rcnn_resnet50_{neck}") for neck in ("fpn", "c4"))
    assert (fpn.roi_batch, c4.roi_batch) == (512, 64)
    assert (fpn.test_proposals, c4.test_proposals) == (1000, 300)
    assert (c4.box_pool_size, c4.res5_stride) == (7, 1)
    for config in (fpn, c4):
        assert config.roi_positive_iou == 0.5
        assert config.roi_positive_fraction == 0.25  # 1:3
        assert config.image_min_side == 800
        assert (len(config.anchor_sizes), len(config.anchor_ratios)) == (5, 3)
        assert config.detections_per_image == 100
