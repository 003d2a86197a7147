import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn import quiet


@pytest.mark.parametrize(
    ("argv", "asked"),
    [
        ([], False),
        (["train", "--quiet"], True),
        (["--quiet=True"], True),
        (["--quiet=false"], False),
    ],
)
def test_is_asked(argv, asked):
    assert quiet.is_asked(argv) == asked


def test_a_quiet_command_that_succeeds_writes_nothing_to_the_terminal(tmp_path):
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "a.png")
    box = {"image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400}
    outline = [[5, 5, 25, 5, 25, 25, 5, 25]]
    annotations = [
        {**box, "id": 1, "iscrowd": 1, "segmentation": outline},  # dropped, with a line in the log
        {**box, "id": 2, "iscrowd": 0, "segmentation": outline},
    ]
    image = {"id": 1, "file_name": "a.png", "height": 40, "width": 60}
    categories = [{"id": 1, "name": "cell"}]
    content = {"images": [image], "annotations": annotations, "categories": categories}
    (tmp_path / "a.json").write_text(json.dumps(content))
    command = [sys.executable, "-m", "keras_maskrcnn", "convert", "--format=coco_json", "--quiet"]
    command += [f"--images={tmp_path}", f"--annotations={tmp_path / 'a.json'}"]
    command += [f"--output={tmp_path / 'b.json'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads((tmp_path / "b.json").read_text())["annotations"] == annotations[1:]
