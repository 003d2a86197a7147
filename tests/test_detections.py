import dataclasses
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from keras_maskrcnn import DataError, MaskRCNNConfig, detections, visualize
from keras_maskrcnn.ops import masks as mask_ops


def make_outputs(count=3, slots=5, height=40, width=60, seed=0):
    """Makes outputs for two images: no detection in the first, `count` in the second."""
    rng = np.random.default_rng(seed)
    outputs = {
        "boxes": np.zeros((2, slots, 4), np.float32),
        "scores": np.zeros((2, slots), np.float32),
        "labels": np.zeros((2, slots), np.int32),
        "masks": np.zeros((2, slots, 28, 28), np.float32),
        "num_detections": np.array([0, count], np.int32),
    }
    corners = np.sort(rng.random((count, 2, 2)), axis=1) * (width, height)
    outputs["boxes"][1, :count] = corners.reshape(count, 4)
    outputs["scores"][1, :count] = np.sort(rng.random(count))[::-1]
    outputs["labels"][1, :count] = rng.integers(1, 4, count)
    outputs["masks"][1, :count] = rng.random((count, 28, 28))
    return outputs


@dataclasses.dataclass
class FakeModel:
    outputs: dict
    class_names: tuple = ()

    def predict_on_batch(self, images):
        assert images.shape[0] == 1 and images.dtype == np.uint8
        return {name: value[1:] for name, value in self.outputs.items()}

    @property
    def config(self):
        return MaskRCNNConfig(num_classes=3, class_names=self.class_names)


def test_coco_results_hold_the_pasted_masks():
    outputs = make_outputs()
    results = detections.coco_results(outputs, 1, 17, 40, 60, category_ids=(7, 11, 90))
    assert len(results) == 3
    for i, result in enumerate(results):
        x1, y1, x2, y2 = outputs["boxes"][1, i].astype(float)
        assert result["image_id"] == 17
        assert result["category_id"] == (7, 11, 90)[outputs["labels"][1, i] - 1]
        assert result["bbox"] == [x1, y1, x2 - x1, y2 - y1]
        assert result["score"] == outputs["scores"][1, i]
        expected = mask_ops.paste_binary(outputs["masks"][1, i], (x1, y1, x2, y2), 40, 60)
        np.testing.assert_array_equal(coco_mask.decode(result["segmentation"]), expected)


def test_coco_results_are_plain_python():
    result = detections.coco_results(make_outputs(), 1, np.int64(17), 40, 60)[0]
    assert type(result["image_id"]) is int and type(result["category_id"]) is int
    assert type(result["score"]) is float and {type(v) for v in result["bbox"]} == {float}
    assert type(result["segmentation"]["counts"]) is str


def test_coco_results_without_category_ids_keep_the_labels():
    outputs = make_outputs()
    results = detections.coco_results(outputs, 1, 17, 40, 60)
    assert [r["category_id"] for r in results] == outputs["labels"][1, :3].tolist()


def test_coco_results_of_no_detections_are_empty():
    assert detections.coco_results(make_outputs(), 0, 17, 40, 60) == []


def test_coco_results_without_mask_branch_have_no_segmentation():
    outputs = make_outputs()
    del outputs["masks"]
    assert "segmentation" not in detections.coco_results(outputs, 1, 17, 40, 60)[0]


def test_predict_image_pastes_masks():
    outputs = make_outputs()
    image = np.zeros((40, 60, 3), np.uint8)
    found = detections.predict_image(FakeModel(outputs, ("a", "b", "c")), image)
    assert found["boxes"].shape == (3, 4) and found["scores"].shape == (3,)
    assert found["labels"].tolist() == outputs["labels"][1, :3].tolist()
    assert found["masks"].shape == (3, 40, 60) and found["masks"].dtype == bool
    assert found["class_names"] == ("a", "b", "c")
    for pasted, mask, box in zip(
        found["masks"], outputs["masks"][1], outputs["boxes"][1], strict=False
    ):
        np.testing.assert_array_equal(pasted, mask_ops.paste_binary(mask, box, 40, 60))


