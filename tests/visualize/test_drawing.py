import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn import visualize
from keras_maskrcnn.visualize import drawing

GRAY = 128


def make_image(height=600, width=520):
    return np.full((height, width, 3), GRAY, np.uint8)


def make_detections(height=600, width=520):
    masks = np.zeros((2, height, width), bool)
    masks[0, 100:200, 50:250] = True
    masks[1, 300:500, 300:400] = True
    return {
        "boxes": np.array([[50, 100, 250, 200], [300, 300, 400, 500]], np.float32),
        "labels": np.array([1, 2], np.int32),
        "scores": np.array([0.9, 0.3], np.float32),
        "masks": masks,
    }


def test_draw_tints_masks_and_leaves_the_rest():
    image = make_image()
    picture = visualize.draw(image, make_detections(), ["cat", "dog"])
    assert picture.shape == image.shape and picture.dtype == np.uint8
    expected = GRAY + 0.45 * (visualize.PALETTE[0].astype(float) - GRAY)
    np.testing.assert_allclose(picture[160, 150], expected, atol=1)
    assert np.all(picture[550] == GRAY)
    assert np.all(image == GRAY)  # the input is not changed


def test_draw_outlines_masks_and_boxes():
    picture = visualize.draw(make_image(), make_detections(), score_threshold=0)
    np.testing.assert_array_equal(picture[199, 150], visualize.PALETTE[0])
    np.testing.assert_array_equal(picture[400, 300], visualize.PALETTE[1])


def test_draw_hides_low_scores_unless_there_are_none():
    detections = make_detections()
    assert np.all(visualize.draw(make_image(), detections)[400, 350] == GRAY)
    del detections["scores"]
    assert not np.all(visualize.draw(make_image(), detections)[400, 350] == GRAY)


def test_draw_takes_boxes_without_masks_and_ignores_empty_slots():
    detections = make_detections()
    del detections["masks"]
    detections["labels"][0] = 0
    picture = visualize.draw(make_image(), detections, score_threshold=0)
    assert np.all(picture[400, 350] == GRAY)
    np.testing.assert_array_equal(picture[400, 300], visualize.PALETTE[1])
    assert np.all(picture[100, 50:250] == GRAY)


def test_draw_without_detections_returns_the_image():
    detections = {name: value[:0] for name, value in make_detections().items()}
    np.testing.assert_array_equal(visualize.draw(make_image(), detections), make_image())


def test_a_class_has_the_same_color_in_truth_and_prediction():
    truth, found = make_detections(), make_detections()
    del truth["scores"]
    found = {name: value[::-1] for name, value in found.items()}  # in another order
    pictures = [visualize.draw(make_image(), d, score_threshold=0) for d in (truth, found)]
    for picture in pictures:
        np.testing.assert_array_equal(picture[150, 50], visualize.PALETTE[0])
        np.testing.assert_array_equal(picture[400, 300], visualize.PALETTE[1])
    by_instance = visualize.draw(make_image(), found, score_threshold=0, color_by="instance")
    np.testing.assert_array_equal(by_instance[400, 300], visualize.PALETTE[0])


def test_fourteen_classes_have_colors_of_their_own():
    boxes = np.arange(14)[:, None] * [40, 0, 40, 0] + [0, 50, 30, 90]
    drawn = {"boxes": boxes, "labels": np.arange(14) + 1}
    picture = visualize.draw(make_image(100, 560), drawn, max_labels=0)
    assert len({tuple(color) for color in picture[70, boxes[:, 0]].tolist()}) == 14


@pytest.mark.parametrize(
    "kind", ["(H, W)", "(H, W, 1)", "RGBA", "PIL", "PIL gray", "PIL RGBA", "path", "float", "int64"]
)
def test_draw_takes_images_of_every_kind(kind, tmp_path):
    gray = np.random.default_rng(0).integers(0, 256, (600, 520)).astype(np.uint8)
    rgb = np.repeat(gray[..., None], 3, axis=2)
    rgba = np.dstack([rgb, gray])
    Image.fromarray(gray).save(tmp_path / "a.png")
    image = {
        "(H, W)": gray,
        "(H, W, 1)": gray[..., None],
        "RGBA": rgba,
        "PIL": Image.fromarray(rgb),
        "PIL gray": Image.fromarray(gray),
        "PIL RGBA": Image.fromarray(rgba),
        "path": tmp_path / "a.png",
        "float": rgb.astype(np.float32),
        "int64": rgb.astype(int),
    }[kind]
    expected = visualize.draw(rgb, make_detections())
    np.testing.assert_array_equal(visualize.draw(image, make_detections()), expected)


