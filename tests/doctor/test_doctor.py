"""The doctor on a corpus of faulty inputs: each is found with its line, and mended."""

import copy
import json
import pathlib
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn import cli, doctor
from keras_maskrcnn.data import coco, coco_checks
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.images import DARK, TURNED
from keras_maskrcnn.networks import STRIDES, anchor_sizes
from keras_maskrcnn.ops import anchors as anchor_ops
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.presets import preset_config

NUCLEI = pathlib.Path(__file__).resolve().parents[3] / "shared/data/nuclei"
HEIGHT, WIDTH = 20, 30
NAN, INF = float("nan"), float("inf")
SQUARE = [[4, 5, 14, 5, 14, 11, 4, 11]]  # x 4..14, y 5..11


def annotation(identity, image, **changes):
    entry = {"id": identity, "image_id": image, "category_id": 7, "bbox": [4, 5, 10, 6]}
    return {**entry, "segmentation": SQUARE, "iscrowd": 0, "area": 60, **changes}


def sound():
    """Images 9 (annotations 1 and 2) and 10 (annotation 3), categories 7 and 12."""
    other = [[16, 2, 28, 2, 28, 18, 16, 18]]
    return {
        "info": {"year": 2017},
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH} for i in (9, 10)
        ],
        "annotations": [
            annotation(1, 9),
            annotation(2, 9, bbox=[16, 2, 12, 16], segmentation=other, area=192, category_id=12),
            annotation(3, 10),
        ],
        "categories": [{"id": 7, "name": "seven"}, {"id": 12, "name": "twelve"}],
    }


def write_image(path, width=WIDTH, height=HEIGHT, **options):
    pixels = np.arange(height * width * 3, dtype=np.uint32).reshape(height, width, 3) % 251
    Image.fromarray(pixels.astype(np.uint8)).save(path, **options)


# Faults: functions that break the content, or the files in the folder.


def changed(key, index, **changes):
    """The fault of one entry whose fields are replaced; those that become ... are removed."""

    def fault(content, folder):
        content[key][index].update(changes)
        for field in [name for name, value in changes.items() if value is ...]:
            del content[key][index][field]

    return fault


def broken(**changes):
    return changed("annotations", 2, **changes)


def runs(counts, size=(HEIGHT, WIDTH)):
    return broken(segmentation={"size": list(size), "counts": counts})


def replaced(**changes):
    return lambda content, folder: content.update(changes)


def removed_file(content, folder):
    (folder / "10.png").unlink()


def text_file(content, folder):
    (folder / "10.png").write_text("no image")


