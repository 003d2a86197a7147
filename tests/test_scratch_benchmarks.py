"""benchmarks/from_scratch.py and the benchmarks that import it: what is no training."""

import dataclasses
import importlib
import json
import pathlib
import types

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def benchmark(monkeypatch):
    """Returns a function that imports a benchmark."""
    for folder in ("benchmarks", "examples"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    return importlib.import_module


def test_steps_that_trace_are_not_timed(benchmark):
    from_scratch = benchmark("from_scratch")
    times = np.cumsum([0.0] + [9.0] * from_scratch.FIRST + [1.0, 1.5, 5.0])
    assert from_scratch.median_step(times) == 1.5
    assert from_scratch.median_step([0.0, 2.0, 5.0, 9.0]) == 3.0  # a short run


def test_a_mean_has_a_spread_if_there_are_seeds(benchmark):
    mean_and_spread = benchmark("from_scratch").mean_and_spread
    assert mean_and_spread([0.25]) == "0.250"
    assert mean_and_spread([1.0, 3.0], 1) == "2.0 ± 1.4"


def test_a_run_with_a_result_is_not_repeated_and_a_failed_one_is_named(benchmark, tmp_path, capsys):
    from_scratch = benchmark("from_scratch")
    script = tmp_path / "script.py"
    script.write_text(
        "import json, pathlib, sys\n"
        "given = dict(flag.lstrip('-').split('=') for flag in sys.argv[2:])\n"
        "assert given['name'] != 'broken'\n"
        "result = {'seed': int(given['seed']), 'segm/AP': 0.5, 'peak_mib': 7}\n"
        "result |= {'cpu_per_step': 2, 'wall_per_step': 1}\n"
        "path = pathlib.Path(given['output'], given['name'] + '-' + given['seed'] + '.json')\n"
        "path.write_text(json.dumps(result))\n"
    )
    done = tmp_path / "done"
    names = ["right", "broken"]
    assert from_scratch.run_missing(script, done, names, [0, 1]) == ["broken-0", "broken-1"]
    assert [result["seed"] for result in from_scratch.read(done, "right")] == [0, 1]
    assert "right-1: segm/AP 0.500, 2.00 CPU s and 1.00 s per step" in capsys.readouterr().out
    assert "AssertionError" in (done / "broken-0.log").read_text()
    (done / "right-0.json").write_text(json.dumps({"seed": 0, "mine": 1}))
    assert from_scratch.run_missing(script, done, ["right"], [0, 1]) == []
    assert from_scratch.read(done, "right", [0]) == [{"seed": 0, "mine": 1}]


def test_rows_differ_in_the_backbone_only(benchmark):
    # Not "backbones": tests/backbones is a package of that name.
    backbones = benchmark("compare_backbones")
    names = {"num_classes": 2, "class_names": ("a", "b"), "category_ids": (3, 7)}
    dataset = types.SimpleNamespace(**names)
    configs = {name: backbones.config_of(name, False, dataset) for name in backbones.RUNS}
    assert {config.backbone for config in configs.values()} == set(backbones.BACKBONES)
    normalization = ("backbone", "pixel_mean", "pixel_std")  # each network has its own
    expected = dataclasses.asdict(configs["resnet18 adamw"])
    for config in configs.values():
        fields = dataclasses.asdict(config)
        assert {name for name in fields if fields[name] != expected[name]} <= set(normalization)
    recipes = [backbones.recipe_of(f"resnet18 {name}", 100, 4) for name in backbones.OPTIMIZERS]
    assert [recipe.algorithm for recipe in recipes] == list(backbones.OPTIMIZERS)


@pytest.fixture
def drawn(benchmark):
    five_bands = benchmark("five_bands")
    return five_bands, [five_bands.draw_image(np.random.default_rng(seed)) for seed in range(12)]


def test_band_4_shows_the_class_and_the_others_are_those_of_the_shapes(drawn):
    from shapes import make_image

    five_bands, images = drawn
    seen = set()
    for seed, (image, annotations) in enumerate(images):
        assert image.shape == (128, 128, 5) and image.dtype == np.uint16
        assert image.max() <= five_bands.WHITE
        rgb, outlines = make_image(128, np.random.default_rng(seed))
        np.testing.assert_array_equal(five_bands.as_rgb(image), rgb)
        assert [one["bbox"] for one in annotations] == [one["bbox"] for one in outlines]
        for annotation in annotations:
            level = np.median(image[five_bands.visible(annotation)][:, 3])
            nearest = np.abs(five_bands.LEVELS - level).argmin()
            assert nearest + 1 == annotation["category_id"]
            seen.add(annotation["category_id"])
    assert seen == set(range(1, len(five_bands.MATERIALS) + 1))


def test_both_forms_of_the_set_have_the_same_pixels_and_annotations(drawn, tmp_path):
    five_bands, _ = drawn
    folder = tmp_path / "data"
    five_bands.draw(folder, counts=(("train", 2), ("val", 1)), seed=4)
    for part, count in (("train", 2), ("val", 1)):
        contents = {
            kind: json.loads((folder / part / f"{kind}.json").read_text())
            for kind in ("five_bands", "rgb")
        }
        assert contents["rgb"]["annotations"] == contents["five_bands"]["annotations"]
        for kind, content in contents.items():
            assert len(content["images"]) == count == len(list((folder / part / kind).iterdir()))
        image = np.load(folder / part / "five_bands/000001.npy")
        with Image.open(folder / part / "rgb/000001.png") as rgb:
            np.testing.assert_array_equal(five_bands.as_rgb(image), np.asarray(rgb))


def test_differences_of_detections(drawn):
    five_bands, _ = drawn
    masks = np.zeros((2, 4, 4), bool)
    masks[:, 1:3, 1:3] = True
    one = {
        "boxes": np.array([[1.0, 1, 3, 3]] * 2),
        "scores": np.array([0.75, 0.5]),
        "labels": np.array([1, 2]),
        "masks": masks,
    }
    assert five_bands.differences([one, one], [one, one]) == [
        *("2", "4"),
        *("0.0000", "0.000000", "1.0000"),
    ]
    smaller = masks.copy()
    smaller[1, 1] = False
    moved = {**one, "boxes": one["boxes"] + 0.25, "scores": one["scores"] - 0.125}
    found = five_bands.differences([one], [{**moved, "masks": smaller}])
    assert found == ["1", "2", "0.2500", "0.125000", "0.5000"]
    fewer = {name: values[:1] for name, values in one.items()}
    assert five_bands.differences([one], [fewer])[2] == "other labels: 1"


def test_gray_copies_have_one_channel_and_the_same_annotations(benchmark, tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        (tmp_path / "nuclei" / part / "images").mkdir(parents=True)
        pixels = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "nuclei" / part / "images" / "a.png")
    (tmp_path / "nuclei" / "annotations").mkdir()
    (tmp_path / "nuclei" / "annotations" / "train.json").write_text("{}")
    benchmark("gray").make_gray(tmp_path / "nuclei", tmp_path / "gray")
    assert (tmp_path / "gray/annotations/train.json").read_text() == "{}"
    with (
        Image.open(tmp_path / "nuclei/val/images/a.png") as color,
        Image.open(tmp_path / "gray/val/images/a.png") as gray,
    ):
        assert gray.mode == "L"
        np.testing.assert_array_equal(np.asarray(gray), np.asarray(color.convert("L")))
