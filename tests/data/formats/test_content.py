"""data/formats/content.py: names of classes, from lists and files."""

import pytest
from PIL import Image

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.formats import content
from keras_maskrcnn.data.formats.content import list_files, read_class_names, read_text


def test_names_are_a_list_a_dict_or_lines():
    assert read_class_names(None) is None
    assert read_class_names(["a", "b"]) == {1: "a", 2: "b"}
    assert read_class_names(["a", "b"], first_id=0) == {0: "a", 1: "b"}
    assert read_class_names({7: "a"}) == {7: "a"}


def test_names_in_a_text_file_are_its_lines(tmp_path):
    (tmp_path / "classes.txt").write_text("a cat\r\n\n dog \n", encoding="utf-8-sig")
    assert read_class_names(tmp_path / "classes.txt") == {1: "a cat", 2: "dog"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [a cat, 'dog', \"e-f\"]\nnc: 3", ["a cat", "dog", "e-f"]),
        ("path: ../x\nnames: [\n  cat,\n  dog,\n]  # all", ["cat", "dog"]),
        ("names: {0: cat, 1: dog}", ["cat", "dog"]),
        ("nc: 2\n\nnames:\n  0: cat  # small\n  1: 'the dog'\ntrain: x", ["cat", "the dog"]),
        ("names:\n- cat\n# and\n\n- dog\nnc: 2", ["cat", "dog"]),
        ("names:   # two\n  - cat\n  - dog", ["cat", "dog"]),
    ],
)
def test_names_of_a_yaml_file(tmp_path, text, names):
    (tmp_path / "data.yaml").write_text(text)
    assert read_class_names(tmp_path / "data.yaml", first_id=0) == dict(enumerate(names))


@pytest.mark.parametrize(
    "text",
    [
        "nc: 2",
        "names: 3",
        "names: cat",
        "names: [cat, [dog]]",
        "names: ['a, b']",
        "names: *others",
        "names:\n  0: !!python/object cat",
        "names:\n  0: {cat: dog}",
        "names:\n  0: cat\n  0: dog",
        "names:\n  0: cat\n  - dog",
        "names:\n  animals:\n    0: cat",
        "names: |\n  cat",
    ],
)
def test_yaml_beyond_that_is_refused_and_not_guessed(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match="data.yaml: names must be a list, or a map of numbers"):
        read_class_names(tmp_path / "data.yaml")


@pytest.mark.parametrize("names", [[], ["a", "a"], [""], [1], {"x": "a"}])
def test_names_that_are_missing_or_not_unique_are_refused(names):
    with pytest.raises(ValueError, match="class_names: classes need a name of their own each"):
        read_class_names(names)


def test_text_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "MAX_TEXT", 3)
    (tmp_path / "a.txt").write_text("abc")
    assert read_text(tmp_path / "a.txt") == "abc"
    (tmp_path / "a.txt").write_text("abcd")
    with pytest.raises(DataError, match="a.txt: the file is larger than 3 bytes"):
        read_text(tmp_path / "a.txt")


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
