import dataclasses
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from drawn_objects import DeepFinder, Finder, deep, draw, ious, scattered
from PIL import Image

from keras_maskrcnn import DataError
from keras_maskrcnn.data.sources import Source, open_source
from keras_maskrcnn.tiling import predict_large

SIZE = (700, 900)


class Lines(Source):
    """A source of an array that counts reads and fails in one row."""

    def __init__(self, pixels, broken=()):
        self._pixels, self._broken, self.reads, self.largest = pixels, broken, 0, 0
        self.name, (self.height, self.width) = "lines", pixels.shape[:2]
        self.microns_per_pixel, self.crs, self.transform = 0.5, None, None

    def read(self, top, left, height, width, size=None):
        self.reads += 1
        self.largest = max(self.largest, height * width)
        if (top, left) in self._broken:
            raise DataError(f"lines: the tile at {top}, {left} is broken.")
        part = self._pixels[top : top + height, left : left + width]
        if size is None or size == part.shape[:2]:
            return part
        return np.asarray(Image.fromarray(part).resize(size[::-1], Image.Resampling.NEAREST))

    def close(self):
        pass


def found_once(found, truth, limit=0.9):
    """Asserts that each true object is found once, with its mask, and nothing else."""
    values = ious(found["masks"], truth) > limit
    assert values.sum(0).tolist() == [1] * len(truth)
    assert values.sum(1).tolist() == [1] * len(found["scores"])


@pytest.mark.parametrize(
    ("count", "low", "high", "tile", "overlap"),
    [
        (80, 8, 40, 256, 64),  # the overlap is larger than all objects
        (25, 40, 150, 256, 48),  # it is smaller than most
        (3, 250, 340, 128, 32),  # objects are larger than tiles
        (60, 8, 60, (200, 300), (50, 20)),
    ],
)
def test_each_object_is_found_once_with_its_whole_mask(count, low, high, tile, overlap):
    truth = scattered(SIZE, count, low, high)
    model = Finder()
    found = predict_large(model, draw(SIZE, truth), tile=tile, overlap=overlap, verbose=0)
    found_once(found, truth)
    assert (np.diff(found["scores"]) <= 0).all()


def test_a_source_stays_open_and_dark_16_bits_are_told(caplog):
    truth = scattered(SIZE, 10, 8, 40)
    with open_source(draw(SIZE, truth).astype(np.uint16)) as source:
        predict_large(Finder(), source, tile=256, overlap=64, verbose=0)
        assert not source.closed
    assert "has 16 bits, but values in the lowest quarter of the range only" in caplog.text
    assert "('array')" in caplog.text


def test_own_finds_each_object_once_too():
    truth = scattered(SIZE, 80, 8, 40)
    image = draw(SIZE, truth)
    found_once(predict_large(Finder(), image, tile=256, overlap=64, seams="own", verbose=0), truth)


def test_own_says_that_objects_are_larger_than_the_overlap(caplog):
    truth = [(np.ones((100, 200), bool), (10, 100)), (np.ones((200, 90), bool), (100, 500))]
    options = {"tile": 256, "overlap": 64, "verbose": 0}
    assert not len(predict_large(Finder(), draw(SIZE, truth), seams="own", **options)["scores"])
    assert '2 objects are larger than the overlap and are left out; seams="join"' in caplog.text
    found_once(predict_large(Finder(), draw(SIZE, truth), **options), truth)


def test_an_unsteady_model_finds_each_object_once_too():
    """Boxes and masks differ from tile to tile, and parts have low scores and other classes."""
    rng = np.random.default_rng(0)

    class Unsteady(Finder):
        def predict_on_batch(self, images):
            outputs = super().predict_on_batch(images)
            outputs["boxes"] += rng.normal(0, 0.03, outputs["boxes"].shape) * np.tile(
                outputs["boxes"][..., 2:] - outputs["boxes"][..., :2], 2
            )
            return outputs

    def at_border(box, size):
        return min(box[0], box[1], size[1] - box[2], size[0] - box[3]) <= 0

    truth = scattered(SIZE, 60, 15, 90, seed=2)
    model = Unsteady(
        label=lambda value, box, size: 2 if at_border(box, size) else 1,
        score=lambda value, box, size: 0.3 if at_border(box, size) else 0.9,
    )
    found = predict_large(model, draw(SIZE, truth), tile=256, overlap=100, verbose=0)
    found_once(found, truth, limit=0.75)  # the jitter alone leaves an IoU of about 0.9


