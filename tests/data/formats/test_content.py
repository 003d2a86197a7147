"""data/formats/content.py: folders, and messages about images."""

import pytest
from PIL import Image

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.formats import content
from keras_maskrcnn.data.formats.content import list_files


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        list_files(tmp_path / "nowhere", ".png")


def test_a_quarter_turn_is_told_where_the_annotations_tell_no_sides(images, caplog):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (30, 20)).save(images / name, exif=exif)

    def warned(size=None, **options):
        caplog.clear()
        found = content.Content(images, ["x"])
        for name in ("a.png", "b.jpg"):
            found.add_image(name, name, size, **options)
        found.dataset("annotations", {})
        return "2 images have an orientation tag (EXIF)" in caplog.text

    assert warned()  # VIA, YOLO
    assert not warned(size=(20, 30))  # COCO, labelme
    assert not warned(has_mask=True)  # VOC, PNG masks


def test_annotations_without_classes_need_one_name(tmp_path):
    assert content.Content(tmp_path, ["cat"]).the_class() == 1
    for names in (["cat", "dog"], None):
        with pytest.raises(ValueError, match="a single name"):
            content.Content(tmp_path, names).the_class()
