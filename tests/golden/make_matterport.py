"""Writes tiny_matterport.npz: outputs of Matterport's Mask_RCNN for two images, and its weights.

    python tests/golden/make_matterport.py

The inference graph of github.com/matterport/Mask_RCNN (mrcnn/model.py and utils.py, 2019) is
transcribed here in plain TensorFlow and NumPy, without any code of this package. The network is a
ResNet-50 with an eighth of the width. Weights are random, and scaled so that no layer's outputs
vanish or saturate; they have the names and layout of Matterport's .h5 files. Image 0 fills its
canvas, image 1 is centered in it between black bars.
"""

import pathlib

import numpy as np
import tensorflow as tf

CANVAS = 128  # IMAGE_MAX_DIM
CLASSES = 5  # with background
SCALES = (16, 32, 64, 128, 256)
RATIOS = (0.5, 1, 2)  # width / height
STRIDES = (4, 8, 16, 32, 64)
CANONICAL = 56.0  # Matterport's 224, reduced like the canvas
PRE_NMS, PROPOSALS, DETECTIONS = 300, 100, 20
RPN_NMS, NMS, MIN_CONFIDENCE = 0.7, 0.3, 0.7
STD_DEV = np.array([0.1, 0.1, 0.2, 0.2], np.float32)
MEAN_PIXEL = np.array([123.7, 116.8, 103.9], np.float32)
EPSILON = 1e-3  # the default of Keras' batch norm


class Network:
    """Layers by name. A layer's weights are drawn at its first use, scaled by its outputs there."""

    def __init__(self, seed):
        self.rng, self.weights = np.random.default_rng(seed), {}

    def keep(self, layer, name, value):
        """Stores a weight at first use, rounded to float16 to halve the file; returns it."""
        group = f"rpn_model/{layer}" if layer.startswith("rpn_") else f"{layer}/{layer}"
        key = f"{group}/{name}:0"
        if key not in self.weights:
            self.weights[key] = np.asarray(value() if callable(value) else value, np.float16)
        return self.weights[key].astype(np.float32)

    def linear(self, run, layer, shape, outputs, spread=1.0):
        """Returns `run(kernel)` plus a bias; at first use outputs have a deviation of `spread`."""

        def kernel():
            drawn = self.rng.standard_normal(shape, np.float32)
            return drawn * spread / np.std(run(drawn))

        bias = self.keep(layer, "bias", lambda: self.rng.normal(0, 0.1 * spread, outputs))
        return run(self.keep(layer, "kernel", kernel)) + bias

    def conv(self, x, layer, filters, size=1, stride=1, padding="SAME", spread=1.0):
        """Conv2D."""
        shape = (size, size, x.shape[-1], filters)
        run = lambda kernel: tf.nn.conv2d(x, kernel, stride, padding).numpy()  # noqa: E731
        return self.linear(run, layer, shape, filters, spread)

    def dense(self, x, layer, units, spread):
        """Dense."""
        return self.linear(lambda kernel: x @ kernel, layer, (x.shape[-1], units), units, spread)

    def norm(self, x, layer, size=1.0):
        """BatchNormalization at inference, with statistics near those of its first inputs."""
        axes, count = tuple(range(x.ndim - 1)), x.shape[-1]
        gamma = self.keep(layer, "gamma", lambda: self.rng.normal(size, 0.1 * size, count))
        beta = self.keep(layer, "beta", lambda: self.rng.normal(0, 0.1, count))
        noise = self.rng.normal(0, 0.1, count)
        mean = self.keep(layer, "moving_mean", lambda: x.mean(axes) + noise)
        share = self.rng.uniform(0.8, 1.25, count)
        variance = self.keep(layer, "moving_variance", lambda: x.var(axes) * share)
        return (x - mean) / np.sqrt(variance + EPSILON) * gamma + beta


def relu(x):
    """Returns max(x, 0)."""
    return np.maximum(x, 0)


def softmax(x):
    """Returns the softmax over the last axis."""
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


# Backbone and pyramid