@pytest.mark.parametrize(
    ("image", "line"),
    [
        (np.zeros((3, 20, 40), np.uint8), r"an array \(H, W\) or .* Received: shape=\(3, 20, 40\)"),
        (np.zeros((1, 20, 30, 3), np.uint8), r"Received: shape=\(1, 20, 30, 3\), dtype=uint8"),
        (np.zeros((0, 30, 3), np.uint8), r"Received: shape=\(0, 30, 3\)"),
        (
            np.full((20, 30), 4095),
            "needs a stretch. Received: dtype=int64, values from 4095 to 4095",
        ),
        (np.ones((20, 30), bool), "values from 0 to 255, or needs a stretch. Received: dtype=bool"),
        ("nowhere.png", "nowhere.png: image file does not exist"),
        (None, r"Received: shape=\(\), dtype=object"),
    ],
)
def test_draw_names_what_is_no_image(image, line, tmp_path):
    for call in (
        lambda: visualize.draw(image, make_detections()),
        lambda: visualize.save_png(tmp_path / "a.png", image),
    ):
        with pytest.raises(ValueError, match=line):
            call()
    assert not list(tmp_path.iterdir())


def test_masks_of_another_size_are_refused():
    detections = {**make_detections(), "masks": np.ones((2, 28, 28), bool)}
    with pytest.raises(ValueError, match=r"masks must have the size of .*=\(28, 28\)"):
        visualize.draw(make_image(), detections)


@pytest.mark.parametrize("side, scale, expected", [(128, "auto", 4), (600, "auto", 1), (50, 3, 3)])
def test_draw_enlarges_small_images(side, scale, expected):
    image = np.random.default_rng(0).integers(0, 255, (side, side - 9, 3), np.uint8)
    detections = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int)}
    picture = visualize.draw(image, detections, scale=scale)
    assert picture.shape == (side * expected, (side - 9) * expected, 3)
    if expected == 1:
        np.testing.assert_array_equal(picture, image)


def test_photos_are_enlarged_smoothly_and_their_outlines_stay_crisp():
    ramp = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[None, :, None], 32, axis=0)
    ramp = np.repeat(ramp, 3, axis=2)
    nothing = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int)}
    row = visualize.draw(ramp, nothing, scale=8)[128, :, 0].astype(int)
    assert np.diff(row).min() >= 0 and np.diff(row).max() <= 2  # squares would have steps of 8
    y, x = np.mgrid[:32, :32] + 0.5
    disk = np.hypot(x - 16, y - 16) < 10
    drawn = {"boxes": np.zeros((1, 4)), "labels": [1], "masks": disk[None]}
    black = np.zeros((32, 32, 3), np.uint8)
    picture = visualize.draw(black, drawn, scale=16, alpha=0.5, max_labels=0)
    colors = {tuple(color) for color in picture.reshape(-1, 3).tolist()}
    assert colors == {(0, 0, 0), (230, 159, 0), (115, 80, 0)}  # around, outline, inside
    y, x = np.mgrid[:512, :512] + 0.5
    circle = np.hypot(x - 256, y - 256) < 160
    squares = np.kron(disk, np.ones((16, 16), bool))
    assert (picture.any(axis=2) != circle).sum() < 0.8 * (squares != circle).sum()


@pytest.mark.parametrize(
    "box",
    [[0, 0, 20, 10], [100, 110, 128, 128], [-30, -40, -5, -5], [200, 1, 300, 5], [5, 5, 5, 5]],
)
def test_draw_survives_boxes_at_and_beyond_the_border(box):
    detections = {"boxes": np.array([box]), "labels": np.array([12]), "scores": np.array([1.0])}
    names = ["x"] * 11 + ["a name that is longer than the picture is wide, by far, by far, by far"]
    assert visualize.draw(make_image(128, 128), detections, names).shape == (512, 512, 3)


def test_draw_refuses_unknown_options():
    with pytest.raises(ValueError, match="color_by"):
        visualize.draw(make_image(), make_detections(), color_by="score")
    with pytest.raises(ValueError, match="scale"):
        visualize.draw(make_image(), make_detections(), scale=0.5)


