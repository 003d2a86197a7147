"""The parts that docs/extending.md shows obey their laws, and train, are saved and exported."""

import ast
import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import whole_life
from sybil import Sybil
from sybil.parsers import markdown

import keras_maskrcnn as mrcnn
from keras_maskrcnn import networks

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "extending.md"
CANVAS = (64, 96)


@pytest.fixture(scope="module")
def page():
    """The imports, functions and classes of the page's blocks, as they are written there."""
    names = {"__name__": "reader"}
    for example in Sybil([markdown.PythonCodeBlockParser()]).parse(PAGE):
        tree = ast.parse(example.parsed)
        kinds = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef
        tree.body = [node for node in tree.body if isinstance(node, kinds)]
        exec(compile(tree, PAGE.name, "exec"), names)
    return names


@pytest.fixture(scope="module")
def config(tiny_config):
    return dataclasses.replace(tiny_config, score_threshold=0.0)


def stage(config, kind):
    """Heads of a class of the page."""
    return networks.build_roi_heads(config, config.fpn_channels, kind=kind)


# Necks


def test_fast_fusion_is_the_weighted_mean_of_maps_cut_to_the_first(page):
    rng = np.random.default_rng(0)
    fine = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
    coarse = rng.normal(size=(2, 4, 6, 4)).astype(np.float32)
    layer = page["FastFusion"]()
    layer.build([fine.shape, coarse.shape])
    layer.parts.assign([3.0, 1.0])
    np.testing.assert_allclose(layer([fine, coarse]), (3 * fine + coarse[:, :3, :5]) / 4, atol=1e-3)
    layer.parts.assign([-1.0, 2.0])  # no map counts negatively
    np.testing.assert_allclose(layer([fine, coarse]), coarse[:, :3, :5], atol=1e-3)


@pytest.fixture(scope="module")
def necks(page, config):
    backbone = networks.build_backbone(config)
    return {
        "panet": page["panet"](config, backbone),
        "bifpn": page["bifpn"](backbone, config.fpn_channels),
    }


@pytest.mark.parametrize("name", ["panet", "bifpn"])
def test_a_neck_has_the_strides_of_fpn_and_its_gradient_reaches_each_weight(necks, config, name):
    neck = necks[name]
    rng = np.random.default_rng(0)
    # 64 x 96 pixels: c5 has 2 x 3 cells, and p6 has 1 x 2, which is upsampled to 2 x 4.
    maps = {
        level: tf.constant(rng.normal(size=(1, 64 // s, 96 // s, x.shape[-1])), tf.float32)
        for (level, x), s in zip(neck.input.items(), (4, 8, 16, 32), strict=True)
    }
    with tf.GradientTape() as tape:
        found = neck(maps)
        total = tf.add_n([tf.reduce_sum(tf.sin(x)) for x in found.values()])
    sides = {level: tuple(x.shape[1:3]) for level, x in found.items()}
    assert sides == {"p2": (16, 24), "p3": (8, 12), "p4": (4, 6), "p5": (2, 3), "p6": (1, 2)}
    assert {x.shape[-1] for x in found.values()} == {config.fpn_channels}
    variables = neck.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(total, variables), strict=True):
        assert gradient is not None and np.any(gradient), variable.path


def test_each_map_of_bifpn_sees_every_map_of_the_backbone(necks):
    neck = necks["bifpn"]
    maps = {
        c: tf.ones((1, 64 // s, 64 // s, x.shape[-1]))
        for (c, x), s in zip(neck.input.items(), (4, 8, 16, 32), strict=True)
    }
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(maps)
        found = {level: tf.reduce_sum(x) for level, x in neck(maps).items()}
    for level, value in found.items():
        for name, gradient in tape.gradient(value, maps).items():
            assert np.any(gradient), (level, name)


# Losses


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1),
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7 - 2 / 9),
        ([0, 0, 4, 4], [1, 1, 3, 3], 1 / 4),
        ([0, 0, 1, 1], [3, 0, 4, 1], -2 / 4),  # apart: the gap in the hull counts
        ([5, 5, 5, 5], [5, 5, 5, 5], 0),  # empty slots
    ],
)
def test_giou_of_known_boxes(page, a, b, value):
    a, b = (tf.constant([box], tf.float32) for box in (a, b))
    assert float(page["giou"](a, b)[0]) == pytest.approx(value)
    assert float(page["giou"](b, a)[0]) == pytest.approx(value)