def test_predict_image_leaves_low_scores_out():
    outputs = make_outputs()
    threshold = float(outputs["scores"][1, 1])
    image = np.zeros((40, 60, 3), np.uint8)
    found = detections.predict_image(FakeModel(outputs), image, score_threshold=threshold)
    assert len(found["scores"]) == len(found["masks"]) == 2
    assert "class_names" not in found


def test_predict_image_of_no_detections_is_empty():
    image = np.zeros((40, 60, 3), np.uint8)
    found = detections.predict_image(FakeModel(make_outputs(count=0)), image)
    assert found["boxes"].shape == (0, 4) and found["masks"].shape == (0, 40, 60)


def test_predict_image_reads_gray_files_as_rgb(tmp_path):
    path = tmp_path / "gray.png"
    Image.fromarray(np.full((40, 60), 77, np.uint8)).save(path)
    assert detections.predict_image(FakeModel(make_outputs()), path)["masks"].shape == (3, 40, 60)


def test_predict_image_says_what_may_be_a_mistake_of_a_file(tmp_path, caplog):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.full((40, 60), 4095, np.uint16)).save(tmp_path / "a.png", exif=exif)
    detections.predict_image(FakeModel(make_outputs()), tmp_path / "a.png")
    turned, dark = caplog.messages
    assert turned.startswith("1 image has an orientation tag") and "a.png" in turned
    assert dark.startswith("1 image has 16 bits") and "a.png" in dark


@pytest.mark.parametrize(
    "image", [np.zeros((4, 5, 3), np.float32), np.zeros((4, 5), np.uint8), np.zeros((1, 4, 5, 3))]
)
def test_predict_image_refuses_other_arrays(image):
    with pytest.raises(ValueError, match="uint8 array of at least one pixel"):
        detections.predict_image(FakeModel(make_outputs()), image)


def test_predict_image_takes_a_pil_image_as_a_file_of_it(tmp_path, monkeypatch):
    seen = []
    model = FakeModel(make_outputs())
    predict = FakeModel.predict_on_batch
    monkeypatch.setattr(
        FakeModel,
        "predict_on_batch",
        lambda self, images: (seen.append(images[0]), predict(self, images))[1],
    )
    rng = np.random.default_rng(0)
    for mode, shape, dtype in (("L", (), np.uint8), ("RGBA", (4,), np.uint8), ("I", (), np.uint16)):
        image = Image.fromarray(rng.integers(0, np.iinfo(dtype).max, (40, 60, *shape), dtype))
        image.save(tmp_path / f"{mode}.png")
        detections.predict_image(model, tmp_path / f"{mode}.png")
        detections.predict_image(model, image)
        np.testing.assert_array_equal(*seen[-2:])
    with pytest.raises(DataError, match="the PIL image cannot be used. Received: pixels that are"):
        detections.predict_image(model, Image.fromarray(np.zeros((4, 4), np.float32)))


@pytest.mark.parametrize(
    ("image", "line"),
    [
        (np.zeros((0, 60, 3), np.uint8), r"at least one pixel.*shape=\(0, 60, 3\), dtype=uint8.$"),
        (np.zeros((40, 60, 3)), "Received: .*dtype=float64.$"),
        ([[[0, 0, 0]] * 999], r"a PIL image or a path. Received: image=\[\[.{1,99}$"),
    ],
)
def test_predict_image_names_what_it_does_not_take(image, line):
    with pytest.raises(ValueError, match=line):
        detections.predict_image(FakeModel(make_outputs()), image)


@dataclasses.dataclass
class OtherPixels(FakeModel):
    """A model of other bands or another dtype, which keeps what it gets."""

    fields: dict = dataclasses.field(default_factory=dict)

    def predict_on_batch(self, images):
        self.seen = images[0]
        return {name: value[1:] for name, value in self.outputs.items()}

    @property
    def config(self):
        return MaskRCNNConfig(num_classes=3, **self.fields)


