import dataclasses

import big_images
import numpy as np
import pytest
from pycocotools import mask as mask_api

from keras_maskrcnn.data import DataError, coco_dict, coco_json
from keras_maskrcnn.data.tile_cutting import cut_into_tiles
from keras_maskrcnn.data.tile_grid import tile_windows

TILE, OVERLAP = (24, 32), (8, 5)


@pytest.fixture
def drawn(tmp_path):
    """The data set of `big_images`, and its masks by annotation id."""
    _, _, masks = big_images.write(tmp_path)
    return coco_json(tmp_path, tmp_path / "a.json"), masks


def decoded(annotation):
    return mask_api.decode(annotation["segmentation"]).astype(bool)


@pytest.mark.parametrize("min_share", [0, 0.5, 1])
def test_masks_are_those_that_are_cut_by_hand(drawn, min_share):
    dataset, masks = drawn
    cut = cut_into_tiles(dataset, TILE, OVERLAP, min_share=min_share)
    expected = []
    for image, size in enumerate(big_images.SIZES):
        for window in tile_windows(*size, TILE, OVERLAP).tolist():
            top, left, height, width = window
            expected.append((image, window, {}))
            for identity in dataset.annotation_ids[slice(*dataset.offsets[image : image + 2])]:
                part = masks[identity][top : top + height, left : left + width]
                if part.any():
                    expected[-1][2][identity] = part
    content = cut.content
    assert [w for _, w, _ in expected] == cut.windows.tolist()
    assert [i for i, _, _ in expected] == cut.images.tolist()
    found = {entry["id"]: {} for entry in content["images"]}
    for annotation in content["annotations"]:
        found[annotation["image_id"]][annotation["source_id"]] = annotation
    for of_tile, (_, _, parts) in zip(found.values(), expected, strict=True):
        assert of_tile.keys() == parts.keys()
        for identity, annotation in of_tile.items():
            part, whole = parts[identity], masks[identity].sum()
            np.testing.assert_array_equal(decoded(annotation), part)
            assert annotation["segmentation"] == big_images.encode(part)
            assert annotation["bbox"] == big_images.extent(part)
            assert annotation["area"] == part.sum()
            assert annotation["share"] == part.sum() / whole
            assert annotation["iscrowd"] == (part.sum() < min_share * whole)


def test_entries_of_a_tile_say_where_it_comes_from(drawn):
    dataset, _ = drawn
    content = cut_into_tiles(dataset, TILE, OVERLAP, empty_tiles=0.25, seed=3).content
    assert content["images"][1] == {
        "id": 2,
        "file_name": "0.png[0:24,27:59]",
        "height": 24,
        "width": 32,
        "tile": {"source": "0.png", "source_id": "image 0", "top": 0, "left": 27},
    }
    assert content["categories"] == big_images.CATEGORIES[::-1]  # in the order of the labels
    tiles = {"tile": [24, 32], "overlap": [8, 5], "min_share": 0.5, "empty_tiles": 0.25, "seed": 3}
    assert content["info"] == {"tiles": tiles}
    assert {entry["id"] for entry in content["annotations"]} == set(
        range(1, len(content["annotations"]) + 1)
    )


# A row of four tiles of 10 x 10 that overlap by 2: 0..10, 8..18, 16..26, 24..34.

ROW = [{"id": 1, "file_name": "row.png", "height": 10, "width": 34}]


def row(*columns, **changes):
    """Returns a data set with an object in these columns of the rows 2..8; its box is wider."""
    annotations = []
    for i, (first, last) in enumerate(columns):
        mask = np.zeros([10, 34], bool)
        mask[2:8, first:last] = True
        bbox = [first - 0.25, 1.5, last - first + 0.5, 7]
        entry = {"id": i, "image_id": 1, "category_id": 7, "bbox": bbox, **changes}
        annotations.append({**entry, "segmentation": big_images.encode(mask)})
    content = {"images": ROW, "annotations": annotations, "categories": big_images.CATEGORIES}
    return coco_dict("", content, check_images=False, crowds="ignore")


def test_literal_pieces_and_counts():
    # Whole in tile 0; whole in tiles 0 and 1; 4 of 8 columns in tile 1 and 6 in tile 2;
    # in pieces of 1, 10, 10 and 5 columns of 20.
    dataset = row((1, 7), (8, 10), (14, 22), (9, 29))
    cut = cut_into_tiles(dataset, 10, 2)
    found = [
        (a["image_id"], a["source_id"], *a["bbox"], a["iscrowd"])
        for a in cut.content["annotations"]
    ]
    assert found == [
        (1, 0, 0.75, 1.5, 6.5, 7, 0),  # the box as it was
        (1, 1, 7.75, 1.5, 2.25, 7, 0),  # clipped to the tile
        (1, 3, 9, 2, 1, 6, 1),
        (2, 1, 0, 1.5, 2.25, 7, 0),
        (2, 2, 6, 2, 4, 6, 0),  # exactly a half
        (2, 3, 1, 2, 9, 6, 1),
        (3, 2, 0, 2, 6, 6, 0),
        (3, 3, 0, 2, 10, 6, 0),
        (4, 3, 0, 2, 5, 6, 1),
    ]
    assert dataclasses.asdict(cut.counts) == {
        "tile": (10, 10),
        "overlap": (2, 2),
        "min_share": 0.5,
        "images": 1,
        "smaller": 0,
        "tiles": 4,
        "left_out": 0,
        "objects": 4,
        "objects_whole": 2,
        "objects_cut": 2,
        "objects_lost": 0,
        "pieces_whole": 3,
        "pieces_cut": 3,
        "pieces_ignored": 3,
        "over_overlap": 4,
        "over_tile": 1,
        "longest_sides": (7, 21, 21),
    }
    assert cut_into_tiles(dataset, 10, 2, min_share=0.6).counts.objects_lost == 1
    report = cut_into_tiles(dataset, 10, 2, min_share=0.6).counts.report()
    assert "4 objects: 2 are whole in a tile, 1 only cut, 1 only in pieces below 0.6" in report
    assert "No tile trains on 1 objects: take a larger overlap or tile" in report