def test_giou_pulls_boxes_together_that_do_not_overlap(page, config):
    heads, labels = stage(config, page["GIoUBoxes"]), tf.constant([[1, 0, -1]])
    rois = tf.constant([[[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 0, 0]]])
    boxes = tf.constant([[[30.0, 0, 40, 10], [0, 0, 0, 0], [0, 0, 0, 0]]])
    deltas = tf.Variable(tf.zeros([1, 3, 4]))
    with tf.GradientTape() as tape:
        loss = heads.box_loss(deltas, rois, boxes, labels)
    # IoU 0 and a hull of 40 x 10 that is half empty, in one of three slots
    assert float(loss) == pytest.approx(10 * 1.5 / 3)
    gradient = tape.gradient(loss, deltas).numpy()
    assert gradient[0, 0, 0] < 0 and np.isfinite(gradient).all()  # to the right
    assert not gradient[0, 1:].any()
    moved = tf.constant([[[30.0, 0, 0, 0]] * 3])  # 3 widths, with the weight 10 of the config
    assert float(heads.box_loss(moved, rois, boxes, labels)) == pytest.approx(0, abs=1e-6)


def test_dice_of_known_masks(page):
    left = np.zeros((4, 4), np.float32)
    left[:, :2] = 1
    top = left.T
    pairs = [(left, left, 1), (left, 1 - left, 0), (left, top, 0.5), (0 * left, 0 * left, 0)]
    pairs.append((left, left / 2, 2 * 4 / (8 + 2)))
    for a, b, value in pairs:
        assert float(page["dice"](tf.constant(a), tf.constant(b))) == pytest.approx(value)
    small, large = np.zeros((2, 32, 32), np.float32)
    small[:4, :4], large[:16, :16] = 1, 1
    for mask in (small, large):  # half of an object counts the same, whatever its size
        side = int(mask.sum() ** 0.5)
        half = mask * (np.arange(32) < side / 2)
        assert float(page["dice"](tf.constant(mask), tf.constant(half))) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["DiceMasks", "SharpMasks"])
def test_mask_losses_see_the_masks_of_the_true_class_of_positives_only(page, config, name):
    heads = stage(config, page[name])
    targets = np.zeros((1, 3, 8, 8), np.float32)
    targets[:, :, 2:6, 2:6] = 1
    right = np.where(targets, 20.0, -20.0)[..., None].astype(np.float32)
    logits = np.concatenate([right, -right, -right], axis=-1)  # class 1 is right
    labels = tf.constant([[1, 0, -1]])
    assert float(heads.mask_loss(logits, targets, labels)) == pytest.approx(0, abs=1e-6)
    wrong = float(heads.mask_loss(logits, targets, labels * 2))
    assert wrong == pytest.approx(1 if name == "DiceMasks" else 20, rel=1e-3)
    logits = tf.Variable(logits)
    with tf.GradientTape() as tape:
        nothing = heads.mask_loss(logits, targets, tf.constant([[0, 0, -1]]))
    assert float(nothing) == 0 and not np.any(tape.gradient(nothing, logits))


def test_the_outline_is_on_both_sides_of_it(page, config):
    masks = np.zeros((1, 2, 9, 9), np.float32)
    masks[0, 0, 3:7, 2:] = 0.9  # it leaves the box on the right: no outline there
    masks[0, 1] = 1
    expected = np.zeros_like(masks)
    for y in range(9):
        for x in range(9):
            around = masks[0, 0, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] >= 0.5
            expected[0, 0, y, x] = around.any() and not around.all()
    assert 0 < expected.sum() < 81
    np.testing.assert_array_equal(page["outline"](tf.constant(masks)), expected)
    # Where nothing is an outline, it is our loss.
    logits = np.random.default_rng(0).normal(size=(1, 2, 9, 9, 3)).astype(np.float32)
    given = tf.constant(logits), tf.constant(masks * 0), tf.constant([[1, 3]])
    ours, sharp = (
        stage(config, page[name]).mask_loss(*given) for name in ("RoIHeads", "SharpMasks")
    )
    assert float(sharp) == pytest.approx(float(ours))


