"""Images and labels of other tools and cameras that once failed."""

import json

import pytest

from keras_maskrcnn import cli

SMALL = ["--preset=mask_rcnn_resnet18_fpn_small", "--image_size=96"]


def validate(folder, capsys):
    paths = [f"--images={folder / 'images'}", f"--annotations={folder / 'ann.json'}"]
    assert cli.run(["validate", *paths, *SMALL]) == 0
    return capsys.readouterr().out


def test_turns_that_keep_the_sides_are_told(case, capsys, caplog, tmp_path):
    for folder in (case("exif_turned_same_sides"), case("exif_turned_same_sides") / "square"):
        assert "\n2 images have an orientation tag" in validate(folder, capsys)
        paths = [f"--images={folder / 'images'}", f"--annotations={folder / 'ann.json'}"]
        output = f"--output={tmp_path / folder.name}.json"
        assert cli.run(["convert", "--format=coco_json", *paths, output]) == 0
        assert "2 images have an orientation tag" in caplog.text
        caplog.clear()


def test_tiffs_are_read(case, capsys):
    assert "0 errors, 0 dropped" in validate(case("tiff_refused"), capsys)


def test_12_bits_in_16_are_told(case, capsys):
    out = validate(case("twelve_bits_in_sixteen") / "set", capsys)
    assert "\n2 images have 16 bits, but values in the lowest quarter" in out


@pytest.mark.parametrize("name", ["abspath", "winpath", "unixabs"])
def test_labelme_finds_images_that_were_annotated_elsewhere(case, tmp_path, name):
    folder = case("labelme_moved_from_windows") / name
    paths = [f"--images={folder}", f"--annotations={folder}", f"--output={tmp_path / 'r.json'}"]
    assert cli.run(["convert", "--format=labelme", *paths]) == 0
    content = json.loads((tmp_path / "r.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["a.jpg"]
    assert len(content["annotations"]) == 1
