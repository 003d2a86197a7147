"""data/tfds_coco.py, data/tfds_reader.py: a COCO json becomes records and comes back unchanged."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as mask_api

from keras_maskrcnn.data import batches, coco_dict, coco_json
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.tfds_reader import tfds_dataset
from keras_maskrcnn.evaluation import evaluate_results

try:
    from keras_maskrcnn.data import tfds_coco
except ImportError as error:  # as in Colab; test_tfds_import.py has the message
    pytest.skip(str(error), allow_module_level=True)

import tensorflow_datasets as tfds
from tensorflow_datasets.scripts.cli import build as tfds_build
from tensorflow_datasets.scripts.cli import cli_utils

NUCLEI = Path(__file__).resolve().parents[3] / "shared/data/nuclei"
needs_nuclei = pytest.mark.skipif(not NUCLEI.exists(), reason=f"no nuclei data at {NUCLEI}")
NAMES = {31: "thirty-one", 7: "seven", 12: "zwölf"}
CROWD, NO_OUTLINE, OUTSIDE = 3, 7, 8  # annotation ids


def write_set(folder):
    """Writes 12 noisy images of 30 x 41 pixels in folder/train and the json folder/train.json.

    Image i has i % 4 instances. One image has 16 bits, one is a JPEG. Ids are strings.
    """
    (folder / "train").mkdir(parents=True)
    images, annotations = [], []
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (30, 41, 3), np.uint8)
        name = f"{i}.jpg" if i == 2 else f"{i}.png"
        picture = pixels[..., 0].astype(np.uint16) * 257 if i == 5 else pixels
        Image.fromarray(picture).save(folder / "train" / name)
        image = {"id": f"{100 - i}", "file_name": name, "height": 30, "width": 41}
        images.append(image)
        for k in range(i % 4):
            x, y = 3 + 7 * k + i / 10, 4.3 + i
            polygon = [x, y, x + 9.7, y, x + 9.7, y + 11.1, x, y + 11.1]
            encoded = mask_api.merge(mask_api.frPyObjects([polygon], 30, 41))
            counts = {"size": [30, 41], "counts": encoded["counts"].decode()}
            identity = len(annotations) + 1
            annotations.append(
                {
                    "id": identity,
                    "image_id": image["id"],
                    "category_id": (31, 7, 12)[k],
                    "bbox": [x, y, 9.7, 11.1],
                    "area": 107.67,
                    "segmentation": [polygon] if identity % 2 else counts,
                }
            )
    annotations[CROWD - 1]["iscrowd"] = 1
    annotations[NO_OUTLINE - 1]["segmentation"] = []
    annotations[OUTSIDE - 1]["bbox"] = [-5, 10, 60, 30]
    del annotations[OUTSIDE - 1]["area"]
    categories = [{"id": identity, "name": name} for identity, name in NAMES.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "train.json").write_text(json.dumps(content))
    return folder


def make_builder(source, data_dir, **splits):
    splits = splits or {"train": (source / "train", source / "train.json")}
    config = tfds_coco.CocoConfig(name="tiny", splits=splits)
    return tfds_coco.CocoInstances(config=config, data_dir=data_dir)


def build(source, data_dir, num_shards=2, **splits):
    builder = make_builder(source, data_dir, **splits)
    config = tfds.download.DownloadConfig(num_shards=num_shards)
    builder.download_and_prepare(download_config=config)
    return builder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of the small set."""
    return write_set(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def builder(source, tmp_path_factory):
    """The small set in 2 shards."""
    return build(source, tmp_path_factory.mktemp("built"))


def change(source, folder, **changes):
    """Copies the json of the small set, with other entries or a changed first annotation."""
    content = json.loads((source / "train.json").read_text())
    content["annotations"][0] |= changes.pop("annotation", {})
    (folder / "changed.json").write_text(json.dumps(content | changes))
    return {"train": (source / "train", folder / "changed.json")}


def raw_records(builder):
    """Returns the bytes of all records, one shard after the other."""
    files = [str(path) for path in sorted(builder.data_path.glob("*.tfrecord*"))]
    return [record.numpy() for record in tf.data.TFRecordDataset(files)]


def check_same(dataset, expected):
    """Compares a TfdsDataset with the CocoDataset that it was made from."""
    place = {image_id: i for i, image_id in enumerate(expected.image_ids)}
    assert sorted(dataset.image_ids) == sorted(expected.image_ids)
    assert dataset.class_names == expected.class_names
    assert dataset.category_ids == expected.category_ids
    for index in range(len(dataset)):
        example = dataset.load(index)
        k = place[dataset.image_ids[index]]
        reference = expected.load(k)
        for name, value in reference.items():
            np.testing.assert_array_equal(example[name], value, name)
            assert example[name].dtype == value.dtype
        assert dataset.sizes[index] == expected.sizes[k]
        assert dataset.file_names[index] == expected.file_names[k]
        assert dataset.num_instances[index] == expected.num_instances[k]


def outlines(dataset, content):
    """Returns a dict of annotation id to image id, category, mask, area and crowd flag."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    found = {}
    for entry in content["annotations"]:
        outline = entry["segmentation"]
        if isinstance(outline, list) and outline:
            outline = mask_api.merge(mask_api.frPyObjects(outline, *sizes[entry["image_id"]]))
        counts = outline and outline["counts"]
        counts = counts.decode() if isinstance(counts, bytes) else counts
        crowd = entry.get("iscrowd", 0)
        found[entry["id"]] = entry["image_id"], entry["category_id"], counts, crowd
    return found


def test_records_are_the_examples_of_the_json(source, builder):
    expected = coco_json(source / "train", source / "train.json")
    dataset = tfds_dataset(builder, "train")
    check_same(dataset, expected)
    assert dataset.dropped == expected.dropped
    assert dataset.max_instances == expected.max_instances == 3


def test_annotations_come_back_with_crowds_and_masks(source, builder):
    content = json.loads((source / "train.json").read_text())
    dataset = tfds_dataset(builder, "train")
    assert outlines(dataset, dataset.annotations) == outlines(dataset, content)
    areas = {entry["id"]: entry["area"] for entry in dataset.annotations["annotations"]}
    expected = {entry["id"]: entry.get("area") for entry in content["annotations"]}
    mask = outlines(dataset, content)[OUTSIDE][2]
    expected[OUTSIDE] = mask_api.area({"size": [30, 41], "counts": mask})
    assert areas == {identity: np.float32(area) for identity, area in expected.items()}
    boxes = {entry["id"]: entry["bbox"] for entry in dataset.annotations["annotations"]}
    assert boxes[OUTSIDE] == [-5, 10, 60, 30]


def test_plain_tfds_sees_its_own_conventions(builder):
    assert builder.info.features["objects"]["label"].names == ["seven", "zwölf", "thirty-one"]
    for example in tfds.as_numpy(builder.as_dataset("train")):
        objects = example["objects"]
        if json.loads(example["image/id"]) == "97":  # annotations 4, 5 and 6
            np.testing.assert_array_equal(objects["label"], [2, 0, 1])
            y1, x1 = (4.3 + 3) / 30, (3 + 3 / 10) / 41
            expected = [y1, x1, y1 + 11.1 / 30, x1 + 9.7 / 41]
            np.testing.assert_allclose(objects["bbox"][0], expected, rtol=1e-6)
        relative = objects["bbox"]
        assert (relative >= 0).all() and (relative <= 1).all()


def test_evaluation_by_records_equals_evaluation_by_the_json(source, builder):
    dataset = tfds_dataset(builder, "train")
    results = [
        {**entry, "score": 0.5 + entry["id"] / 100}
        for entry in dataset.annotations["annotations"]
        if entry["segmentation"] and entry["id"] % 5
    ]
    by_json = evaluate_results(results, str(source / "train.json"))
    assert 0 < by_json["segm/AP"] < 1
    assert evaluate_results(results, dataset.annotations) == by_json


def test_one_and_eight_shards_hold_the_same_bytes(source, tmp_path):
    one, eight = (build(source, tmp_path / str(n), n) for n in (1, 8))
    assert eight.info.splits["train"].num_shards == 8
    assert raw_records(one) == raw_records(eight)


@needs_nuclei
def test_nuclei_come_back_the_same_from_one_and_eight_shards(tmp_path):
    files = NUCLEI / "val/images", NUCLEI / "annotations/val.json"
    one, eight = (build(None, tmp_path / str(n), n, val=files) for n in (1, 8))
    assert raw_records(one) == raw_records(eight)
    dataset = tfds_dataset(eight, "val", mask_size=28)
    expected = coco_json(*files, mask_size=28)
    check_same(dataset, expected)
    content = json.loads(files[1].read_text())
    assert outlines(dataset, dataset.annotations) == outlines(dataset, content)


KILLED = """
import os, pathlib, signal, sys
import tensorflow as tf
from tensorflow_datasets.core import file_adapters
sys.path.insert(0, sys.argv[1])
from test_tfds_coco import build

adapter = file_adapters.TfRecordFileAdapter
write, written = adapter.write_examples, []

def write_or_die(path, examples):
    written.append(path)
    if len(written) == 4:
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(next(examples)[1])
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, examples)

