"""Fixtures for all tests: a fixed seed, two fake devices, a tiny model and its batch."""

import configparser
import gc
import os
import pathlib
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import quick_losses as quick  # noqa: E402
import tensorflow as tf  # noqa: E402
from eager import eager_steps  # noqa: E402
from outside import IMPORTED_FROM  # noqa: E402
from packaging.requirements import Requirement  # noqa: E402
from parity import load_golden, peer_weights, write_h5  # noqa: E402

from keras_maskrcnn.config import MaskRCNNConfig

# Two fake devices for MirroredStrategy. They must be set before TensorFlow starts.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


def pytest_report_header():
    """The versions that a report of a failure needs, and which copy of the package runs."""
    versions = [f"{x.__name__} {x.__version__}" for x in (tf, keras, np)]
    return [", ".join(versions), f"keras_maskrcnn in {IMPORTED_FROM}"]


gc.freeze()  # the collections below then skip all imported objects, which stay anyway


@pytest.fixture(autouse=True)
def fixed_seed():
    """Each test draws the same random numbers, whether it runs alone or after others."""
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def free_models():
    """Frees Keras models after slow tests.

    Models refer to themselves. They look small to Python, so it would keep gigabytes of them.
    """
    began = time.monotonic()
    yield
    if time.monotonic() - began > 2:  # a collection takes up to 1 s; quick tests need none
        gc.collect()


@pytest.fixture
def eager():
    """Runs steps without a graph, see eager.py. For tests that claim nothing about the graph."""
    with eager_steps():
        yield


@pytest.fixture
def quick_losses():
    """Models have one loss of one bias, see quick_losses.py. A step is traced in a second."""
    with quick.quick_losses():
        yield


@pytest.fixture(scope="session")
def case():
    """Function that returns the folder ../shared/cases/NAME: inputs that once failed."""

    def folder(name):
        path = pathlib.Path(__file__).parents[2] / "shared" / "cases" / name
        if not path.is_dir():
            pytest.skip("there is no ../shared/cases beside this clone")
        return path

    return folder


@pytest.fixture(scope="session")
def metadata():
    """setup.cfg, parsed."""
    parser = configparser.ConfigParser()
    path = pathlib.Path(__file__).resolve().parents[1] / "setup.cfg"
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser


@pytest.fixture(scope="session")
def requirements(metadata):
    """The requirements in setup.cfg: dict of extra to a list, with "" for those of the package."""
    blocks = {"": metadata["options"]["install_requires"], **metadata["options.extras_require"]}
    return {name: [Requirement(line) for line in text.split()] for name, text in blocks.items()}


@pytest.fixture(scope="session")
def golden():
    """Function that returns the arrays of golden/NAME.npz, by torchvision or detectron2."""
    return load_golden


@pytest.fixture(scope="session")
def matterport_file(tmp_path_factory):
    """The golden network of Matterport as the .h5 file that its `save_weights` writes."""
    path = tmp_path_factory.mktemp("matterport") / "mask_rcnn_tiny_0001.h5"
    write_h5(path, peer_weights("matterport"))
    return path


@pytest.fixture(scope="session")
def two_devices():
    """MirroredStrategy on two fake devices, shared by all tests.

    All strategies of a process count their collective operations from the same number. TensorFlow
    would confuse the first operation of a second strategy with that of the first.
    """
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture(scope="session")
def tiny_config():
    """The smallest model with all parts: three classes, images of 64 x 96."""
    return MaskRCNNConfig(
        num_classes=3,
        image_min_side=64,
        image_max_side=96,
        backbone="resnet18",
        norm="batch",
        frozen_stages=0,
        fpn_channels=16,
        anchor_sizes=(8.0, 16.0, 32.0, 64.0, 128.0),
        rpn_batch=32,
        train_pre_nms=50,
        train_proposals=40,
        test_pre_nms=50,
        test_proposals=40,
        roi_batch=16,
        box_head_units=32,
        mask_head_convs=1,
        mask_head_channels=16,
        detections_per_image=10,
    )


@pytest.fixture
def batch():
    """(inputs, targets) as `data.batches` makes them: bright ellipses on two images.

    Image 0 fills the canvas of 64 x 96 and has two objects. Image 1 is 64 x 80, was twice as large
    before resizing, and has one object.
    """
    rng = np.random.default_rng(0)
    sizes = np.array([[64, 96], [64, 80]], np.int32)
    boxes = np.zeros((2, 3, 4), np.float32)
    boxes[0, :2] = [[8, 8, 40, 32], [50, 20, 90, 60]]
    boxes[1, 0] = [16, 10, 64, 50]
    labels = np.array([[1, 2, 0], [3, 0, 0]], np.int32)
    y, x = (np.mgrid[:28, :28] + 0.5) / 14 - 1
    masks = np.where((labels > 0)[..., None, None], 255 * (y**2 + x**2 < 1), 0).astype(np.uint8)
    images = np.zeros((2, 64, 96, 3), np.float32)
    for i, (height, width) in enumerate(sizes):
        images[i, :height, :width] = rng.integers(0, 60, (height, width, 3))
        y, x = np.mgrid[:height, :width] + 0.5
        for (x1, y1, x2, y2), label in zip(boxes[i], labels[i], strict=True):
            if label:
                u, v = (2 * x - x1 - x2) / (x2 - x1), (2 * y - y1 - y2) / (y2 - y1)
                images[i, :height, :width, label - 1][u**2 + v**2 < 1] = 250
    inputs = {"images": images, "sizes": sizes, "original_sizes": sizes * [[1], [2]]}
    inputs["original_sizes"] = inputs["original_sizes"].astype(np.int32)
    return inputs, {"boxes": boxes, "labels": labels, "masks": masks}