def test_losses_can_be_joined_and_weighted(page, config):
    both = page["GIoUAndDice"]
    assert both.box_loss is page["GIoUBoxes"].box_loss
    assert both.mask_loss is page["DiceMasks"].mask_loss
    logits, targets = tf.zeros([1, 1, 8, 8, 3]), tf.zeros([1, 1, 8, 8])
    once, twice = (
        stage(config, page[name]).mask_loss(logits, targets, tf.constant([[1]]))
        for name in ("RoIHeads", "HeavierMasks")
    )
    assert float(once) == pytest.approx(np.log(2)) and float(twice) == pytest.approx(2 * np.log(2))


# NMS


def plain_soft_nms(boxes, scores, labels, nms_iou, threshold, count, across):
    """Linear soft-NMS, as the paper's Figure 3 has it. Returns (label, score, place) of boxes."""
    left, kept = {i: float(score) for i, score in enumerate(scores)}, []
    while left and len(kept) < count:
        best = max(left, key=left.get)
        score = left.pop(best)
        if score <= threshold:
            break
        kept.append((labels[best], score, best))
        for i in left:
            low, high = (
                np.maximum(boxes[i, :2], boxes[best, :2]),
                np.minimum(boxes[i, 2:], boxes[best, 2:]),
            )
            common = np.prod(np.maximum(high - low, 0))
            areas = [np.prod(boxes[j, 2:] - boxes[j, :2]) for j in (i, best)]
            iou = common / (sum(areas) - common)
            if iou > nms_iou and (across or labels[i] == labels[best]):
                left[i] *= 1 - iou
    return kept


@pytest.mark.parametrize("across", [False, True])
def test_soft_nms_is_the_papers(page, config, across):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 40, (2, 12, 3, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 30, corners.shape)], -1)
    boxes, scores = boxes.astype(np.float32), rng.uniform(0, 1, (2, 12, 3)).astype(np.float32)
    limits = dict(nms_iou=0.3, score_threshold=0.2, across_classes=across)
    heads = stage(config, page["SoftNms"])
    counts = []
    for count in (5, 36):
        found = heads.suppress(tf.constant(boxes), tf.constant(scores), count=count, **limits)
        found = [np.asarray(x) for x in found]
        for image in range(2):
            labels = np.tile([1, 2, 3], 12)
            flat = boxes[image].reshape(-1, 4)
            expected = plain_soft_nms(flat, scores[image].ravel(), labels, 0.3, 0.2, count, across)
            n = len(expected)
            assert found[3][image] == n
            np.testing.assert_array_equal(found[2][image][:n], [label for label, *_ in expected])
            np.testing.assert_allclose(found[1][image][:n], [s for _, s, _ in expected], rtol=1e-5)
            np.testing.assert_array_equal(found[0][image][:n], flat[[i for *_, i in expected]])
            assert not any(x[image][n:].any() for x in found[:3])
            counts.append(n)
    assert counts[0] == 5 and 5 < counts[2] < 36  # the limits are felt


