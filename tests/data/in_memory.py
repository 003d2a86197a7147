"""The five images of `dataset` in conftest.py as arrays and lists."""

import numpy as np

IDS = {7: "7", 12: "12", 31: "31"}


def lists_of(dataset):
    """Returns the images, and dicts of polygons, masks, boxes and labels of a `CocoDataset`."""
    content, found = dataset.annotations, {"polygons": [], "labels": []}
    if isinstance(content, str):
        content = dataset.content()
    for image_id in dataset.image_ids:
        entries = [a for a in content["annotations"] if a["image_id"] == image_id]
        found["polygons"].append([entry["segmentation"] for entry in entries])
        found["labels"].append([entry["category_id"] for entry in entries])
    found["boxes"] = [dataset.load_targets(i)["boxes"] for i in range(len(dataset))]
    return [dataset.load_image(i) for i in range(len(dataset))], found


class Items:
    """Stands in for a user's object: two images with a rectangle each; counts what is read."""

    def __init__(self, **changes):
        self.read, self.changes = [], changes

    def __len__(self):
        return 2

    def load_image(self, index):
        self.read.append(index)
        return np.full((20, 30, 3), 50 * index, np.uint8)

    def annotations(self, index):
        mask = np.zeros((1, 20, 30), bool)
        mask[0, 5:11, 4:14] = True
        return {"masks": mask, "labels": ["dog"], **self.changes}