def test_grid_places_pictures_row_by_row_on_white():
    pictures = [np.full((20, 30, 3), value, np.uint8) for value in (10, 20, 30)]
    composed = visualize.grid(pictures, columns=2)
    assert composed.shape == (4 + 2 * 24, 4 + 2 * 34, 3)
    assert composed[10, 10, 0] == 10 and composed[10, 50, 0] == 20 and composed[40, 10, 0] == 30
    assert np.all(composed[40, 50] == 255)


def test_grid_takes_gray_pictures():
    gray = np.full((20, 30), 7, np.uint8)
    rgb = np.full((20, 30, 3), 7, np.uint8)
    pictures = [gray, gray[..., None], Image.fromarray(gray)]
    np.testing.assert_array_equal(visualize.grid(pictures, 3), visualize.grid([rgb] * 3, 3))


def test_grid_with_titles_makes_room_for_them():
    picture = np.zeros((64, 256, 3), np.uint8)
    plain = visualize.grid([picture], 3)
    titled = visualize.grid([picture], 3, titles=["truth"])
    assert titled.shape[0] > plain.shape[0] and titled.shape[1] == plain.shape[1]
    with pytest.raises(ValueError, match="as many titles"):
        visualize.grid([picture], 3, titles=["truth", "found"])


def test_save_png_refuses_the_suffix_of_another_format(tmp_path):
    for name in ("x.jpg", "x.JPEG", "x.tif"):
        with pytest.raises(
            ValueError, match=f"suffix of a PNG must be .png. Received: path='.*{name}'"
        ):
            visualize.save_png(tmp_path / "new" / name, make_image())
    assert not list(tmp_path.iterdir())
    visualize.save_png(tmp_path / "X.PNG", make_image()[..., 0])  # gray
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "X.PNG")), make_image())


def test_save_png_is_lossless(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8)
    path = tmp_path / "new" / "picture.png"
    visualize.save_png(path, picture)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)


def test_a_crowd_has_the_labels_of_its_best(monkeypatch):
    texts = []
    draw_label = drawing.draw_label

    def label(pen, text, *args, **options):
        texts.append(text)
        return draw_label(pen, text, *args, **options)

    monkeypatch.setattr(drawing, "draw_label", label)
    image = np.zeros((512, 512, 3), np.uint8)
    y, x = np.divmod(np.arange(40)[:, None], 8)
    boxes = (np.hstack([x, y, x, y]) * 60 + [0, 60, 0, 60] + [0, 0, 9, 9]).astype(np.float32)
    scores = np.linspace(0.5, 0.89, 40)
    crowd = {"boxes": boxes, "labels": np.ones(40, int), "scores": scores}
    picture = visualize.draw(image, crowd, ("cell",))
    assert sorted(texts) == [f"cell {score:.2f}" for score in scores[10:]]
    assert (picture != visualize.draw(image, crowd, ("cell",), max_labels=0)).any()
    texts.clear()
    boxes[::2, 2:] += 5  # without scores the largest get labels
    truth = {"boxes": boxes, "labels": np.where(np.arange(40) % 2, 1, 2)}
    visualize.draw(image, truth, ("small", "large"), max_labels=20)
    assert texts == ["large"] * 20


def test_labels_of_a_crowd_are_left_out_where_there_is_no_room():
    crowd = {"boxes": np.tile([[100.0, 100, 110, 110]], (50, 1)), "labels": np.ones(50, int)}
    black = np.zeros((512, 512, 3), np.uint8)
    few = visualize.draw(black, {name: value[:6] for name, value in crowd.items()}, ("cell",))
    many = visualize.draw(black, crowd, ("cell",), max_labels=40)
    assert (few > 0).any(axis=2).sum() <= (many > 0).any(axis=2).sum() < 100 * 100


def test_draw_takes_colors():
    colors = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    picture = visualize.draw(make_image(), make_detections(), score_threshold=0, colors=colors)
    np.testing.assert_array_equal(picture[199, 150], colors[0])
    np.testing.assert_array_equal(picture[400, 300], colors[1])


def test_legend_lies_below_the_picture_in_as_many_lines_as_it_needs():
    picture = make_image(40, 200)
    one, two = ({f"a cause {i}": (9, 9, i) for i in range(n)} for n in (1, 4))
    heights = [len(visualize.legend(picture, entries)) for entries in ({}, one, two)]
    assert heights[0] == 40 < heights[1] < heights[2]
    drawn = visualize.legend(picture, two)
    np.testing.assert_array_equal(drawn[:40], picture)
    assert {(9, 9, i) for i in range(4)} <= {tuple(c) for c in drawn.reshape(-1, 3).tolist()}