def resnet50(net, image):
    """resnet_graph: strides in the first 1x1, biases before norms, "same" max-pool."""
    x = np.pad(image, [(0, 0), (3, 3), (3, 3), (0, 0)])
    x = relu(net.norm(net.conv(x, "conv1", 8, 7, 2, "VALID"), "bn_conv1"))
    x = tf.nn.max_pool2d(x, 3, 2, "SAME").numpy()
    outputs = {}
    for stage, (count, width) in enumerate([(3, 8), (4, 16), (6, 32), (3, 64)], start=2):
        for letter in "abcdef"[:count]:
            stride = 2 if stage > 2 and letter == "a" else 1
            res, bn = f"res{stage}{letter}_branch", f"bn{stage}{letter}_branch"
            y = relu(net.norm(net.conv(x, f"{res}2a", width, 1, stride), f"{bn}2a"))
            y = relu(net.norm(net.conv(y, f"{res}2b", width, 3), f"{bn}2b"))
            # Smaller than x, to which it is added; else rounding errors would grow in each block.
            y = net.norm(net.conv(y, f"{res}2c", 4 * width), f"{bn}2c", 0.3)
            if letter == "a":
                x = net.norm(net.conv(x, f"{res}1", 4 * width, 1, stride), f"{bn}1")
            x = relu(x + y)
        outputs[stage] = x
    return outputs


def pyramid(net, c):
    """P2..P6."""
    p = {5: net.conv(c[5], "fpn_c5p5", 32)}
    for level in (4, 3, 2):
        doubled = p[level + 1].repeat(2, axis=1).repeat(2, axis=2)
        p[level] = doubled + net.conv(c[level], f"fpn_c{level}p{level}", 32)
    p = {level: net.conv(p[level], f"fpn_p{level}", 32, 3) for level in (2, 3, 4, 5)}
    return {**p, 6: p[5][:, ::2, ::2]}


# Proposals. From here on, boxes are [y1, x1, y2, x2] divided by (height - 1, width - 1), and y2, x2
# are a box's last pixel.


def anchors_of(canvas):
    """generate_pyramid_anchors, then norm_boxes."""
    levels = []
    for scale, stride in zip(SCALES, STRIDES, strict=True):
        centers = np.arange(0, canvas, stride)
        for y in centers:
            for x in centers:
                for ratio in RATIOS:
                    h, w = scale / np.sqrt(ratio), scale * np.sqrt(ratio)
                    levels.append([y - h / 2, x - w / 2, y + h / 2, x + w / 2])
    return ((np.array(levels) - [0, 0, 1, 1]) / (canvas - 1)).astype(np.float32)


def apply_deltas(boxes, deltas):
    """apply_box_deltas_graph."""
    sides = boxes[:, 2:] - boxes[:, :2]
    centers = boxes[:, :2] + 0.5 * sides + deltas[:, :2] * sides
    sides = sides * np.exp(deltas[:, 2:])
    return np.concatenate([centers - 0.5 * sides, centers + 0.5 * sides], axis=1)


def clip(boxes, window):
    """clip_boxes_graph."""
    return np.clip(boxes, np.tile(window[:2], 2), np.tile(window[2:], 2))


def rpn(net, maps):
    """Runs the shared RPN on all levels: probabilities (N, 2) and deltas (N, 4)."""
    logits, deltas = [], []
    for level in (2, 3, 4, 5, 6):
        x = relu(net.conv(maps[level], "rpn_conv_shared", 64, 3))
        logits.append(net.conv(x, "rpn_class_raw", 6, spread=1.5).reshape(-1, 2))
        deltas.append(net.conv(x, "rpn_bbox_pred", 12).reshape(-1, 4))
    return softmax(np.concatenate(logits)), np.concatenate(deltas)


def proposals_of(probabilities, deltas, anchors):
    """ProposalLayer: takes the best of all levels together, one NMS, padding with zeros."""
    best = np.argsort(-probabilities[:, 1], kind="stable")[:PRE_NMS]
    boxes = clip(apply_deltas(anchors[best], deltas[best] * STD_DEV), np.array([0, 0, 1, 1]))
    boxes = boxes.astype(np.float32)
    kept = tf.image.non_max_suppression(boxes, probabilities[best, 1], PROPOSALS, RPN_NMS).numpy()
    return np.pad(boxes[kept], [(0, PROPOSALS - len(kept)), (0, 0)])