def test_soft_nms_drops_nothing_that_nms_would_keep(page, config):
    """With nms_iou=1 both keep all boxes, so `explain` can count those before NMS."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 40, (1, 6, 3, 2)).astype(np.float32)
    boxes = tf.constant(np.concatenate([corners, corners + 10], axis=-1))
    scores = tf.constant(rng.uniform(0.1, 1, (1, 6, 3)).astype(np.float32))
    limits = dict(count=20, nms_iou=1.0, score_threshold=0.0, across_classes=False)
    soft, hard = (
        stage(config, page[n]).suppress(boxes, scores, **limits) for n in ("SoftNms", "RoIHeads")
    )
    assert int(hard[3][0]) == 18
    for ours, theirs in zip(soft, hard, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_the_hooks_are_called_by_the_model(page, config, batch):
    """The page's methods replace ours in the losses, in detection and in `explain`."""
    called = set()

    class Spy(page["SoftNms"]):
        def suppress(self, *args, **limits):
            called.add(("suppress", limits["nms_iou"]))
            return super().suppress(*args, **limits)

    for name in ("classifier_loss", "box_loss", "mask_loss"):
        setattr(Spy, name, lambda self, *args, name=name: called.add(name) or tf.constant(7.0))

    class SpyRpn(page["FocalRpn"]):
        def box_loss(self, *args):
            return 0 * super().box_loss(*args) + 5

    rpn = networks.build_rpn(config, config.fpn_channels, kind=SpyRpn)
    bias = rpn.head.get_layer("logits").bias
    bias.assign(tf.fill(bias.shape, -4.6))
    model = mrcnn.MaskRCNN(config, rpn=rpn, roi_heads=stage(config, Spy))
    inputs, gt = tf.nest.map_structure(tf.constant, batch)
    losses = model.compute_losses(inputs, gt)
    assert [float(losses[name]) for name in ("classifier", "box", "mask", "rpn_box")] == [
        7,
        7,
        7,
        5,
    ]
    assert 0 < float(losses["rpn_objectness"]) < 10
    assert called == {"classifier_loss", "box_loss", "mask_loss"}
    model(inputs)
    assert ("suppress", 0.5) in called


# All of it, as a user would


MODELS = {
    "panet": lambda page, config: {
        "backbone": (backbone := networks.build_backbone(config)),
        "neck": page["panet"](config, backbone),
    },
    "bifpn": lambda page, config: {
        "backbone": (backbone := networks.build_backbone(config)),
        "neck": page["bifpn"](backbone, config.fpn_channels),
    },
    "heads": lambda page, config: {
        "roi_heads": networks.build_roi_heads(
            config,
            config.fpn_channels,
            box_head=page["small_box_head"](config),
            mask_head=page["small_mask_head"](config),
        )
    },
    "FocalRpn": lambda page, config: {
        "rpn": networks.build_rpn(config, config.fpn_channels, kind=page["FocalRpn"])
    },
    **{
        name: lambda page, config, name=name: {"roi_heads": stage(config, page[name])}
        for name in ("GIoUBoxes", "DiceMasks", "SharpMasks", "GIoUAndDice", "SoftNms")
    },
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return whole_life.shapes_set(tmp_path_factory.mktemp("shapes") / "set")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_part_of_the_page_trains_is_saved_evaluated_and_exported(
    page, config, batch, shapes, tmp_path, name
):
    config = dataclasses.replace(
        config, class_names=shapes.class_names, category_ids=shapes.category_ids
    )
    parts = MODELS[name](page, config)
    model = mrcnn.MaskRCNN(config, **parts)
    _, changes = whole_life.train(model, batch)
    same = {v.path for v in model.trainable_variables if not changes[v.path]}
    # A gamma of 1 cannot change by less than 6e-8, and few of the sampled anchors are of P6. That
    # gradients reach each weight of a neck is tested above.
    assert all(path.endswith("/gamma") or path == "out4_1/bias" for path in same), same
    whole_life.enliven(model)
    loaded = whole_life.reload(model, batch[0], tmp_path)
    for argument, part in parts.items():
        mine = getattr(loaded, "fpn" if argument == "neck" else argument)
        assert type(mine) is type(part) and getattr(mine, "name", "") == getattr(part, "name", "")
    whole_life.judge(loaded, shapes)
    whole_life.serve(model, shapes.load(0)["image"], tmp_path)
    whole_life.run_litert(model, batch[0], tmp_path / "model.tflite", CANVAS, atol=1e-2)
    if name in ("bifpn", "SoftNms"):  # a layer that is not ours, and another inference
        pytest.importorskip("tf2onnx", reason="tf2onnx (extra onnx) is not installed")
    size = CANVAS if name == "SoftNms" else None
    whole_life.run_onnx(model, batch[0], tmp_path / "model.onnx", size, atol=1e-2)