def test_boxes_of_a_model_without_masks():
    truth = scattered(SIZE, 40, 10, 120)
    found = predict_large(Finder(task="boxes"), draw(SIZE, truth), tile=256, overlap=64, verbose=0)
    assert "masks" not in found
    expected = {(x, y, x + m.shape[1], y + m.shape[0]) for m, (y, x) in truth}
    assert {tuple(box) for box in found["boxes"].tolist()} == expected


def test_the_limit_of_the_model_is_one_of_a_tile_and_full_tiles_are_told(caplog):
    truth = scattered(SIZE, 150, 8, 20)
    image = draw(SIZE, truth)
    found = predict_large(Finder(slots=100), image, tile=256, verbose=0)
    assert len(found["scores"]) == 150 and not caplog.text
    predict_large(Finder(slots=3), image, tile=256, verbose=0)
    assert "of 20 tiles have as many objects as the model gives, 3" in caplog.text


def test_the_image_is_never_read_as_a_whole():
    truth = scattered(SIZE, 30, 8, 40)
    source = Lines(draw(SIZE, truth))
    found_once(predict_large(Finder(), source, tile=200, overlap=50, verbose=0), truth)
    assert source.largest == 200 * 200 and source.reads == 5 * 6


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_the_batch_changes_nothing(batch_size):
    truth = scattered(SIZE, 30, 8, 100)
    found = predict_large(Finder(), draw(SIZE, truth), tile=256, batch_size=batch_size, verbose=0)
    found_once(found, truth)


@pytest.mark.parametrize("how", [{"scale": 0.5}, {"microns_per_pixel": 1.0}, {"scale": 2.0}])
def test_a_scale_changes_what_the_model_sees_and_not_the_result(how):
    truth = scattered(SIZE, 20, 40, 100)
    model = Finder(mask_size=112)
    found = predict_large(model, Lines(draw(SIZE, truth)), tile=256, overlap=60, verbose=0, **how)
    found_once(found, truth)
    assert model.seen == (63 if how == {"scale": 2.0} else 4)


@pytest.mark.parametrize("size", [(60, 700), (700, 60), (200, 220)])
def test_an_image_with_a_side_shorter_than_the_tile(size):
    truth = scattered(size, 12, 8, 40)
    image = draw(size, truth)
    found = predict_large(Finder(), image, tile=256, overlap=60, small="whole", verbose=0)
    found_once(found, truth)


def test_overlapping_masks_are_dropped_on_request():
    truth = scattered(SIZE, 20, 40, 100)

    class Twice(Finder):
        def predict_on_batch(self, images):
            outputs = super().predict_on_batch(images)
            for value in outputs.values():  # each object again, as another class
                count = int(outputs["num_detections"][0])
                if value.ndim > 1:
                    value[0, count : 2 * count] = value[0, :count]
            outputs["labels"][0, count : 2 * count] = 2
            outputs["scores"][0, count : 2 * count] = 0.5
            outputs["num_detections"] *= 2
            return outputs

    image = draw(SIZE, truth)
    assert len(predict_large(Twice(), image, tile=256, verbose=0)["scores"]) == 40
    found = predict_large(Twice(), image, tile=256, max_mask_overlap=0.5, verbose=0)
    assert (found["labels"] == 1).all()
    found_once(found, truth)


def test_low_scores_are_left_out():
    truth = scattered(SIZE, 20, 20, 60)
    model = Finder(score=lambda value, box, size: 0.9 if value % 2 else 0.4)
    found = predict_large(model, draw(SIZE, truth), tile=256, score_threshold=0.5, verbose=0)
    found_once(found, truth[::2])


def test_a_run_that_was_stopped_goes_on(tmp_path):
    truth = scattered(SIZE, 60, 8, 100)
    image, output = draw(SIZE, truth), tmp_path / "tiles"
    with pytest.raises(KeyboardInterrupt):
        predict_large(Finder(fail_after=7), image, tile=256, output=output, verbose=0)
    model = Finder()
    found = predict_large(model, image, tile=256, output=output, verbose=0)
    assert model.seen == 20 - 7
    found_once(found, truth)
    again = Finder()
    found_once(predict_large(again, image, tile=256, output=output, verbose=0), truth)
    assert again.seen == 0


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from drawn_objects import Finder, draw, scattered
from keras_maskrcnn.tiling import predict_large
import os, signal