def cut_file(content, folder):
    data = (folder / "10.png").read_bytes()
    (folder / "10.png").write_bytes(data[: len(data) // 2])


def turned_file(content, folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    write_image(folder / "10.jpg", HEIGHT, WIDTH, exif=exif)
    content["images"][1]["file_name"] = "10.jpg"


def bomb(content, folder):
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)  # and no pixels behind it
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), (b"IDAT", b""), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        data += struct.pack(">I", len(body)) + kind + body + checksum
    (folder / "10.png").write_bytes(data)


def no_json(content, folder):
    content["text"] = '{"images": ['


ERRORS = {
    "missing image": (removed_file, "missing image", "10.png: image file does not exist."),
    "text as image": (text_file, "unreadable image", "10.png: not an image, or in none of"),
    "truncated image": (cut_file, "unreadable image", "10.png: image cannot be decoded."),
    "bomb": (bomb, "image too large", "10.png: .*400000000 pixels"),
    "wrong size": (
        changed("images", 1, width=31),
        "size mismatch",
        "10.png: the json says width=31",
    ),
    "turned by EXIF": (turned_file, "size mismatch", r"10.jpg: .*EXIF orientation tag \(6\)"),
    "path upwards": (
        changed("images", 1, file_name="../10.png"),
        "path outside the folder",
        "image 10: file_name must lie inside the folder.* file_name='../10.png'.",
    ),
    "absolute path": (
        changed("images", 1, file_name="/etc/passwd"),
        "path outside the folder",
        "image 10: ",
    ),
    "no file name": (
        changed("images", 1, file_name=...),
        "broken file name",
        "image 10: .* file_name=None.",
    ),
    "size of zero": (
        changed("images", 1, height=0),
        "broken image size",
        "image 10: .* height=0, width=30.",
    ),
    "huge size": (
        changed("images", 1, height=10**30),
        "broken image size",
        "a product of at most 178956970",
    ),
    "image id twice": (
        changed("images", 1, id=9),
        "duplicate image id",
        "image 9: two images have this id.",
    ),
    "image without id": (
        changed("images", 1, id=None),
        "image without id",
        "every image needs an id",
    ),
    "category id twice": (
        changed("categories", 1, id=7),
        "broken category id",
        "an integer id .* Received: id=7.",
    ),
    "category without id": (
        changed("categories", 1, id=...),
        "broken category id",
        "of its own. Received: id=None.",
    ),
    "no categories": (replaced(categories=[]), "broken category id", "distinct, at least one"),
    "annotation id twice": (
        broken(id=1),
        "duplicate annotation id",
        "annotation 1: two annotations have this id.",
    ),
    "annotation without id": (broken(id=1.5), "annotation without id", "Received: id=1.5."),
    "unknown image": (
        broken(image_id=8),
        "unknown image",
        "annotation 3: unknown image_id. Received: image_id=8.",
    ),
    "unknown category": (
        broken(category_id=[7]),
        "unknown category",
        r"annotation 3: unknown category_id. Received: category_id=\[7\].",
    ),
    "no bbox": (broken(bbox=...), "missing field", "annotation 3: bbox is missing."),
    "no segmentation": (
        broken(segmentation=None),
        "missing field",
        "annotation 3: segmentation is missing.",
    ),
    "crowd without bbox": (
        broken(iscrowd=1, bbox=None),
        "missing field",
        "annotation 3: bbox is missing.",
    ),
    "NaN in box": (
        broken(bbox=[4, 5, NAN, 6]),
        "broken bbox",
        r"annotation 3: bbox must be .*\[4, 5, nan,",
    ),
    "inf in box": (broken(bbox=[4, 5, INF, 6]), "broken bbox", "annotation 3: bbox must be 4"),
    "three numbers": (broken(bbox=[4, 5, 6]), "broken bbox", r"Received: bbox=\[4, 5, 6\]."),
    "iscrowd as text": (broken(iscrowd="0"), "broken iscrowd", "annotation 3: iscrowd must be"),
    "odd polygon": (
        broken(segmentation=[[4, 5, 14, 5, 14, 11, 4]]),
        "broken polygon",
        "must be polygons",
    ),
    "NaN in polygon": (
        broken(segmentation=[[4, 5, 14, 5, 14, NAN]]),
        "broken polygon",
        "of finite numbers. ",
    ),
    "far polygon": (
        broken(segmentation=[[4, 5, 1e18, 5, 14, 11]]),
        "polygon outside the image",
        "annotation 3: polygon far outside the image.",
    ),
    "mask as text": (
        broken(segmentation="mask.png"),
        "broken segmentation",
        "a list of polygons, or an object",
    ),
    "turned run lengths": (
        runs([600], (WIDTH, HEIGHT)),
        "RLE size",
        r"must have the image's size \[20, 30\]",
    ),
    "too few run lengths": (runs([100, 20]), "broken RLE", "that cover the image exactly"),
    "run lengths that are a number": (runs(1.5), "broken RLE", "that cover the image exactly"),
    "broken run lengths": (runs("P"), "broken RLE", "that cover the image exactly"),
    "broken json": (no_json, "broken json", "a.json: cannot be read as json."),
    "list missing": (replaced(annotations={}), "broken json", "a list of objects 'annotations'."),
    "no images": (replaced(images=[]), "broken json", "a.json: there are no images."),
    "entry of text": (
        lambda content, folder: content["annotations"].append("x"),
        "broken json",
        "a list of objects 'annotations'.",
    ),
}
DROPS = {
    "crowd": (broken(iscrowd=1), "crowd", f"annotation 3: left out: {coco_checks.CROWD}."),
    "box of zero": (broken(bbox=[0, 0, 0, 0]), "box without area", "annotation 3: left out"),
    "negative width": (broken(bbox=[14, 5, -10, 6]), "box without area", "annotation 3: left"),
    "box elsewhere": (broken(bbox=[99, 5, 10, 6]), "box without area", "annotation 3: left out"),
    "no polygon": (broken(segmentation=[]), "no polygon", f"left out: {coco_checks.NO_POLYGON}."),
    "two points": (broken(segmentation=[[4, 5, 14, 11]]), "no polygon", "annotation 3: left out"),
    "few points beside": (
        broken(segmentation=[*SQUARE, [1, 1, 2, 2]]),
        "polygon of few points",
        coco_checks.FEW_POINTS,
    ),
    "mask beside the box": (broken(bbox=[20, 12, 5, 5]), "no mask in the box", coco_checks.NO_MASK),
    "empty mask": (runs([HEIGHT * WIDTH]), "no mask in the box", "annotation 3: left out"),
}
WARNINGS = {
    "file twice": (
        changed("images", 1, file_name="./9.png"),
        "two images of one file",
        "image 10: image 9 has this file. Received: file_name='./9.png'.",
    ),
    "name twice": (
        changed("categories", 1, name="seven"),
        "two categories of one name",
        "categories 7 and 12 are both named 'seven'.",
    ),
    "unused category": (
        changed("annotations", 1, category_id=7),
        "category without instances",
        r"category 12 \('twelve'\) has 0 instances.",
    ),
    "rare category": (replaced(), "rare class", r"category 12 \('twelve'\) has 1 instances."),
    "no instances": (
        broken(image_id=9, segmentation=[[20, 2, 29, 2, 29, 18]], bbox=[20, 2, 9, 16]),
        "image without instances",
        "image 10 has no instances to train on.",
    ),
    "too many instances": (
        broken(image_id=9),
        "more instances than slots",
        "image 9 has 3 instances for 2 slots.",
    ),
    "the same twice": (
        broken(image_id=9),
        "same instance twice",
        "annotation 3: annotation 1 is the same instance",
    ),
    "box sticks out": (
        broken(bbox=[4, 5, 10, 45], segmentation=[[4, 5, 14, 5, 14, 50, 4, 50]]),
        "box outside the image",
        r"annotation 3: .*Received: bbox=\[4, 5, 10, 45\].",
    ),
    "box too large": (
        broken(bbox=[0, 0, 30, 20]),
        "box and mask disagree",
        r"annotation 3: .*= \[4.0, 5.0, 10.0, 6.0\]. Received: bbox=\[0, 0, 30, 20\].",
    ),
    "area of the image": (
        broken(area=600),
        "area and mask disagree",
        "area is not the mask's, 60. Received: area=600",
    ),
    "NaN as area": (broken(area=NAN), "area and mask disagree", "Received: area=nan."),
    "size unknown": (
        changed("images", 1, width=None),
        "annotation not checked",
        "image 10: without its size 1 annotations are not checked.",
    ),
}
CORPUS = {**ERRORS, **DROPS, **WARNINGS}
# Of these nothing is left.
HOPELESS = {"no categories", "broken json", "no images", "list missing"}


def make(folder, name=None):
    """Writes the sound data set with one fault; returns the arguments of `examine`."""
    write_image(folder / "9.png")
    write_image(folder / "10.png")
    content = sound()
    if name:
        CORPUS[name][0](content, folder)
    path = folder / "a.json"
    path.write_text(content.get("text", json.dumps(content)))
    return folder, path


def load_all(folder, path):
    """What training does: reads the json, then every image."""
    dataset = coco.coco_json(folder, path)
    coco.require_instances(dataset)
    for i in range(len(dataset)):
        dataset.load(i)
    return dataset


def errors(found):
    return [p.line for p in found.problems if p.severity == "error"]


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


@pytest.mark.parametrize("name", [None, *CORPUS])
def test_the_repaired_copy_raises_nothing_and_drops_nothing_but_crowds(tmp_path, name):
    folder, path = make(tmp_path, name)
    found, _ = doctor.examine(folder, path)
    if name in HOPELESS:
        with pytest.raises(DataError, match="too little can be used for a repaired copy"):
            doctor.repair(found)
        return
    before = copy.deepcopy(found.content)
    content, actions = doctor.repair(found)
    assert json.dumps(found.content) == json.dumps(before)
    assert content["info"] == {"year": 2017}
    (tmp_path / "fixed.json").write_text(json.dumps(content))
    dataset = load_all(folder, tmp_path / "fixed.json")
    assert set(dataset.dropped) <= {coco_checks.CROWD}
    again, _ = doctor.examine(folder, tmp_path / "fixed.json")
    assert doctor.repair(again) == (content, [])
    left = {"two images of one file", "two categories of one name", "rare class", "crowd"}
    left |= {"category without instances", "image without instances", "same instance twice"}
    assert {p.kind for p in again.problems} <= left
    assert bool(actions) == bool(name and {p.kind for p in found.problems} - left)


def test_all_problems_are_found_at_once(tmp_path):
    folder, path = make(tmp_path)
    content = sound()
    content["images"][1].update(width=-1, file_name="../x.png")
    content["annotations"][0].update(category_id=5, bbox=[1, 2], segmentation=[[1, 2, 3]])
    content["annotations"][1].update(id=1, iscrowd=2)
    content["annotations"][2].update(category_id=6)
    path.write_text(json.dumps(content))
    (folder / "9.png").unlink()
    found, _ = doctor.examine(folder, path)
    kinds = sorted(p.kind for p in found.problems if p.severity == "error")
    assert kinds == [
        "broken bbox",
        "broken image size",
        "broken iscrowd",
        "broken polygon",
        "duplicate annotation id",
        "missing image",
        "path outside the folder",
        "unknown category",
        "unknown category",
    ]


def test_files_outside_of_the_folder_are_not_opened(tmp_path, monkeypatch):
    opened = []

    def read(path, sides_tell):
        opened.append(path)
        return np.zeros((HEIGHT, WIDTH, 3), np.uint8), []

    monkeypatch.setattr("keras_maskrcnn.doctor.reading.read_with_remarks", read)
    found, _ = doctor.examine(*make(tmp_path, "path upwards"))
    assert opened == [str(tmp_path / "9.png")]
    assert found.bad_images() == {1}  # whose annotations have no picture either


def test_a_tag_that_turns_a_picture_and_keeps_its_sides_is_a_warning(tmp_path):
    folder, path = make(tmp_path)
    for name, tag in (("9.png", 3), ("10.png", 6)):  # 6 swaps sides, and the json has the stored
        exif = Image.Exif()
        exif[0x0112] = tag
        write_image(folder / name, exif=exif)
    found, report = doctor.examine(folder, path)
    warned = [problem.image for problem in found.problems if problem.kind == TURNED]
    assert warned == [0]
    assert "\n1 image has an orientation tag (EXIF)." in doctor.text(report)


def test_16_bits_in_a_part_of_their_range_are_a_warning(tmp_path):
    folder, path = make(tmp_path)
    Image.fromarray(np.full((HEIGHT, WIDTH), 4095, np.uint16)).save(folder / "9.png")
    found, report = doctor.examine(folder, path)
    assert [problem.image for problem in found.problems if problem.kind == DARK] == [0]
    assert "\n1 image has 16 bits, but values in the lowest quarter" in doctor.text(report)


def test_a_long_table_is_cut_in_the_text_and_whole_on_the_page(tmp_path):
    folder, path = make(tmp_path)
    content = sound()
    content["categories"] += [{"id": i, "name": f"class {i}"} for i in range(100, 150)]
    path.write_text(json.dumps(content))
    found, report = doctor.examine(folder, path)
    shown, page = doctor.text(report), doctor.page(report, found)
    assert "... and 22 more" in shown and "class 149" not in shown
    assert "<td>class 149</td>" in page


# The numbers.


def test_counts_of_images_and_classes(tmp_path):
    _, report = doctor.examine(*make(tmp_path), max_instances=1)
    assert report["instances_per_image"] == {
        "min": 1,
        "median": 1.5,
        "p95": 1.95,
        "max": 2,
        "total": 3,
        "slots": 1,
        "images_over": 1,
        "instances_without_slot": 1,
    }
    assert report["classes"] == [
        {"id": 7, "name": "seven", "instances": 2, "images": 2},
        {"id": 12, "name": "twelve", "instances": 1, "images": 1},
    ]


def test_problems_of_a_kind_are_counted_with_their_first_three_ids(tmp_path):
    folder, path = make(tmp_path)
    content = sound()
    content["annotations"] += [annotation(f"c{i}", 10, iscrowd=1) for i in range(5)]
    path.write_text(json.dumps(content))
    _, report = doctor.examine(folder, path)
    (crowd,) = [kind for kind in report["kinds"] if kind["kind"] == "crowd"]
    assert (crowd["count"], crowd["examples"]) == (5, ["c0", "c1", "c2"])
    (line,) = [line for line in doctor.text(report).splitlines() if "crowd" in line]
    assert line.split() == ["dropped", "crowd", "5", "'c0',", "'c1',", "'c2',", "..."]


def geometry(preset):
    config = preset_config(preset, image_min_side=200, image_max_side=333)
    return dict(
        min_side=200,
        max_side=333,
        resize_rule=config.resize_rule,
        padding_multiple=config.padding_multiple,
        strides=tuple(STRIDES[config.neck].values()),
        anchor_sizes=anchor_sizes(config),
        anchor_ratios=config.anchor_ratios,
        anchor_rule=config.anchor_rule,
    )


@pytest.mark.parametrize(
    "preset",
    [
        f"mask_rcnn_resnet50_{name}"
        for name in ("fpn", "c4_detectron2", "fpn_torchvision", "fpn_matterport")
    ],
)
def test_the_best_anchor_is_that_of_all_anchors(preset):
    rng = np.random.default_rng(0)
    height, width = 190, 310
    corners = rng.uniform(0, 1, [60, 2]) * [width, height]
    ends = corners + (rng.uniform(0, 1, [60, 2]) ** 2 * ([width, height] - corners)) + 1e-3
    boxes = np.concatenate([corners, ends], axis=1)
    options = geometry(preset)
    resized, overlaps = doctor.anchor_overlaps(boxes, [[height, width]] * 60, **options)

    rule, multiple = options["anchor_rule"], options["padding_multiple"]
    sides = [
        int(side)
        for side in image_ops.resized_size(height, width, 200, 333, options["resize_rule"])
    ]
    expected = boxes * (np.array(sides) / [height, width])[[1, 0, 1, 0]]
    np.testing.assert_allclose(resized, expected)
    canvas = np.array([-(-side // multiple) * multiple for side in sides])
    far = np.array([0, 0, 1, 1] if rule == "matterport" else [0] * 4, np.float32)
    every = []
    for stride, sizes in zip(options["strides"], options["anchor_sizes"], strict=True):
        cells = -(-canvas // stride)
        step = (canvas // cells).astype(np.int32) if rule == "torchvision" else stride
        anchors = anchor_ops.level_anchors(
            *cells.tolist(), step, sizes, options["anchor_ratios"], rule == "torchvision"
        )
        every.append(anchors - far)
    iou = box_ops.iou(expected.astype(np.float32) - far, np.concatenate(every))
    np.testing.assert_allclose(overlaps, np.max(iou, axis=1), atol=1e-4)


def test_sizes_are_those_after_resizing(tmp_path):
    # Boxes of 10 x 6 and 12 x 16 in 30 x 20 pixels, enlarged tenfold: sides of 77 and 139.
    options = geometry("mask_rcnn_resnet50_fpn")
    _, report = doctor.examine(*make(tmp_path), anchors=options)
    bins = report["sizes"]["bins"]
    assert [(row["from"], row["to"], row["instances"]) for row in bins] == [
        (64, 128, 2),
        (128, 256, 1),
    ]
    assert report["sizes"]["all"]["instances"] == 3
    assert all(0 <= row["recall_0.7"] <= row["recall_0.5"] <= 1 for row in bins)


def test_anchors_that_fit_few_instances_are_a_warning(tmp_path):
    options = {**geometry("mask_rcnn_resnet50_fpn"), "anchor_sizes": ((1000,),) * 5}
    found, report = doctor.examine(*make(tmp_path), anchors=options)
    assert report["sizes"]["all"]["recall_0.5"] == 0
    assert "anchors do not fit" in {p.kind for p in found.problems}


# Repairs.


@pytest.mark.parametrize(
    ("name", "fields", "action"),
    [
        ("no bbox", {"bbox": [4, 5, 10, 6]}, "annotation 3: bbox is now the mask's extent"),
        ("NaN in box", {"bbox": [4, 5, 10, 6]}, "annotation 3: bbox is now the mask's extent"),
        ("box of zero", {"bbox": [4, 5, 10, 6]}, "annotation 3: bbox is now the mask's extent"),
        ("box too large", {"bbox": [4, 5, 10, 6]}, "annotation 3: bbox is now the mask's extent"),
        ("box sticks out", {"bbox": [4, 5, 10, 15]}, "annotation 3: bbox is now clipped"),
        ("area of the image", {"area": 60}, "annotation 3: area is now the mask's"),
        ("few points beside", {"segmentation": SQUARE}, "annotation 3: 1 polygons of fewer than"),
        ("annotation id twice", {"id": 3}, "annotation 1: id is now 3"),
        ("annotation without id", {"id": 3}, "annotation 1.5: id is now 3"),
        ("empty mask", None, "annotation 3: removed, as it has no usable mask"),
        ("unknown category", None, "annotation 3: removed"),
        ("missing image", None, "image 10: removed, with 1 annotations"),
    ],
)
def test_what_a_repair_does_and_says(tmp_path, name, fields, action):
    found, _ = doctor.examine(*make(tmp_path, name))
    content, actions = doctor.repair(found)
    assert any(line.startswith(action) for line in actions), actions
    if fields is None:
        assert [a["id"] for a in content["annotations"]] == [1, 2]
    else:
        assert content["annotations"][2].items() >= fields.items()
    assert content["annotations"][:2] == sound()["annotations"][:2]


TRIANGLE = [4, 5, 14, 5, 14, 11]
UNITED = coco_checks.read_segmentation([[4, 5, 14, 5, 14, 11, 4, 11]], HEIGHT, WIDTH, "")[
    0
].decode()


@pytest.mark.parametrize(
    ("fault", "fields"),
    [
        (broken(image_id="10"), {"image_id": 10}),
        (broken(image_id=" 10.0"), {"image_id": 10}),
        (broken(image_id="10.png"), {"image_id": 10}),
        (broken(category_id="7"), {"category_id": 7}),
        (broken(category_id=" seven"), {"category_id": 7}),
        (broken(iscrowd="0"), {"iscrowd": 0}),
        (broken(iscrowd="false"), {"iscrowd": 0}),
        (broken(id=3.0), {"id": 3}),
        (broken(bbox=["4", "5.0", "10", 6]), {"bbox": [4, 5, 10, 6]}),
        (broken(bbox="[4, 5, 10, 6]"), {"bbox": [4, 5, 10, 6]}),
        (broken(bbox=[[4, 5, 10, 6]]), {"bbox": [4, 5, 10, 6]}),
        (broken(bbox={"y": 5, "x": "4", "width": 10, "height": 6}), {"bbox": [4, 5, 10, 6]}),
        (broken(area="60"), {"area": 60}),
        (broken(segmentation=SQUARE[0]), {"segmentation": SQUARE}),
        (broken(segmentation=[str(x) for x in SQUARE[0]]), {"segmentation": SQUARE}),
        (broken(segmentation=[[str(x) for x in SQUARE[0]]]), {"segmentation": SQUARE}),
        (broken(segmentation=json.dumps(SQUARE)), {"segmentation": SQUARE}),
        (broken(segmentation=[SQUARE]), {"segmentation": SQUARE}),
        (broken(segmentation=[[4, 5], [14, 5], [14, 11]]), {"segmentation": [TRIANGLE]}),
        (broken(segmentation=[["4", 5], [14, 5], [14, 11]]), {"segmentation": [TRIANGLE]}),
        (broken(segmentation=[[[4, 5], [14, 5], [14, 11]]]), {"segmentation": [TRIANGLE]}),
        (
            broken(segmentation=[{"x": 4, "y": 5}, {"x": 14, "y": 5}, {"x": 14, "y": 11}]),
            {"segmentation": [TRIANGLE]},
        ),
        (
            broken(segmentation=[{"size": [20, 30], "counts": UNITED}]),
            {"segmentation": {"size": [20, 30], "counts": UNITED}},
        ),
        (
            broken(segmentation=[{"size": [20, 30], "counts": UNITED}] * 2),
            {"segmentation": {"size": [20, 30], "counts": UNITED}},
        ),
        (
            broken(segmentation={"counts": UNITED}),
            {"segmentation": {"size": [20, 30], "counts": UNITED}},
        ),
        (
            broken(segmentation={"size": ["20", 30.0], "counts": ["100", 500.0]}),
            {"segmentation": {"size": [20, 30], "counts": [100, 500]}},
        ),
        (changed("images", 1, height=..., width=...), {"image_id": 10}),
        (changed("images", 1, height="20", width=30.0), {"image_id": 10}),
        (changed("images", 1, id=10.0), {"image_id": 10}),
        (changed("categories", 0, id="7"), {"category_id": 7}),
        (broken(iscrowd=1, bbox=None), {"bbox": [4, 5, 10, 6], "iscrowd": 1}),
    ],
)
def test_what_can_mean_one_thing_only_is_mended(tmp_path, fault, fields):
    folder, path = make(tmp_path)
    content = sound()
    fault(content, folder)
    path.write_text(json.dumps(content))
    found, _ = doctor.examine(folder, path)
    repaired, actions = doctor.repair(found)
    assert len(repaired["annotations"]) == 3 and actions
    assert len(found.file_names) == len(content["images"])  # what was examined stays as it was
    mended = {name: repaired["annotations"][2][name] for name in fields}
    assert mended == fields
    assert repaired["images"] == sound()["images"]
    path.write_text(json.dumps(repaired))
    again, _ = doctor.examine(folder, path)
    assert not errors(again) and doctor.repair(again) == (repaired, [])


@pytest.mark.parametrize(
    "fault",
    [
        changed("images", 1, height="19"),  # the file has another
        broken(segmentation=[4, 5, 14, 5, 14]),
        broken(segmentation=[["4", "x", 14, 5, 14, 11]]),
        broken(segmentation="[4, 5"),
        broken(category_id="eight"),
        broken(bbox=["a", 1, 2, 3], segmentation=[]),
    ],
)
def test_what_is_ambiguous_is_not_guessed(tmp_path, fault):
    folder, path = make(tmp_path)
    content = sound()
    fault(content, folder)
    path.write_text(json.dumps(content))
    repaired, _ = doctor.repair(doctor.examine(folder, path)[0])
    assert [a["id"] for a in repaired["annotations"]] == [1, 2]


def test_a_copy_without_any_object_is_refused(tmp_path):
    folder, path = make(tmp_path)
    content = sound()
    for entry in content["annotations"]:
        entry["segmentation"] = []
    path.write_text(json.dumps(content))
    found, _ = doctor.examine(folder, path)
    expected = (
        "too little .* repaired copy: .*no instance is left.*needs no masks. Received: 3 dropped"
    )
    with pytest.raises(DataError, match=expected):
        doctor.repair(found)


def test_a_copy_that_would_lose_every_annotation_is_refused_and_says_of_what(tmp_path):
    folder, path = make(tmp_path)
    content = sound()
    for entry in content["annotations"]:
        entry["category_id"] = "eight"
    path.write_text(json.dumps(content))
    found, _ = doctor.examine(folder, path)
    with pytest.raises(DataError, match="Received: 3 dropped: unknown category."):
        doctor.repair(found)


def test_names_that_are_numbers_are_not_taken_for_ids(tmp_path):
    folder, path = make(tmp_path)
    content = sound()
    content["categories"] = [{"id": 7, "name": "12"}, {"id": 12, "name": "0"}]
    content["annotations"][2]["category_id"] = "0"
    path.write_text(json.dumps(content))
    repaired, _ = doctor.repair(doctor.examine(folder, path)[0])
    assert [a["id"] for a in repaired["annotations"]] == [1, 2]


# Boxes without masks, and crowds that are objects.


@pytest.mark.parametrize(
    ("changes", "fields", "actions"),
    [
        ({"segmentation": ...}, {"bbox": [4, 5, 10, 6]}, 0),
        ({"segmentation": []}, {"bbox": [4, 5, 10, 6]}, 0),
        ({"segmentation": "mask.png"}, {"bbox": [4, 5, 10, 6], "segmentation": []}, 1),
        ({"segmentation": [], "bbox": [4, 5, 10, 45]}, {"bbox": [4, 5, 10, 15]}, 1),
        ({"bbox": None}, {"bbox": [4, 5, 10, 6]}, 1),
        ({"bbox": None, "segmentation": []}, None, 1),
    ],
)
def test_boxes_alone_are_repaired_where_masks_are_not_needed(tmp_path, changes, fields, actions):
    folder, path = make(tmp_path)
    content = sound()
    broken(**changes)(content, folder)
    path.write_text(json.dumps(content))
    found, _ = doctor.examine(folder, path, masks=False)
    repaired, done = doctor.repair(found)
    if fields is None:
        assert len(repaired["annotations"]) == 2
    else:
        assert repaired["annotations"][2].items() >= fields.items()
    assert len(done) == actions, done
    path.write_text(json.dumps(repaired))
    dataset = coco.coco_json(folder, path, masks=False)
    assert dataset.dropped == {} and not errors(doctor.examine(folder, path, masks=False)[0])


def test_crowds_are_examined_as_objects_when_asked(tmp_path):
    found, _ = doctor.examine(*make(tmp_path, "crowd"), crowds="objects")
    assert len(found.entries) == 3 and not [p for p in found.problems if p.severity != "warning"]
    assert doctor.repair(found)[0]["annotations"][2]["iscrowd"] == 0


# The page and the command.


def test_names_and_ids_are_escaped_and_printable(tmp_path):
    folder, path = make(tmp_path)
    content = sound()
    content["categories"][0]["name"] = "<script>alert(1)</script>\x1b[31m\n"
    content["annotations"][0].update(id="<b>\ud800", category_id="<i>")
    content["annotations"][2].update(bbox=[0, 0, 30, 20])
    content["images"][1].update(id='"><img src=x>')
    path.write_text(json.dumps(content))
    found, report = doctor.examine(folder, path)
    page = doctor.page(report, found)
    page.encode("utf-8")
    for tag in ("<script>", "<b>\\", "<i>", "<img src=x>"):
        assert tag not in page
    assert "&lt;script&gt;" in page and "&lt;i&gt;" in page
    shown = doctor.text(report)
    shown.encode("utf-8")
    assert "\x1b" not in shown and "\\x1b" in shown


def test_the_page_shows_at_most_twelve_pictures_of_the_worst(tmp_path):
    folder, path = make(tmp_path)
    content = sound()
    content["annotations"] += [annotation(i, 10, bbox=[0, 0, 30, 20]) for i in range(20, 40)]
    content["annotations"] += [annotation(40, 10, bbox=[1, 2, 3])]
    path.write_text(json.dumps(content))
    found, report = doctor.examine(folder, path)
    page = doctor.page(report, found)
    figures = re.findall(
        '<img alt="" src="data:image/png;base64,[^"]+">.*?<b>(.*?)</b>', page, re.S
    )
    assert len(figures) == 12
    assert figures[0] == "broken bbox" and "box and mask disagree" in figures
    assert "src=" not in re.sub('src="data:', "", page)  # nothing is loaded from elsewhere


def run(folder, path, *flags):
    return cli.run(["validate", f"--images={folder}", f"--annotations={path}", *flags])


def test_the_command_writes_reports_and_a_repaired_copy(tmp_path, capsys):
    folder, path = make(tmp_path, "NaN in box")
    output, fixed = tmp_path / "out", tmp_path / "fixed.json"
    flags = [
        f"--output={output}",
        f"--fix={fixed}",
        "--image_size=64",
        "--anchor_sizes=8,16,32,64,128",
    ]
    assert run(folder, path, *flags) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(
        "keras-maskrcnn validate: training would fail. Received: errors=1"
    )
    assert printed.err.count("\n") == 1 and "annotation 3: bbox must be" in printed.err
    assert "training would fail" in printed.out and "bbox is now the mask's extent" in printed.out
    report = json.loads((output / "report.json").read_text())
    assert report["severities"]["error"] == 1
    assert report["repairs"] == ["annotation 3: bbox is now the mask's extent"]
    assert (output / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert run(folder, fixed, "--quiet") == 0
    assert capsys.readouterr() == ("", "")

    first = (output / "report.json").read_bytes(), (output / "report.html").read_bytes()
    assert run(folder, path, *flags) == 1
    assert "exists; pass --overwrite or another --output" in capsys.readouterr().err
    assert run(folder, path, flags[1]) == 1
    assert "exists; pass --overwrite or another --fix" in capsys.readouterr().err
    assert run(folder, path, *flags, "--overwrite") == 1
    assert first == ((output / "report.json").read_bytes(), (output / "report.html").read_bytes())
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "10.png",
        "9.png",
        "a.json",
        "fixed.json",
        "out",
    ]


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--fix={path}", "--fix would replace --annotations."),
        ("--preset=mask_rcnn", "no such preset"),
    ],
)
def test_the_command_refuses(tmp_path, capsys, flag, line):
    folder, path = make(tmp_path)
    before = path.read_bytes()
    assert run(folder, path, flag.format(path=path), "--overwrite") == 1
    assert line in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_json_that_is_missing_is_one_line(tmp_path, capsys):
    assert run(tmp_path, tmp_path / "none.json", "--quiet") == 1
    assert "none.json: cannot be read as json" in capsys.readouterr().err
    flags = [f"--fix={tmp_path / 'none.json'}", f"--output={tmp_path / 'out'}"]
    assert run(tmp_path, tmp_path / "none.json", *flags) == 1
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["report.html", "report.json"]
    assert cli.run(["validate", "--annotations=a.json"]) == 2


@pytest.mark.skipif(not NUCLEI.exists(), reason="needs ../shared")
def test_the_nuclei_have_no_errors(tmp_path):
    paths = NUCLEI / "val/images", NUCLEI / "annotations/val.json"
    options = geometry("mask_rcnn_resnet18_fpn_small")
    found, report = doctor.examine(*paths, anchors=options)
    assert not found.problems
    assert report["instances_per_image"]["total"] == 3475
    assert doctor.repair(found) == (found.content, [])