@pytest.mark.parametrize(
    ("image", "fields"),
    [
        (np.zeros((40, 60), np.uint8), {"in_channels": 1}),
        (np.zeros((40, 60, 1), np.uint16), {"in_channels": 1, "image_dtype": "uint16"}),
        (np.zeros((40, 60, 5), np.float64), {"in_channels": 5, "image_dtype": "float32"}),
    ],
)
def test_predict_image_takes_the_pixels_of_the_config(image, fields):
    model = OtherPixels(make_outputs(), fields=fields)
    assert detections.predict_image(model, image)["masks"].shape == (3, 40, 60)
    assert model.seen.dtype == model.config.image_dtype
    assert model.seen.shape == (40, 60, model.config.in_channels)


def test_files_and_pil_images_are_read_as_the_config_says(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 65536, (40, 60)).astype(np.uint16)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "gray.png")
    model = OtherPixels(make_outputs(), fields={"in_channels": 1, "image_dtype": "uint16"})
    for source in (tmp_path / "gray.png", image):
        detections.predict_image(model, source)
        np.testing.assert_array_equal(model.seen[..., 0], pixels)
    with pytest.raises(DataError, match=r"must have 5 bands \(channels=5\). Received: 1 band"):
        detections.predict_image(
            OtherPixels(make_outputs(), fields={"in_channels": 5, "image_dtype": "uint16"}),
            tmp_path / "gray.png",
        )


@pytest.mark.parametrize(
    ("image", "fields", "line"),
    [
        (
            np.zeros((4, 5, 4), np.uint8),
            {},
            r"^image must be a \(H, W, 3\) uint8 array .*Received: shape=\(4, 5, 4\), dtype=uint8",
        ),
        (
            np.zeros((4, 5, 1), np.uint8),
            {"in_channels": 1, "image_dtype": "uint16", "pixel_max": 4095},
            r"a \(H, W, 1\) uint16 \(pixel_max=4095 is white\) array .*dtype=uint8.$",
        ),
        (
            np.zeros((4, 5), np.uint8),
            {"in_channels": 4},
            r"a \(H, W, 4\) uint8 array .* shape=\(4, 5\), dtype=uint8.$",
        ),
        (
            [1],
            {"image_dtype": "float32"},
            r"\(H, W, 3\) float32 \(pixel_max=1 is white\) array, a PIL image or a path. Received",
        ),
    ],
)
def test_pixels_of_another_config_are_refused_in_one_line(image, fields, line):
    with pytest.raises(ValueError, match=line):
        detections.predict_image(OtherPixels(make_outputs(), fields=fields), image)


@pytest.mark.parametrize("threshold", [50, -0.1, np.nan])
def test_thresholds_are_scores(threshold):
    image = np.zeros((40, 60, 3), np.uint8)
    found = detections.predict_image(FakeModel(make_outputs()), image)
    for function, arguments in (
        (detections.predict_image, (FakeModel(make_outputs()), image)),
        (visualize.draw, (image, found)),
    ):
        with pytest.raises(ValueError, match="score_threshold must be in 0..1. Received: score_th"):
            function(*arguments, score_threshold=threshold)


def test_masks_of_a_large_image_need_the_memory_of_their_boxes():
    outputs = make_outputs(count=5, height=40, width=60)  # 180 MB as an array of whole masks
    image = np.zeros((6000, 6000, 3), np.uint8)
    tracemalloc.start()
    found = detections.predict_image(FakeModel(outputs), image)
    results = detections.coco_results(outputs, 1, 7, 6000, 6000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["masks"].shape == (5, 6000, 6000) and len(results) == 5
    assert peak < 4e6


def test_overlapping_masks_are_dropped_on_request():
    outputs = make_outputs(count=3)
    outputs["boxes"][1, :3] = [[10, 10, 30, 30], [11, 10, 31, 30], [40, 10, 60, 30]]
    outputs["masks"][1, :3] = 1
    image = np.zeros((40, 60, 3), np.uint8)
    found = detections.predict_image(
        FakeModel(outputs, ("a", "b", "c")), image, max_mask_overlap=0.5
    )
    assert found["boxes"][:, 0].tolist() == [10, 40]
    assert len(found["masks"]) == len(found["scores"]) == len(found["labels"]) == 2
    with pytest.raises(ValueError, match="max_mask_overlap must be in 0..1"):
        detections.predict_image(FakeModel(outputs), image, max_mask_overlap=2)