class Dies(Finder):
    def predict_on_batch(self, images):
        if self.seen == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict_on_batch(images)

image = draw((700, 900), scattered((700, 900), 60, 8, 100))
predict_large(Dies(), image, tile=256, output=sys.argv[2], verbose=0)
"""


def test_a_run_that_was_killed_goes_on(tmp_path):
    output = tmp_path / "tiles"
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    killed = subprocess.run([sys.executable, "-c", KILLED, tests, output])
    assert killed.returncode == -signal.SIGKILL
    truth = scattered(SIZE, 60, 8, 100)
    model = Finder()
    found = predict_large(model, draw(SIZE, truth), tile=256, output=output, verbose=0)
    assert model.seen == 20 - 9
    found_once(found, truth)


@pytest.mark.parametrize("change", [{"tile": 200}, {"score_threshold": 0.5}])
def test_tiles_of_another_run_are_refused(tmp_path, change):
    image, output = draw(SIZE, []), tmp_path / "tiles"
    predict_large(Finder(), image, tile=256, overlap=64, output=output, verbose=0)
    with pytest.raises(ValueError, match=f"another run.*Received: {next(iter(change))}="):
        predict_large(
            Finder(), image, **{"tile": 256, "overlap": 64, "output": output, "verbose": 0} | change
        )


def test_tiles_of_other_weights_are_refused(tmp_path):
    image, output, other = draw(SIZE, []), tmp_path / "tiles", Finder()
    other.get_weights = lambda: [np.zeros(3)]
    predict_large(Finder(), image, tile=256, output=output, verbose=0)
    with pytest.raises(ValueError, match="another run.*Received: model="):
        predict_large(other, image, tile=256, output=output, verbose=0)


def test_tiles_of_another_array_are_refused(tmp_path):
    output = tmp_path / "tiles"
    predict_large(Finder(), draw(SIZE, []), tile=256, output=output, verbose=0)
    other = draw(SIZE, scattered(SIZE, 60, 8, 100))
    with pytest.raises(ValueError, match="another run.*Received: pixels="):
        predict_large(Finder(), other, tile=256, output=output, verbose=0)


def test_another_config_is_named_by_its_field(tmp_path):
    image, output = draw(SIZE, []), tmp_path / "tiles"
    predict_large(Finder(slots=50), image, tile=256, output=output, verbose=0)
    with pytest.raises(ValueError, match=r"Received: config.detections_per_image=100, there 50\.$"):
        predict_large(Finder(), image, tile=256, output=output, verbose=0)


def test_a_tile_that_cannot_be_read_stops_or_is_named(tmp_path, caplog):
    truth = scattered(SIZE, 60, 8, 40)
    pixels = draw(SIZE, truth)
    options = {"tile": 256, "overlap": 64, "output": tmp_path / "tiles", "verbose": 0}
    with pytest.raises(DataError, match="lines: the tile at 0, 192 is broken"):
        predict_large(Finder(), Lines(pixels, {(0, 192)}), **options)
    model = Finder()
    found = predict_large(model, Lines(pixels, {(0, 192)}), **options, on_error="skip")
    assert found.left_out == {(0, 192, 256, 256): "lines: the tile at 0, 192 is broken."}
    assert "left out: lines: the tile at 0, 192 is broken." in caplog.text
    seen_by_others = [t for t in truth if not (t[1][0] < 256 and 160 < t[1][1] < 448)]
    assert (ious(found["masks"], seen_by_others) > 0.9).sum(0).tolist() == [1] * len(seen_by_others)
    found = predict_large(model, Lines(pixels), **options, on_error="skip")  # it was repaired
    assert not found.left_out
    found_once(found, truth)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"tile": 901},
            r"array: tile must not be larger than the image.*tile=\(901, 901\).*size=\(700, 900\)",
        ),
        ({"tile": 500, "scale": 0.5}, r"larger than the image.*tile=\(500, 500\), scale=0.5"),
        ({"tile": 256, "overlap": 0}, "overlap must be at least 1"),
        ({"tile": 256, "overlap": 256}, "overlap must be at least 1 and less than tile"),
        ({"tile": 0}, "tile must be at least 1"),
        ({"tile": 256, "scale": 1e9}, r"at least 2 x 2 pixels of the image.*scale=1e\+09"),
        ({"tile": 256, "small": "skip"}, "small must be 'raise' or 'whole'"),
        ({"tile": "big"}, "tile must be a whole number"),
        ({"seams": "glue"}, "seams must be one of join, own. Received: seams='glue'"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"scale": -1}, "scale must be a number above 0"),
        ({"scale": 1, "microns_per_pixel": 1}, "give scale or microns_per_pixel, not both"),
        ({"microns_per_pixel": 1}, "does not tell its microns per pixel; give scale"),
        ({"score_threshold": 2}, "score_threshold must be in 0..1"),
        ({"max_mask_overlap": -1}, "max_mask_overlap must be in 0..1"),
        ({"on_error": "ignore"}, "on_error must be 'raise' or 'skip'"),
    ],
)
def test_bad_arguments_are_named(options, line):
    with pytest.raises(ValueError, match=line):
        predict_large(Finder(), np.zeros((*SIZE, 3), np.uint8), verbose=0, **options)


def test_a_model_without_heads_is_refused():
    model = Finder(task="boxes")
    model.config = type(model.config)(task="proposals")
    with pytest.raises(ValueError, match="must have an RPN and heads.*task='proposals'"):
        predict_large(model, np.zeros((*SIZE, 3), np.uint8), tile=256)


def test_progress_counts_tiles(capsys):
    predict_large(Finder(), np.zeros((*SIZE, 3), np.uint8), tile=256)
    assert "\r20/20 tiles, 0:0" in capsys.readouterr().out


def test_it_imports_no_tensorflow():
    program = (
        "import sys, json; import keras_maskrcnn.tiling, keras_maskrcnn.runtime;"
        "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    assert not {"tensorflow", "keras", "pycocotools"} & set(json.loads(out))


def test_all_bands_and_bits_reach_the_model(tmp_path):
    truth = scattered(SIZE, 30, 8, 40)
    image = deep(draw(SIZE, truth))
    np.save(tmp_path / "a.npy", image)
    tifffile.imwrite(tmp_path / "a.tif", image.transpose(2, 0, 1), photometric="minisblack")
    for source in (image, tmp_path / "a.npy", tmp_path / "a.tif"):
        found = predict_large(DeepFinder(), source, tile=256, overlap=64, verbose=0)
        found_once(found, truth)
        assert (found.record.channels, found.record.image_dtype) == (5, "uint16")


def test_an_image_with_other_bands_than_the_model_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((700, 900, 4), np.uint16))
    line = r"a\.npy: an image must have 5 bands \(channels=5\). Received: 4 bands"
    with pytest.raises(DataError, match=line):
        predict_large(DeepFinder(), tmp_path / "a.npy", tile=256)
    line = "pixels must be uint16.*Received: dtype=uint8"
    with pytest.raises(DataError, match=line):
        predict_large(DeepFinder(), np.zeros((700, 900, 5), np.uint8), tile=256)
    with (
        open_source(np.zeros((700, 900, 5), np.uint16), 5, "uint8") as source,
        pytest.raises(ValueError, match="opened with channels=5, image_dtype='uint16'. Received"),
    ):
        predict_large(DeepFinder(), source, tile=256)


def test_a_run_on_other_bits_does_not_go_on(tmp_path):
    image = deep(draw(SIZE, scattered(SIZE, 5, 8, 40)))
    options = {"tile": 256, "overlap": 64, "verbose": 0, "output": tmp_path / "tiles.sqlite"}
    predict_large(DeepFinder(), image, **options).close()
    again = DeepFinder()
    predict_large(again, image, **options).close()
    assert not again.seen
    floats = DeepFinder()
    floats.config = dataclasses.replace(floats.config, image_dtype="float32")
    with pytest.raises(ValueError, match="image_dtype"):
        predict_large(floats, image, **options)
    with pytest.raises(ValueError, match="of another run|pixels"):
        predict_large(DeepFinder(), image + 1, **options)
