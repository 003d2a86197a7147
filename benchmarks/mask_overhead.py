"""Times masks at inference: Mask R-CNN and its Faster R-CNN counterpart (§3.1, Inference).

    python benchmarks/mask_overhead.py [--size=800x1088] [--detections=0,5,20,100] [--threads=2]

Both have the same weights and run as in a SavedModel, on one image with 1000 proposals. The score
threshold is set so that they find the given number of objects. They run in turn. It prints the
medians of the CPU time and of the time, and the ratios. `--every_slot` adds a Mask R-CNN that
computes the masks of all 100 slots, as before 2026-11-30.
"""

import argparse
import dataclasses
import os
import statistics
import time

from speed import KEEP_MEMORY, calibrated_model, scene


def thresholds(model, image, counts):
    """Returns the score thresholds with which `model` finds each number of objects."""
    scores = candidates(model.with_config(score_threshold=0.0))["masks"](image)["scores"][0]
    edges = [1.0, *scores.numpy().tolist(), 0.0]
    return [(edges[count] + edges[count + 1]) / 2 for count in counts]


def candidates(model, every_slot=False):
    """Returns functions of images, as a SavedModel has them."""
    import tensorflow as tf

    import keras_maskrcnn as mrcnn
    from keras_maskrcnn.export.optimize import inference_function

    boxes = mrcnn.MaskRCNN(
        dataclasses.replace(model.config, task="boxes"), dtype=model.dtype_policy
    )
    boxes.copy_networks(model)
    models = {"boxes": boxes, "masks": model}
    if every_slot:
        models["every slot"] = model
    calls = {}
    for name, one in models.items():
        call = tf.function(inference_function(one))
        if name == "every slot":
            from keras_maskrcnn.roi_heads import RoIHeads

            kept, RoIHeads._takes_owners = RoIHeads._takes_owners, lambda self: False
            calls[name] = call.get_concrete_function(tf.TensorSpec([None, None, None, 3], tf.uint8))
            RoIHeads._takes_owners = kept
        else:
            calls[name] = call
    return calls


def main():
    """Times both models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="mask_rcnn_resnet50_fpn")
    parser.add_argument("--size", default="800x1088")
    parser.add_argument("--detections", default="0,5,20,100")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--every_slot", action="store_true")
    options = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in KEEP_MEMORY.items()):
        raise SystemExit("set " + " ".join(f"{k}={v}" for k, v in KEEP_MEMORY.items()))

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    height, width = map(int, options.size.split("x"))
    image, *_ = scene(height, width, 0)
    side, longer = sorted([height, width])
    model = calibrated_model(image, side, longer, options.dtype, options.preset)
    for (
        layer
    ) in model.box_head.layers:  # scores near 1 would be equal, and no threshold divide them
        if layer.name == "class_logits":
            layer.kernel.assign(layer.kernel * 0.3)
    image = tf.constant(image)[None]
    counts = [int(count) for count in options.detections.split(",")]
    for threshold in thresholds(model, image, counts):
        calls = candidates(model.with_config(score_threshold=threshold), options.every_slot)
        found = {name: call(image)["num_detections"] for name, call in calls.items()}
        wall, cpu = ({name: [] for name in calls} for _ in range(2))
        for _ in range(options.repeats):
            for name, call in calls.items():
                start, used = time.perf_counter(), time.process_time()
                call(image)["boxes"].numpy()
                wall[name].append(time.perf_counter() - start)
                cpu[name].append(time.process_time() - used)
        print(f"{options.size}, {options.threads} threads, {int(found['masks'][0])} detections")
        for name in calls:
            shown = []
            for kind, times in (("CPU", cpu), ("wall", wall)):
                median = statistics.median(times[name])
                ratio = median / statistics.median(times["boxes"])
                shown.append(f"{kind} {median:.3f} s ({ratio:.3f})")
            print(f"  {name}: {', '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
