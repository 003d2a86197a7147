"""Times torchvision's reference loader with masks; benchmarks/loader.py calls it as the peer.

    TORCH_PYTHON benchmarks/loader_torchvision.py IMAGES ANNOTATIONS SIDE LONGER BATCH SECONDS

The loader is that of references/detection in torchvision 0.28, with transforms v2: CocoDetection
decodes the image and all masks, then come a random flip and float images. It also does what
torchvision's model does before the backbone: it resizes image, boxes and masks, normalizes, and
batches. It prints images, seconds and CPU seconds as JSON.
"""

import json
import os
import pathlib
import resource
import sys
import time

import torch
from torchvision import datasets
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms import v2

WORKERS = 2


class Resized(torch.utils.data.Dataset):
    """Examples after the transform that comes before the backbone; workers apply it."""

    def __init__(self, dataset, side, longer):
        self.dataset = dataset
        self.transform = GeneralizedRCNNTransform(side, longer, [0.485] * 3, [0.229] * 3)

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        image, target = self.dataset[index]
        if "masks" not in target:  # an image without instances
            return image, None
        images, targets = self.transform([image], [dict(target)])
        return images.tensors[0], targets[0]


def main(images, annotations, side, longer, batch_size, seconds):
    transforms = v2.Compose(
        [
            v2.ToImage(),
            v2.RandomHorizontalFlip(0.5),
            v2.ToDtype(torch.float, scale=True),
            v2.SanitizeBoundingBoxes(),
        ]
    )
    dataset = datasets.CocoDetection(images, annotations, transforms=transforms)
    keys = ("boxes", "labels", "masks")
    dataset = datasets.wrap_dataset_for_transforms_v2(dataset, target_keys=keys)
    loader = torch.utils.data.DataLoader(
        Resized(dataset, side, longer),
        batch_size,
        shuffle=True,
        num_workers=WORKERS,
        collate_fn=list,
        persistent_workers=True,
        drop_last=True,
    )
    list(loader)  # one epoch starts the workers and fills the page cache
    done, started = 0, time.perf_counter()
    cpu = _children_seconds()
    while time.perf_counter() - started < seconds:
        for batch in loader:
            done += len(batch)
    wall = time.perf_counter() - started
    return {"images": done, "seconds": wall, "cpu_seconds": _children_seconds() - cpu}


def _children_seconds():
    """Returns the CPU seconds of this process and of its living workers."""
    total = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:  # the process has ended
            continue
        if int(fields[1]) == os.getpid():
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


if __name__ == "__main__":
    torch.set_num_threads(1)
    side, longer, batch_size = map(int, sys.argv[3:6])
    print(json.dumps(main(sys.argv[1], sys.argv[2], side, longer, batch_size, float(sys.argv[6]))))