# Heads


def pyramid_roi_align(boxes, maps, size):
    """PyramidROIAlign: one point per bin, read by TensorFlow's crop_and_resize."""
    h, w = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    with np.errstate(divide="ignore"):
        levels = np.round(np.log2(np.sqrt(h * w) / (CANONICAL / CANVAS)))
    levels = np.clip(4 + levels, 2, 5)
    pooled = np.zeros((len(boxes), size, size, maps[2].shape[-1]), np.float32)
    for level in (2, 3, 4, 5):
        (at,) = np.where(levels == level)
        pooled[at] = tf.image.crop_and_resize(
            maps[level], boxes[at], np.zeros(len(at), np.int32), [size, size]
        )
    return pooled, levels


def box_head(net, boxes, maps):
    """fpn_classifier_graph: probabilities (R, C), deltas (R, C, 4)."""
    x, levels = pyramid_roi_align(boxes, maps, 7)
    x = net.conv(x, "mrcnn_class_conv1", 64, 7, padding="VALID")
    x = relu(net.norm(x, "mrcnn_class_bn1"))
    x = relu(net.norm(net.conv(x, "mrcnn_class_conv2", 64), "mrcnn_class_bn2"))[:, 0, 0]
    logits = net.dense(x, "mrcnn_class_logits", CLASSES, 2.5)
    deltas = net.dense(x, "mrcnn_bbox_fc", CLASSES * 4, 1.0)
    return softmax(logits), deltas.reshape(-1, CLASSES, 4), levels


def mask_head(net, boxes, maps):
    """build_fpn_mask_graph: probabilities (D, 28, 28, C)."""
    x, _ = pyramid_roi_align(boxes, maps, 14)
    for i in (1, 2, 3, 4):
        x = relu(net.norm(net.conv(x, f"mrcnn_mask_conv{i}", 32, 3), f"mrcnn_mask_bn{i}"))

    def deconvolve(kernel):
        return tf.nn.conv2d_transpose(x, kernel, (len(x), 28, 28, 32), 2, "VALID").numpy()

    x = relu(net.linear(deconvolve, "mrcnn_mask_deconv", (2, 2, 32, 32), 32))
    return 1 / (1 + np.exp(-net.conv(x, "mrcnn_mask", CLASSES, spread=2.0)))


def refine(rois, probabilities, deltas, window):
    """refine_detections_graph: the best class of each RoI, NMS per class, then the best of all."""
    labels = probabilities.argmax(1)
    rows = np.arange(len(rois))
    scores = probabilities[rows, labels]
    boxes = clip(apply_deltas(rois, deltas[rows, labels] * STD_DEV), window).astype(np.float32)
    kept = []
    for label in range(1, CLASSES):
        (at,) = np.where((labels == label) & (scores >= MIN_CONFIDENCE))
        kept.extend(at[tf.image.non_max_suppression(boxes[at], scores[at], DETECTIONS, NMS)])
    kept = sorted(kept, key=lambda i: -scores[i])[:DETECTIONS]
    return boxes[kept], labels[kept], scores[kept]


# From and to pixels


def resize_without_antialiasing(mask, height, width):
    """skimage.transform.resize(order=1, mode="constant"): pixel centers, zeros outside."""
    padded = np.pad(mask, 1)
    y = (np.arange(height) + 0.5) * mask.shape[0] / height + 0.5
    x = (np.arange(width) + 0.5) * mask.shape[1] / width + 0.5
    y0, x0 = np.floor(y).astype(int), np.floor(x).astype(int)
    fy, fx = (y - y0)[:, None], x - x0
    top = padded[y0][:, x0] * (1 - fx) + padded[y0][:, x0 + 1] * fx
    bottom = padded[y0 + 1][:, x0] * (1 - fx) + padded[y0 + 1][:, x0 + 1] * fx
    return top * (1 - fy) + bottom * fy


