"""data/formats/from_voc.py: objects, their classes, and void."""

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.formats import voc

XML = """<annotation><filename>a.jpg</filename>
<object><name>dog</name></object><object><name>person</name></object></annotation>"""


@pytest.fixture
def root(tmp_path, box):
    """Writes two objects in image a: number 1 with void around it, and number 2."""
    for name in ("SegmentationObject", "SegmentationClass", "Annotations"):
        (tmp_path / name).mkdir()
    objects = 255 * box(0, 0, 12, 12)
    objects[1:11, 1:11] = 1
    objects[15:20, 15:20] = 2
    save(tmp_path / "SegmentationObject" / "a.png", objects)
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n\n")
    return tmp_path


def save(path, index):
    image = Image.fromarray(index.astype(np.uint8), "P")
    image.putpalette(list(range(256)) * 3)
    image.save(path)


def classes_of(dataset):
    return [dataset.class_names[label - 1] for label in dataset.labels]


def test_an_object_has_the_class_of_most_of_its_pixels(images, root, masks_of, box):
    classes = 12 * box(0, 0, 12, 12) + 15 * box(15, 15, 20, 20)
    classes[1, 1:11] = 8  # 10 pixels of 100
    classes[2:9, 1:11] = 255  # 70 pixels, but void
    save(root / "SegmentationClass" / "a.png", classes)
    dataset = voc(images, root, split="train")
    assert (dataset.file_names, dataset.num_classes) == (("a.png",), 20)
    assert classes_of(dataset) == ["dog", "person"]
    assert dataset.labels.tolist() == [12, 15]
    np.testing.assert_array_equal(masks_of(dataset), [box(1, 1, 11, 11), box(15, 15, 20, 20)])


def test_without_segmentation_class_the_xml_names_the_objects(images, root):
    (root / "Annotations" / "a.xml").write_text(XML)
    assert classes_of(voc(images, root)) == ["dog", "person"]
    names = ["person", "dog"]
    assert voc(images, root, class_names=names).labels.tolist() == [2, 1]


def test_without_a_split_all_object_masks_count(images, root, box):
    save(root / "SegmentationClass" / "a.png", 3 * box(0, 0, 30, 20))
    save(root / "SegmentationObject" / "b.png", 0 * box(0, 0, 30, 20))
    dataset = voc(images, root)
    assert dataset.file_names == ("a.png", "b.jpg")
    assert dataset.num_instances.tolist() == [2, 0]
    assert classes_of(dataset) == ["bird", "bird"]


@pytest.mark.parametrize(
    ("xml", "line"),
    [
        (None, "a.png: neither SegmentationClass nor Annotations has .* Received: object=1."),
        (
            XML.replace("dog", "unicorn"),
            "a.png: object 1: unknown class.*Received: class='unicorn'",
        ),
        ("<annotation/>", "a.png: neither"),
        ("<annotation>", "a.xml: cannot be read as xml"),
        ('<!DOCTYPE x [<!ENTITY a "b">]>' + XML, "a.xml: a document type is not allowed"),
    ],
)
def test_an_object_without_a_known_class_is_refused(images, root, xml, line):
    if xml:
        (root / "Annotations" / "a.xml").write_text(xml)
    with pytest.raises(DataError, match=line):
        voc(images, root)


def test_xml_of_any_depth_is_harmless(images, root):
    (root / "Annotations" / "a.xml").write_text("<a>" * 50_000 + "</a>" * 50_000)
    with pytest.raises(DataError, match="neither SegmentationClass nor Annotations"):
        voc(images, root)


def test_another_encoding_hides_no_document_type(images, root):
    text = '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x>' + XML
    (root / "Annotations" / "a.xml").write_bytes(text.encode("utf-16"))
    with pytest.raises(DataError, match="a.xml: a document type is not allowed"):
        voc(images, root)


BOXES = """<annotation><size><width>640</width></size>
<object><name>{}</name><bndbox><xmin>1</xmin><ymin>3</ymin><xmax>10</xmax><ymax>7</ymax></bndbox>
</object></annotation>"""


def boxes(folder, name="dog"):
    (folder / "Annotations").mkdir(exist_ok=True)
    (folder / "Annotations" / "a.xml").write_text(BOXES.format(name))


@pytest.mark.parametrize("masks", [False, None])
def test_boxes_of_xml_files_alone(images, tmp_path, masks):
    boxes(tmp_path)
    dataset = voc(images, tmp_path, masks=masks)
    # Pixels count from 1, and the last one is inside: 10 columns, 5 rows.
    np.testing.assert_array_equal(dataset.boxes, [[0, 2, 10, 7]])
    assert (dataset.class_names[11], dataset.labels.tolist()) == ("dog", [12])
    assert not dataset.has_masks
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("a\n")
    assert len(voc(images, tmp_path, masks=masks, split="val")) == 1


def test_boxes_of_other_tools_have_the_classes_that_are_found(images, tmp_path):
    boxes(tmp_path, "zebra")
    assert voc(images, tmp_path, masks=False).class_names == ("zebra",)
    assert voc(images, tmp_path / "Annotations", masks=False).class_names == ("zebra",)


def test_xml_files_alone_are_refused_where_masks_are_asked_for(images, tmp_path):
    boxes(tmp_path)
    with pytest.raises(DataError, match="masks=False reads the boxes of the xml files"):
        voc(images, tmp_path)


def test_a_broken_box_and_a_name_that_leads_out_are_named(images, tmp_path):
    boxes(tmp_path)
    path = tmp_path / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace("<xmax>10</xmax>", ""))
    with pytest.raises(DataError, match=r"a.xml: object 1 needs a name, and a bndbox .*None, '7'"):
        voc(images, tmp_path, masks=False)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("../a\n")
    with pytest.raises(DataError, match="no such image in .* name='../a'"):
        voc(images, tmp_path, masks=False, split="val")