def test_boxes_without_masks_are_cut_by_their_area():
    dataset = coco_dict("", row((14, 22)).content(), check_images=False, masks=False)
    found = cut_into_tiles(dataset, 10, 2, min_share=0.6).content["annotations"]
    # The box has the columns 13.75 to 22.25 and the rows 1.5 to 8.5.
    assert [(a["image_id"], a["bbox"], a["share"], a["iscrowd"]) for a in found] == [
        (2, [5.75, 1.5, 4.25, 7], 0.5, 1),
        (3, [0, 1.5, 6.25, 7], pytest.approx(6.25 / 8.5), 0),
    ]
    assert not any("segmentation" in annotation for annotation in found)


def test_crowds_of_big_images_are_cut_and_stay_crowds():
    dataset = row((1, 7), (14, 22))
    crowd = row((5, 12), iscrowd=1).annotations["annotations"][0] | {"id": 9}
    content = dataset.content()
    content["annotations"].append(crowd)
    plain = {**crowd, "id": 10, "bbox": [16.5, 0, 2, 1.5], "segmentation": None}
    for masks in (True, False):
        read = coco_dict("", content, check_images=False, crowds="ignore", masks=masks)
        cut = cut_into_tiles(read, 10, 2, min_share=0)
        crowds = [a for a in cut.content["annotations"] if a["iscrowd"]]
        assert [(a["image_id"], a["source_id"]) for a in crowds] == [(1, 9), (2, 9)]
        assert [a["bbox"] for a in crowds] == (
            [[5, 2, 5, 6], [0, 2, 4, 6]] if masks else [[4.75, 1.5, 5.25, 7], [0, 1.5, 4.25, 7]]
        )
        assert cut.counts.pieces_ignored == 2
    content["annotations"].append(plain)
    read = coco_dict("", content, check_images=False, crowds="ignore", masks=False)
    assert cut_into_tiles(read, 10, 2).counts.pieces_ignored == 4  # 16.5..18.5 is in two tiles
    dropped = coco_dict("", content, check_images=False, masks=False)
    assert cut_into_tiles(dropped, 10, 2, min_share=0).counts.pieces_ignored == 0


def test_a_share_of_the_empty_tiles_is_kept_and_the_seed_decides_which():
    image = {"id": 1, "file_name": "a.png", "height": 100, "width": 100}
    mask = np.zeros([100, 100], bool)
    mask[1:4, 1:4] = True
    outline = {"segmentation": big_images.encode(mask), "bbox": [1, 1, 3, 3]}
    entry = {"id": 1, "image_id": 1, "category_id": 7, **outline}
    content = {"images": [image], "annotations": [entry], "categories": big_images.CATEGORIES}
    dataset = coco_dict("", content, check_images=False)
    every = cut_into_tiles(dataset, 10, 1)
    assert len(every.windows) == 121 and every.counts.left_out == 0

    def kept(**options):
        return cut_into_tiles(dataset, 10, 1, **options).windows.tolist()

    assert kept(empty_tiles=0) == [[0, 0, 10, 10]]
    quarter = kept(empty_tiles=0.25)
    assert len(quarter) == 31 and quarter[0] == [0, 0, 10, 10] and quarter == sorted(quarter)
    assert quarter == kept(empty_tiles=0.25, seed=0) != kept(empty_tiles=0.25, seed=1)
    assert cut_into_tiles(dataset, 10, 1, empty_tiles=0.25).counts.left_out == 90


def test_a_smaller_image_keeps_its_side(drawn):
    dataset, masks = drawn
    cut = cut_into_tiles(dataset, (40, 50), 10, min_share=0)
    assert cut.counts.smaller == 1
    assert cut.windows[cut.images == 1].tolist() == [[0, 0, 33, 47]]
    assert [w[2:] for w in cut.windows.tolist()[:4]] == [[40, 50]] * 4
    last = [a for a in cut.content["annotations"] if a["image_id"] == len(cut.windows)]
    for annotation in last:
        np.testing.assert_array_equal(decoded(annotation), masks[annotation["source_id"]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 0), "overlap must be at least 1 and less than tile"),
        ((10, -3), "overlap must be"),
        ((10, 10), "overlap must be"),
        ((0, 1), "tile must be at least 1"),
    ],
)
def test_bad_grids_are_refused(drawn, arguments, message):
    with pytest.raises(ValueError, match=message):
        cut_into_tiles(drawn[0], *arguments)


def test_other_bad_arguments_are_refused(drawn):
    with pytest.raises(ValueError, match=r"min_share must be in 0..1. Received: min_share=1.5\."):
        cut_into_tiles(drawn[0], 10, 2, min_share=1.5)
    with pytest.raises(ValueError, match="empty_tiles must be in 0..1. Received: empty_tiles=nan"):
        cut_into_tiles(drawn[0], 10, 2, empty_tiles=float("nan"))
    with pytest.raises(DataError, match=r"a.json: the tile is larger than every image; .*=60, w"):
        cut_into_tiles(drawn[0], (61, 10), 2)
