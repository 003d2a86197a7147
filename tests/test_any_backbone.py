"""One contract for all backbones: whatever the network, a model of it does all that ours does.

The features themselves are compared with those of Keras in tests/backbones. The slow tests take a
minute of CPU time per network, and more for the deep ones.
"""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
import whole_life
from eager import eager_steps
from tiny_runs import TINY, data_flags, make_shapes

import keras_maskrcnn as mrcnn
from keras_maskrcnn import cli
from keras_maskrcnn.catalog import BACKBONES
from keras_maskrcnn.export.optimize import folded_copy
from keras_maskrcnn.presets import PRESETS

LIGHT = ("mobilenetv2",)  # few layers, so it is quick to build
OTHERS = (
    *("convnext_tiny", "densenet121", "efficientnetv2_b0", "efficientnetv2_s"),
    *("mobilenetv3_large", "nasnet_mobile", "resnet18", "resnet50v2", "xception"),
    *("csp_darknet_53", "mit_b0", "resnet_vd_18"),  # tests/backbones/test_transformers.py: ViTDet
)
slow = pytest.mark.slow
CANVAS = (64, 96)


@pytest.fixture(scope="module")
def config_of(tiny_config):
    """A function from a name to the config of a tiny model with this backbone."""

    def config(name, **fields):
        fields = {"norm": "batch", "frozen_stages": 0, "score_threshold": 0.0, **fields}
        pixels = {"pixel_mean": (), "pixel_std": ()}  # those of the backbone
        neck = PRESETS[f"mask_rcnn_{name}_fpn"].get("neck", "fpn")
        return dataclasses.replace(tiny_config, backbone=name, neck=neck, **pixels, **fields)

    return config


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return whole_life.shapes_set(tmp_path_factory.mktemp("shapes") / "set")


def changed_in(model, changes):
    """Returns the paths of the backbone's weights that changed, and of those that did not."""
    paths = [variable.path for variable in model.backbone.weights]
    changed = {path for path in paths if changes[path]}
    return changed, set(paths) - changed


def test_the_contract_is_tested_on_many_families():
    families = {name.rstrip("0123456789").split("_")[0] for name in (*LIGHT, *OTHERS)}
    assert set(LIGHT + OTHERS) <= set(BACKBONES) and len(families) >= 8


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_backbone_trains_and_is_saved(config_of, batch, tmp_path, name):
    model = mrcnn.MaskRCNN(config_of(name))
    with eager_steps():
        whole_life.train(model, batch, steps=1)
    assert not whole_life.unreached(model)
    loaded = whole_life.reload(model, batch[0], tmp_path)
    # What every export is made from:
    exported = whole_life.found_by(folded_copy(loaded, "float32"), batch[0])
    whole_life.assert_same(exported, whole_life.found_by(model, batch[0]))


@pytest.mark.parametrize("name", LIGHT)
def test_a_frozen_backbone_trains_above_its_frozen_stages(config_of, batch, name):
    model = mrcnn.MaskRCNN(config_of(name, norm="frozen_batch", frozen_stages=2))
    with eager_steps():
        _, changes = whole_life.train(model, batch, steps=1)
    changed, same = changed_in(model, changes)
    trained = {v.path for v in model.trainable_variables} & (changed | same)
    assert changed == trained and changed and same


@slow
@pytest.mark.parametrize("name", [*LIGHT, *OTHERS])
def test_a_backbone_lives_a_whole_life(config_of, batch, shapes, tmp_path, name):
    names = {"class_names": shapes.class_names, "category_ids": shapes.category_ids}
    model = mrcnn.MaskRCNN(config_of(name, **names))
    whole_life.train(model, batch, steps=1)
    assert not whole_life.unreached(model)
    whole_life.enliven(model, batch[0])
    loaded = whole_life.reload(model, batch[0], tmp_path)
    whole_life.judge(loaded, shapes)
    whole_life.serve(model, shapes.load(0)["image"], tmp_path)
    whole_life.run_litert(model, batch[0], tmp_path / "model.tflite", CANVAS, atol=1e-2)
    if BACKBONES[name].source != "ours":
        pytest.importorskip("tf2onnx", reason="tf2onnx (extra onnx) is not installed")
    whole_life.run_onnx(model, batch[0], tmp_path / "model.onnx", atol=1e-2)


@slow
@pytest.mark.parametrize("name", [*LIGHT, *OTHERS])
def test_a_backbone_computes_in_16_bits(config_of, batch, name):
    model = mrcnn.MaskRCNN(config_of(name), dtype="mixed_bfloat16")
    features = model.features(tf.nest.map_structure(tf.constant, batch[0]))
    assert {x.dtype for x in features.values()} == {tf.bfloat16}
    assert {v.dtype for v in model.weights} == {"float32"}
    with eager_steps():
        whole_life.train(model, batch, steps=1)


@slow
@pytest.mark.parametrize("name", ["mobilenetv2", "convnext_tiny"])
def test_a_backbone_trains_on_two_devices(config_of, batch, two_devices, name):
    with two_devices.scope():
        model = mrcnn.MaskRCNN(config_of(name))
        model.compile(mrcnn.training.sgd(0.01, warmup_steps=0))
    whole_life.train(model, batch, steps=1)
    assert not whole_life.unreached(model)


@slow
@pytest.mark.parametrize("name", ["mobilenetv2", "convnext_tiny"])
def test_a_stopped_run_of_a_backbone_resumes(config_of, batch, tmp_path, name):
    def run(epochs, resume):
        keras.utils.set_random_seed(0)
        model = mrcnn.MaskRCNN(config_of(name))
        model.compile(mrcnn.training.sgd(0.01, warmup_steps=0))
        backup = mrcnn.training.Backup(tmp_path / "backup", resume=resume)
        batches = tf.data.Dataset.from_tensors(batch).repeat()
        options = dict(steps_per_epoch=1, initial_epoch=backup.epoch, verbose=0, shuffle=False)
        with eager_steps():
            model.fit(batches, epochs=epochs, callbacks=[backup], **options)
        return backup.epoch, model.get_weights()

    assert run(1, False)[0] == 1
    epoch, resumed = run(2, True)
    keras.utils.set_random_seed(0)
    straight = mrcnn.MaskRCNN(config_of(name))
    straight.compile(mrcnn.training.sgd(0.01, warmup_steps=0))
    with eager_steps():
        whole_life.train(straight, batch, steps=2)
    assert epoch == 2
    for ours, theirs in zip(resumed, straight.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@slow
def test_the_commands_train_and_use_a_backbone(tmp_path):
    make_shapes(tmp_path / "shapes", train=2, val=1, size=64)
    flags = [*data_flags(tmp_path / "shapes", "train"), *TINY, f"--output={tmp_path / 'run'}"]
    flags += ["--backbone=mobilenetv2", "--steps=1"]
    with eager_steps():
        assert cli.run(["train", *flags]) == 0
    path = tmp_path / "run" / "model.keras"
    model = keras.models.load_model(path)
    assert model.config.backbone == "mobilenetv2" and model.backbone.name == "mobilenetv2"
    assert model.config.pixel_mean == BACKBONES["mobilenetv2"].normalization[0]
    data = data_flags(tmp_path / "shapes", "val")
    assert cli.run(["evaluate", f"--model={path}", *data, f"--output={tmp_path / 'm.json'}"]) == 0
    assert cli.run(["explain", f"--model={path}", *data, f"--output={tmp_path / 'why'}"]) == 0