adapter.write_examples = write_or_die
build(pathlib.Path(sys.argv[2]), sys.argv[3], 6)
"""


def test_a_killed_build_resumes_with_the_missing_shards(source, tmp_path):
    command = [sys.executable, "-c", KILLED, Path(__file__).parent, source, tmp_path / "killed"]
    assert subprocess.run(command, capture_output=True).returncode == -9
    folder = tmp_path / "killed/coco_instances/tiny"
    finished = {
        path.name: path.stat().st_mtime_ns for path in folder.glob("unfinished_1.1.0/*-of-00006")
    }
    assert len(finished) == 3
    stale = min(finished)
    plan = folder / f"unfinished_1.1.0/{stale}.json"
    plan.write_text(plan.read_text().replace('"bbox": [', '"bbox": [0.5, '))  # made from other data

    resumed = build(source, tmp_path / "killed", 6)
    kept = {
        name
        for name, time in finished.items()
        if (folder / "1.1.0" / name).stat().st_mtime_ns == time
    }
    assert kept == finished.keys() - {stale}
    assert raw_records(resumed) == raw_records(build(source, tmp_path / "whole", 6))
    assert not (folder / "unfinished_1.1.0").exists()


ELSEWHERE = """
import sys
import keras_maskrcnn.data.tfds_reader
assert "tensorflow_datasets" not in sys.modules
import tensorflow_datasets as tfds
example = next(iter(tfds.builder_from_directory(sys.argv[1]).as_dataset("train")))
assert example["image"].shape == (30, 41, 3), example
dataset = keras_maskrcnn.data.tfds_reader.tfds_dataset(sys.argv[1], "train")
assert "keras_maskrcnn.data.tfds_coco" not in sys.modules
print(*dataset.class_names, *dataset.category_ids, dataset.load_image(0).shape)
"""


def test_a_process_without_the_builder_reads_the_folder(builder):
    command = [sys.executable, "-c", ELSEWHERE, builder.data_dir]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == [
        "seven",
        "zwölf",
        "thirty-one",
        "7",
        "12",
        "31",
        "(30,",
        "41,",
        "3)",
    ], done


def tfds_build_command(*arguments):
    """Runs `tfds build`. The command itself does not start without Beam in TFDS 4.9.10."""
    if hasattr(cli_utils, "make_flags_parser"):
        parse = cli_utils.make_flags_parser(tfds_build.Args, description="")
        parse(["tfds", *arguments]).execute()
    else:  # before 4.9.10
        parser = argparse.ArgumentParser()
        tfds_build.register_subparser(parser.add_subparsers())
        parsed = parser.parse_args(["build", *arguments])
        parsed.subparser_fn(parsed)


def test_tfds_build_makes_coco_of_a_manual_dir_and_load_finds_it(source, tmp_path):
    manual = tmp_path / "coco"
    (manual / "annotations").mkdir(parents=True)
    for part in ("train", "val"):
        (manual / f"{part}2017").symlink_to(source / "train")
        (manual / f"annotations/instances_{part}2017.json").symlink_to(source / "train.json")
    flags = [f"--manual_dir={manual}", f"--data_dir={tmp_path}"]
    flags.append("--imports=keras_maskrcnn.data.tfds_coco")
    tfds_build_command("coco_instances/2017", *flags)
    splits = tfds.load("coco_instances/2017", data_dir=tmp_path, download=False)
    assert {name: len(split) for name, split in splits.items()} == {"train": 12, "validation": 12}
    dataset = tfds_dataset("coco_instances/2017", "validation[:50%]", data_dir=tmp_path)
    assert len(dataset) == 6
    whole = tfds_dataset("coco_instances/2017", "validation", data_dir=tmp_path)
    assert dataset.image_ids == whole.image_ids[:6]
    np.testing.assert_array_equal(dataset.load_image(5), whole.load_image(5))


@pytest.mark.parametrize("training", [True, False])
def test_batches_are_those_of_the_json(source, builder, training):
    dataset = tfds_dataset(builder, "train", mask_size=14)
    content = dataset.annotations
    same = coco_dict(source / "train", content, mask_size=14)
    # Not from resizing.py: a separate process imports this file, without the folder above.
    options = {"min_side": 24, "max_side": 48, "resize_rule": "detectron2", "padding_multiple": 32}
    options["training"] = training
    ours, expected = (list(batches(d, 2, **options).as_numpy_iterator()) for d in (dataset, same))
    tf.nest.map_structure(np.testing.assert_array_equal, ours, expected)


def test_empty_images_are_left_out(source, builder):
    options = {"keep_empty": False, "category_ids": [12, 7, 31], "mask_size": 14}
    dataset = tfds_dataset(builder, "train", **options)
    check_same(dataset, coco_json(source / "train", source / "train.json", **options))
    assert len(dataset) < 12


def test_names_are_compared_masks_left_out_and_crowds_read_as_of_a_json(source, builder):
    known = tfds_dataset(builder, "train")
    names = ["x", *known.class_names[1:]]
    line = f"category {known.category_ids[0]} was 'x' in training"
    with pytest.raises(DataError, match=line):
        tfds_dataset(builder, "train", class_names=names)
    dataset = tfds_dataset(builder, "train", masks=False, crowds="objects")
    assert not dataset.has_masks and set(dataset.load_targets(0)) == {"boxes", "labels"}
    assert len(dataset.labels) > len(known.labels)


@pytest.mark.parametrize("empty", [True, False])
def test_boxes_without_masks_become_records(source, tmp_path, empty):
    content = json.loads((source / "train.json").read_text())
    for entry in content["annotations"]:
        entry["segmentation"] = []
        if not empty:
            del entry["segmentation"]
    files = source / "train", tmp_path / "boxes.json"
    files[1].write_text(json.dumps(content))
    dataset = tfds_dataset(build(None, tmp_path / "built", train=files), "train", masks=None)
    assert not dataset.has_masks
    check_same(dataset, coco_json(*files, masks=False))


def test_splits_share_the_categories_of_all(source, tmp_path):
    other = change(source, tmp_path, annotations=[], categories=[{"id": 40, "name": "forty"}])
    both = build(
        source, tmp_path, train=(source / "train", source / "train.json"), val=other["train"]
    )
    assert tfds_dataset(both, "val").category_ids == (7, 12, 31, 40)
    assert tfds_dataset(both, "val").class_names == ("seven", "zwölf", "thirty-one", "forty")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"categories": [{"id": i, "name": "a"} for i in NAMES]}, r"category 7 must have one name"),
        ({"categories": [{"id": i, "name": f"{i}\n"} for i in NAMES]}, r"name='31\\n'"),
        ({"annotation": {"area": "big"}}, r"annotation 1: area must be a finite .* area='big'"),
        (
            {"annotation": {"iscrowd": 1, "segmentation": {"size": [30, 41], "counts": "0"}}},
            r"annotation 1: counts must be run lengths",
        ),
        ({"annotation": {"category_id": 8}}, r"annotation 1: unknown category_id"),
        ({"images": []}, r"changed.json: there are no images"),
    ],
)
def test_what_cannot_be_built_is_told_by_file_and_id(source, tmp_path, changes, line):
    with pytest.raises(DataError, match=line):
        build(source, tmp_path, **change(source, tmp_path, **changes))
    assert not list(tmp_path.glob("coco_instances/tiny/*"))


def test_more_shards_than_images_and_a_config_without_files_are_refused(source, tmp_path):
    with pytest.raises(ValueError, match=r"'train' has 12 images.* num_shards=13\."):
        build(source, tmp_path, 13)
    config = tfds_coco.CocoConfig(name="none")
    nothing = tfds_coco.CocoInstances(config=config, data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"Received: splits={}\."):
        nothing.download_and_prepare()


def test_what_cannot_be_opened_is_told_in_one_line(source, builder, tmp_path):
    other = tfds.testing.DummyDataset(data_dir=tmp_path)
    other.download_and_prepare()
    cases = [
        ((other, "train"), r"dummy_dataset/1.0.0 train: records must .* features=\['id'\]\.$"),
        ((builder, "test"), r"has these splits: train\. Received: split='test'\.$"),
        ((make_builder(source, tmp_path), "train"), r"none, it is not built\. .*'train'\.$"),
        (
            (builder.data_path.parent, "train"),
            r"dataset_info.json: .* Received: builder='.*tiny'\.$",
        ),
        (("coco_instances/unknown", "train"), r"Received: builder='coco_instances/unknown', data_"),
    ]
    for arguments, line in cases:
        with pytest.raises(ValueError, match=line) as caught:
            tfds_dataset(*arguments, data_dir=tmp_path)
        assert "\n" not in str(caught.value)


def test_a_broken_image_is_named_by_data_set_split_and_id(source, tmp_path):
    folder = write_set(tmp_path / "set")
    whole = (folder / "train/0.png").read_bytes()
    (folder / "train/0.png").write_bytes(whole[: len(whole) // 2])
    dataset = tfds_dataset(build(folder, tmp_path), "train")
    broken = dataset.image_ids.index("100")
    with pytest.raises(DataError, match=r"^coco_instances/tiny/1.1.0 train: image '100': image"):
        dataset.load(broken)


def test_broken_records_are_told_by_their_file(source, tmp_path):
    broken = build(source, tmp_path, 1)
    (shard,) = broken.data_path.glob("*.tfrecord*")
    whole = shard.read_bytes()
    huge = (2**40).to_bytes(8, "little")  # TensorFlow would allocate this many bytes
    for content in (whole[:-5], whole[:-1] + b"x", whole + b"abc", b"", huge + whole[8:]):
        shard.write_bytes(content)
        with pytest.raises(DataError, match=r"tfrecord-00000-of-00001: broken records") as caught:
            tfds_dataset(broken, "train")
        assert "\n" not in str(caught.value)


def test_other_files_than_tfrecords_are_refused(source, tmp_path):
    config = tfds_coco.CocoConfig(
        name="x", splits={"train": (source / "train", source / "train.json")}
    )
    other = tfds_coco.CocoInstances(config=config, data_dir=tmp_path, file_format="array_record")
    other.download_and_prepare()
    with pytest.raises(DataError, match="must be in TFRecord files.*file_format=array_record"):
        tfds_dataset(other, "train")


def test_beam_makes_the_same_bytes(source, builder, tmp_path):
    beam = pytest.importorskip("apache_beam")
    options = beam.options.pipeline_options.PipelineOptions(runner="DirectRunner")
    config = tfds.download.DownloadConfig(num_shards=2, beam_options=options)
    parallel = make_builder(source, tmp_path)
    parallel.download_and_prepare(download_config=config)
    assert raw_records(parallel) == raw_records(builder)


def test_without_beam_its_extra_is_named(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    config = tfds.download.DownloadConfig(num_shards=2, beam_options=object())
    with pytest.raises(ImportError, match=r"pip install keras3-maskrcnn\[beam\]. Received: imp"):
        make_builder(source, tmp_path).download_and_prepare(download_config=config)


# LVIS: its json, and the records of TFDS.


def test_lvis_json_is_built_by_its_addresses(source, tmp_path):
    images = json.loads((source / "train.json").read_text())["images"]
    for image in images:
        image["coco_url"] = "http://images.cocodataset.org/train/" + image.pop("file_name")
    _, annotations = change(source, tmp_path, images=images)["train"]
    dataset = tfds_dataset(build(source, tmp_path, train=(source, annotations)), "train")
    assert sorted(dataset.file_names)[0] == "train/0.png"
    assert len(dataset) == 12 and dataset.load_image(0).shape == (30, 41, 3)


class TinyLvis(tfds.builder_cls("lvis"), skip_registration=True):
    """The features of LVIS in TFDS, with one image of two instances."""

    name = "tiny_lvis"

    def _split_generators(self, dl_manager):
        return {"validation": self._generate_examples()}

    def _generate_examples(self):
        mask = np.zeros((20, 30, 1), np.uint8)
        mask[5:11, 4:14] = 255
        box = tfds.features.BBox(ymin=5 / 20, xmin=4 / 30, ymax=11 / 20, xmax=14 / 30)
        entry = {"area": 60, "bbox": box, "segmentation": mask}
        yield (
            397133,
            {
                "image": np.full((20, 30, 3), 90, np.uint8),
                "image/id": 397133,
                "neg_category_ids": [4],
                "not_exhaustive_category_ids": [0, 1202],
                "objects": [{"id": 5, "label": 0, **entry}, {"id": 6, "label": 1202, **entry}],
            },
        )


def test_records_of_tfds_lvis_are_examples_too(tmp_path):
    lvis = TinyLvis(data_dir=tmp_path)
    lvis.download_and_prepare()
    dataset = tfds_dataset(lvis, "validation", mask_size=10)
    assert (dataset.num_classes, dataset.category_ids) == (1203, tuple(range(1, 1204)))
    assert dataset.class_names[0] == "aerosol_can"
    image, annotation = dataset.annotations["images"][0], dataset.annotations["annotations"][1]
    assert (image["id"], image["height"], image["width"]) == (397133, 20, 30)
    assert (image["neg_category_ids"], image["not_exhaustive_category_ids"]) == ([5], [1, 1203])
    assert (annotation["id"], annotation["category_id"], annotation["area"]) == (6, 1203, 60)
    mask = mask_api.decode(annotation["segmentation"])
    assert mask.sum() == mask[5:11, 4:14].sum() == 60
    example = dataset.load(0)
    np.testing.assert_array_equal(example["labels"], [1, 1203])
    np.testing.assert_allclose(example["boxes"], [[4, 5, 14, 11]] * 2, rtol=1e-6)
    assert example["masks"].shape == (2, 10, 10) and (example["masks"][:, 1:-1, 1:-1] == 255).all()


def test_tiffs_become_pngs_that_tensorflow_decodes(tmp_path):
    source = write_set(tmp_path / "source")
    content = json.loads((source / "train.json").read_text())
    content["images"][0]["file_name"] = "0.tif"
    (source / "train.json").write_text(json.dumps(content))
    with Image.open(source / "train" / "0.png") as image:
        image.save(source / "train" / "0.tif")
    builder = build(source, tmp_path / "records", num_shards=1)
    dataset = tfds_dataset(builder, "train")
    check_same(dataset, coco_json(source / "train", source / "train.json"))
    decoded = {e["image/filename"]: e["image"] for e in tfds.as_numpy(builder.as_dataset("train"))}
    index = dataset.file_names.index("0.tif")
    np.testing.assert_array_equal(decoded[b"0.tif"], dataset.load_image(index))