def unmold(boxes, masks, window, shape):
    """unmold_detections: boxes in whole pixels of the image, and masks of full size."""
    shift, scale = np.tile(window[:2], 2), np.tile(window[2:] - window[:2], 2)
    pixels = np.array([*shape, *shape]) - 1
    boxes = np.around((boxes - shift) / scale * pixels + [0, 0, 1, 1]).astype(np.int32)
    full = np.zeros((len(boxes), *shape), bool)
    for canvas, (y1, x1, y2, x2), mask in zip(full, boxes, masks, strict=True):
        canvas[y1:y2, x1:x2] = resize_without_antialiasing(mask, y2 - y1, x2 - x1) >= 0.5
    return boxes, full


def picture(rng, height, width):
    """Draws colored rectangles and discs on a ramp, with noise, as uint8."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x, y, x + y], axis=-1) * 0.8 + 40.0
    for _ in range(8):
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        h, w = rng.uniform(6, 40, 2)
        shape = [(abs(y - cy) < h) & (abs(x - cx) < w), np.hypot(y - cy, x - cx) < h]
        image[shape[rng.integers(2)]] = rng.uniform(0, 255, 3)
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)


def mold(image):
    """mold_inputs without scaling: returns the canvas (128, 128, 3) and the window in pixels."""
    height, width = image.shape[:2]
    top, left = (CANVAS - height) // 2, (CANVAS - width) // 2
    canvas = np.zeros((CANVAS, CANVAS, 3), np.uint8)
    canvas[top : top + height, left : left + width] = image
    return canvas.astype(np.float32) - MEAN_PIXEL, np.array([top, left, top + height, left + width])


def detect(net, image):
    """MaskRCNN.detect for one image: returns the results of all stages."""
    canvas, pixels = mold(image)
    window = (pixels - [0, 0, 1, 1]) / (CANVAS - 1)
    maps = pyramid(net, resnet50(net, canvas[None]))
    probabilities, rpn_deltas = rpn(net, maps)
    rois = proposals_of(probabilities, rpn_deltas, anchors_of(CANVAS))
    class_probabilities, deltas, levels = box_head(net, rois, maps)
    boxes, labels, scores = refine(rois, class_probabilities, deltas, window)
    masks = mask_head(net, boxes, maps)[np.arange(len(boxes)), :, :, labels]
    final_boxes, full_masks = unmold(boxes, masks, window, image.shape[:2])
    return {
        "image": image,
        "window": pixels,
        **{f"p{level}": maps[level] for level in maps},
        "rpn_probabilities": probabilities,
        "rpn_deltas": rpn_deltas,
        "proposals": rois,
        "levels": levels,
        "class_probabilities": class_probabilities,
        "box_deltas": deltas,
        "boxes": boxes,
        "labels": labels,
        "scores": scores,
        "mini_masks": masks,
        "final_boxes": final_boxes,
        "full_masks": full_masks,
    }


def main():
    """Writes the file, and prints figures that show whether it is fit for a test."""
    rng, net, arrays = np.random.default_rng(7), Network(4), {}
    images = [picture(rng, CANVAS, CANVAS), picture(rng, 90, CANVAS)]
    # Draws the weights with both images at once, because the black bars change all statistics.
    pyramid(net, resnet50(net, np.stack([mold(image)[0] for image in images])))
    for i, image in enumerate(images):
        stages = detect(net, image)
        sides = stages["proposals"][:, 2:] - stages["proposals"][:, :2]
        print(
            f"image {i}: {np.sum(sides.min(1) > 0)} proposals with an area, levels "
            f"{np.bincount(stages['levels'].astype(int))}, labels {stages['labels']}, scores "
            f"{stages['scores'].round(3)}"
        )
        for name, value in stages.items():
            value = value.astype(np.float32) if value.dtype == np.float64 else value
            if i == 0 or name not in ("p2", "p3", "p4", "p5", "p6"):
                arrays[f"{name}.{i}"] = value
    arrays |= {f"weights.{key}": value for key, value in net.weights.items()}
    path = pathlib.Path(__file__).parent / "tiny_matterport.npz"
    np.savez_compressed(path, **arrays)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
