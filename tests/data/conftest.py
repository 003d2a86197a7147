import json

import numpy as np
import pytest
from five_images import SIZES
from PIL import Image

from keras_maskrcnn.data import coco_json


@pytest.fixture
def dataset(tmp_path):
    """Five images of different sizes. Image i has i instances: triangles at different places."""
    images, annotations = [], []
    for i, (height, width) in enumerate(SIZES):
        noise = np.random.default_rng(i).integers(0, 256, [height, width, 3])
        Image.fromarray(noise.astype(np.uint8)).save(tmp_path / f"{i}.png")
        entry = {"id": 100 + i, "file_name": f"{i}.png", "height": height, "width": width}
        images.append(entry)
        for k in range(i):
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": 100 + i,
                    "category_id": (7, 12, 31)[k % 3],
                    "bbox": [1 + k, 2, 8, 9],
                    "segmentation": [[1 + k, 2, 9 + k, 2, 9 + k, 11]],
                }
            )
    categories = [{"id": i, "name": str(i)} for i in (7, 12, 31)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "a.json").write_text(json.dumps(content))
    return coco_json(tmp_path, tmp_path / "a.json", mask_size=14)
