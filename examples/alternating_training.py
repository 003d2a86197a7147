"""4-step alternating training (Faster R-CNN §3.2): RPN and detector share features.

    python examples/alternating_training.py --output=run --images=train/images \
        --annotations=train.json --preset=mask_rcnn_resnet50_fpn --steps=1000

The four steps:

1. Train an RPN alone.
2. Train a separate detector on the RPN's proposals.
3. Train a second RPN on the detector's backbone, which is frozen.
4. Train the detector's heads on the second RPN's proposals, with the same frozen backbone.

Then both are joined into one model, OUTPUT/model.keras. `--steps` is the length of each step. All
other flags go to `keras-maskrcnn train`. The paper's ablations stop after step 2, so RPN and Mask
R-CNN do not share features there.
"""

import argparse
import dataclasses
import pathlib
import sys

import hide_notices  # noqa: F401 (comes before TensorFlow)
import keras

import keras_maskrcnn as mrcnn
from keras_maskrcnn import cli


def main(argv=None):
    """Runs the four steps and joins the networks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder to write into")
    parser.add_argument("--images", required=True, help="folder of the training images")
    parser.add_argument("--annotations", required=True, help="their COCO json")
    arguments, more = parser.parse_known_args(argv)
    output = arguments.output
    data = [f"--images={arguments.images}", f"--annotations={arguments.annotations}"]

    def run(command, name, *flags):
        status = cli.run([command, *data, f"--output={output / name}", *flags])
        if status:
            sys.exit(status)
        return output / name

    def train(name, *flags):
        return run("train", name, *more, *flags) / "model.keras"

    def propose(name, model):
        number = keras.models.load_model(model, compile=False).config.train_proposals
        return run("propose", name, f"--model={model}", f"--test_proposals={number}")

    fixed = "--freeze=backbone,res5,fpn"
    rpn = train("step1", "--task=proposals")
    detector = train("step2", f"--proposals={propose('proposals1', rpn)}")
    rpn = train("step3", "--task=proposals", f"--weights={detector}", fixed)
    proposals = propose("proposals3", rpn)
    detector = train("step4", f"--proposals={proposals}", f"--weights={detector}", fixed)

    detector, rpn = (keras.models.load_model(path, compile=False) for path in (detector, rpn))
    model = mrcnn.MaskRCNN(dataclasses.replace(detector.config, proposals="joint"))
    model.copy_networks(detector)
    model.copy_networks(rpn)
    model.save(output / "model.keras")
    print(f"Wrote {output / 'model.keras'}.")


if __name__ == "__main__":
    main()
