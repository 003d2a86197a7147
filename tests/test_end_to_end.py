"""The model memorizes two images: the whole way from a COCO folder to pycocotools' metrics."""

import pathlib
import runpy

import keras

import keras_maskrcnn as mrcnn

SHAPES = runpy.run_path(str(pathlib.Path(__file__).parents[1] / "examples" / "shapes.py"))


def test_two_images_are_learned_to_a_mask_ap_above_0_9(tmp_path):
    SHAPES["make_shapes"](tmp_path / "shapes", train=2, val=1, size=128, seed=1)
    folder = tmp_path / "shapes"
    train = mrcnn.data.coco_json(folder / "train", folder / "annotations" / "train.json")
    model = mrcnn.MaskRCNN.from_preset(
        "mask_rcnn_resnet18_fpn_small",
        num_classes=3,
        image_min_side=128,
        image_max_side=128,
        norm="batch",
        backbone_width=16,
        fpn_channels=64,
        box_head_units=128,
        mask_head_convs=2,
        mask_head_channels=64,
        roi_batch=64,
        train_pre_nms=200,
        train_proposals=200,
    )
    rate = keras.optimizers.schedules.CosineDecay(1e-3, 200)  # so that the last steps do no harm
    model.compile(optimizer=keras.optimizers.AdamW(rate, global_clipnorm=10.0))
    batches = mrcnn.data.batches(
        train, 2, training=True, flip=False, repeat=True, **model.config.resizing()
    )
    model.fit(batches, epochs=1, steps_per_epoch=200, verbose=0)
    assert mrcnn.evaluate(model, train, verbose=0)["segm/AP"] > 0.9
