"""Fine-tunes COCO weights to your own objects; the script version of finetune_colab.ipynb.

    python examples/finetune.py --output=finetuned --images=train/images \
        --annotations=train.json --val_images=val/images --val_annotations=val.json

It downloads torchvision's weights for COCO, freezes the backbone and trains the rest with
model.fit. It writes into OUTPUT:

- `model.keras`, and the SavedModel `served/1`.
- `metrics.json`, and `logs` with the curves (tensorboard --logdir=OUTPUT/logs).
- `pictures/...png` for some validation images. They show the detections, and which stage of the
  model lost the missed objects.
"""

import argparse
import json
import pathlib

import hide_notices  # noqa: F401 (comes before TensorFlow)
import keras

import keras_maskrcnn as mrcnn

IMAGES_SHOWN = 3


def main(argv=None):
    """Trains, scores, saves, exports and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True, help="folder of the training images")
    parser.add_argument("--annotations", required=True, help="their COCO json")
    parser.add_argument("--val_images", required=True, help="folder of the validation images")
    parser.add_argument("--val_annotations", required=True, help="their COCO json")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="a new folder")
    parser.add_argument(
        "--preset", default="mask_rcnn_resnet50_fpn_torchvision", help="name of the preset"
    )
    parser.add_argument("--weights", default="coco", help='"coco", a checkpoint, or "" for none')
    parser.add_argument(
        "--freeze", default="backbone", help="networks to freeze, separated by commas"
    )
    parser.add_argument("--image_size", type=int, default=512, help="shorter side in pixels")
    parser.add_argument("--batch_size", type=int, default=2, help="images per step")
    parser.add_argument("--steps", type=int, default=300, help="training steps in total")
    parser.add_argument("--epochs", type=int, default=5, help="each ends with a validation")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and image order")
    args = parser.parse_args(argv)
    if args.epochs < 1 or args.steps < 1 or args.steps % args.epochs:
        received = f"steps={args.steps}, epochs={args.epochs}"
        parser.error(f"steps must be a positive multiple of epochs. Received: {received}.")
    if args.output.exists():
        parser.error(f"the output folder must be new. Received: output={args.output}.")
    output = args.output
    train = mrcnn.data.coco_json(args.images, args.annotations)
    val = mrcnn.data.coco_json(
        args.val_images, args.val_annotations, category_ids=train.category_ids
    )

    keras.utils.set_random_seed(args.seed)
    model = mrcnn.MaskRCNN.from_preset(
        args.preset,
        weights=args.weights or None,
        num_classes=train.num_classes,
        class_names=train.class_names,
        category_ids=train.category_ids,
        image_min_side=args.image_size,
        image_max_side=args.image_size * 5 // 3,
    )
    for name in filter(None, args.freeze.split(",")):
        if name not in model.networks:
            parser.error(f"networks are {', '.join(model.networks)}. Received: freeze={name!r}.")
        model.networks[name].trainable = False
    fit(model, train, val, args)

    metrics = mrcnn.evaluate(model, val)
    model.save(output / "model.keras")
    model.export(output / "served" / "1")
    (output / "metrics.json").write_text(json.dumps(metrics, indent=1))
    for index in range(min(IMAGES_SHOWN, len(val))):
        look(model, val, index, output / "pictures" / f"{index + 1}.png")
    print(f"Wrote {output}: box AP {metrics['bbox/AP']:.3f} on {len(val)} images.")


def fit(model, train, val, args):
    """Trains the networks that are not frozen, and validates after every epoch."""
    model.compile(mrcnn.training.Recipe(args.steps, args.batch_size).optimizer())
    batches = mrcnn.data.batches(
        train,
        args.batch_size,
        training=True,
        seed=args.seed,
        repeat=True,
        **model.config.resizing(),
    )
    callbacks = [
        mrcnn.CocoEvaluation(val),
        mrcnn.training.TimeLeft(),
        keras.callbacks.TensorBoard(args.output / "logs", write_graph=False),
    ]
    model.fit(
        batches,
        epochs=args.epochs,
        steps_per_epoch=args.steps // args.epochs,
        callbacks=callbacks,
        shuffle=False,
    )


def look(model, val, index, path):
    """Draws an image's detections, and below them which objects were lost; prints the reasons."""
    explanation = mrcnn.explain(model, val, index)
    found = mrcnn.predict_image(model, explanation.image)
    found = mrcnn.visualize.draw(explanation.image, found)
    picture = mrcnn.visualize.grid([found, explanation.picture()], 1)
    mrcnn.visualize.save_png(path, picture)
    print(explanation)


if __name__ == "__main__":
    main()
