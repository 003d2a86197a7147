"""data/formats/from_cvat.py, on files in the layout of CVAT for images 1.1."""

import math

import numpy as np
import pytest

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.formats import cvat
from keras_maskrcnn.data.formats.from_cvat import NO_AREA

HEAD = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>7</id><name>a task</name><size>2</size><mode>annotation</mode>
    <labels>
      <label><name>disk</name><color>#fa3253</color><type>any</type><attributes></attributes></label>
      <label><name>cell</name><type>any</type><attributes></attributes></label>
    </labels></task><dumped>2026-11-30 12:00:00</dumped></meta>
"""
BOX = '<box label="cell" source="manual" occluded="0" xtl="4" ytl="5" xbr="14" ybr="11" {}>'
BOX += '<attribute name="score">0.9</attribute></box>'
POLYGON = '<polygon label="cell" source="manual" occluded="0" points="{}" z_order="0"></polygon>'
MASK = '<mask label="cell" source="manual" occluded="0" rle="{}" left="{}" top="{}" width="{}" '
MASK += 'height="{}" z_order="0"></mask>'
SQUARE = "4.00,5.00;14.00,5.00;14.00,11.00;4.00,11.00"


def write(folder, *shapes, name="a.png", size='width="30" height="20"', head=HEAD):
    shapes = "\n".join(shapes)
    text = f'{head}<image id="0" name="{name}" {size}>\n{shapes}\n</image>\n</annotations>\n'
    (folder / "annotations.xml").write_text(text)
    return folder / "annotations.xml"


def test_polygons_boxes_and_masks_are_instances(images, tmp_path, masks_of, box):
    rows = MASK.format("0, 60", 4, 5, 10, 6)
    path = write(tmp_path, POLYGON.format(SQUARE), BOX.format('z_order="0"'), rows)
    dataset = cvat(images, path)
    assert (dataset.class_names, dataset.category_ids) == (("disk", "cell"), (1, 2))
    assert dataset.file_names == ("a.png",) and dataset.labels.tolist() == [2, 2, 2]
    np.testing.assert_array_equal(masks_of(dataset), [box(4, 5, 14, 11)] * 3)
    assert dataset.orientation == "apply" and not dataset.dropped


def test_run_lengths_go_along_the_rows_and_end_at_the_image(images, tmp_path, masks_of):
    path = write(
        tmp_path,
        MASK.format("1, 2, 1, 2", 3, 4, 3, 2),
        MASK.format("0, 16", -2, -2, 4, 4),
    )
    first, second = masks_of(cvat(images, path))
    assert np.argwhere(first).tolist() == [[4, 4], [4, 5], [5, 4], [5, 5]]
    assert np.argwhere(second).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_boxes_and_ellipses_are_rotated_around_their_centers(images, tmp_path, masks_of, box):
    ellipse = '<ellipse label="cell" cx="15" cy="10" rx="9" ry="3" {}></ellipse>'
    path = write(tmp_path, BOX.format('rotation="90.00"'), ellipse.format('rotation="90.00"'))
    turned, tall = masks_of(cvat(images, path))
    np.testing.assert_array_equal(turned, box(6, 3, 12, 13))
    assert tall.sum() == pytest.approx(math.pi * 27, rel=0.05)
    assert np.ptp(np.argwhere(tall), axis=0).tolist() == [17, 5]


def test_a_group_is_one_instance_and_shapes_without_area_are_counted(
    images, tmp_path, masks_of, box
):
    group = BOX.format('z_order="0" group_id="3"')
    other = '<mask label="cell" rle="0, 4" left="20" top="2" width="2" height="2" group_id="3"/>'
    lines = [
        f'<{tag} label="cell" points="1,2;3,4"/>' for tag in ("polyline", "points", "skeleton")
    ]
    dataset = cvat(images, write(tmp_path, group, other, *lines, '<tag label="cell"/>'))
    expected = box(4, 5, 14, 11) | box(20, 2, 22, 4)
    np.testing.assert_array_equal(masks_of(dataset), [expected])
    assert dataset.dropped == {NO_AREA: 3}


@pytest.mark.parametrize(
    ("shape", "line"),
    [
        (POLYGON.format("1,2;3"), "image '0': shape 0: points must be x,y;.* points='1,2;3'"),
        (POLYGON.format("1,nan;3,4;5,6"), "points must be x,y"),
        (BOX.format("").replace('"14"', '"x"'), "xbr must be a number. Received: xbr='x'"),
        (
            BOX.format("").replace('"cell"', '""'),
            "a shape has a label. Received: label=''",
        ),
        (BOX.format("").replace("cell", "dog"), "unknown class, not one of .* class='dog'"),
        (MASK.format("1, 2", 0, 0, 2, 2), "rle must be run lengths that fill .* 2 x 2. .*'1, 2'"),
        (MASK.format("-1, 5", 0, 0, 2, 2), "rle must be run lengths"),
        (MASK.format("0, 10000000000", 0, 0, 100_000, 100_000), "rle must be run lengths"),
        (MASK.format("1, 2", 0.5, 0, 2, 2), "left must be a whole number. Received: left=0.5"),
    ],
)
def test_broken_shapes_are_refused_in_one_line(images, tmp_path, shape, line):
    with pytest.raises(DataError, match=f"annotations.xml: .*{line}"):
        cvat(images, write(tmp_path, shape))


def test_other_files_are_refused(images, tmp_path):
    head = HEAD + '<track id="0" label="cell"></track>'
    with pytest.raises(DataError, match="CVAT for images 1.1, .* Received: tracks of a video"):
        cvat(images, write(tmp_path, head=head))
    with pytest.raises(DataError, match="the json says width=31"):
        cvat(images, write(tmp_path, size='width="31" height="20"'))
    bomb = '<!DOCTYPE a [<!ENTITY b "ha">]><annotations>'
    with pytest.raises(DataError, match="a document type is not allowed"):
        cvat(images, write(tmp_path, head=bomb))
    with pytest.raises(DataError, match="file_name must lie inside the folder"):
        cvat(images, write(tmp_path, name="../a.png"))
