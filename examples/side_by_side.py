"""Draws a model's predictions next to the annotated truth, image by image.

    python examples/side_by_side.py --model=run/model.keras --images=val/images \
        --annotations=val.json --output=side_by_side.png

The first six images are drawn, or those of --names=a.png,b.png.
"""

import argparse

import hide_notices  # noqa: F401 (comes before TensorFlow)
import keras
from PIL import Image

import keras_maskrcnn as mrcnn


def main():
    """Reads the model and the data set, and writes one picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a .keras file")
    parser.add_argument("--images", required=True, help="folder of the images")
    parser.add_argument("--annotations", required=True, help="COCO json")
    parser.add_argument("--output", required=True, help="PNG file to write")
    parser.add_argument(
        "--names", default="", help="file names, separated by commas; default: the first six"
    )
    parser.add_argument("--columns", type=int, default=2, help="pairs per row")
    parser.add_argument("--width", type=int, default=1200, help="pixels of the picture, at most")
    parser.add_argument("--score_threshold", type=float, default=0.5, help="lowest score drawn")
    parser.add_argument("--detections_per_image", type=int, default=100, help="at most")
    args = parser.parse_args()

    model = keras.models.load_model(args.model)
    model = model.with_config(detections_per_image=args.detections_per_image)
    dataset = mrcnn.data.coco_json(
        args.images, args.annotations, category_ids=model.config.category_ids
    )
    names = args.names.split(",") if args.names else dataset.file_names[:6]
    pictures, titles = [], []
    for index in map(dataset.file_names.index, names):
        image = dataset.load_image(index)
        found = mrcnn.predict_image(model, image, score_threshold=args.score_threshold)
        for title, objects in (("predicted", found), ("truth", truth(dataset, index))):
            title = f"{len(objects['boxes'])} {title}"
            pictures.append(
                mrcnn.visualize.draw(image, objects, (), color_by="instance", max_labels=0)
            )
            titles.append(title)
    picture = Image.fromarray(mrcnn.visualize.grid(pictures, 2 * args.columns, titles))
    picture.thumbnail((args.width, picture.height))
    mrcnn.visualize.save_png(args.output, picture)


def truth(dataset, index):
    """Returns the annotated objects of an image, with masks of the image's size."""
    objects = dataset.load(index)
    height, width = dataset.sizes[index]
    masks = mrcnn.ops.masks.paste_all(objects["masks"] / 255, objects["boxes"], height, width)
    return {**objects, "masks": masks}


if __name__ == "__main__":
    main()
