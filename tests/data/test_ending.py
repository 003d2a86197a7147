import subprocess
import sys

# A function that is registered with atexit before the first call of `batches` runs after ours.
SCRIPT = """
import atexit, time
import numpy as np

reads = []

def after():
    before = len(reads)
    time.sleep(0.5)
    print(before > 0, len(reads) - before)

atexit.register(after)

from keras_maskrcnn import data

class Slow:
    file_names, sizes, mask_size = ["a.png"] * 500, [(32, 32)] * 500, 28
    num_instances, max_instances = np.ones(500, int), 1

    def __len__(self):
        return 500

    def load_image(self, index):
        reads.append(time.sleep(0.02))
        return np.zeros([32, 32, 3], np.uint8)

    def load(self, index):
        boxes, masks = np.float32([[5, 5, 30, 30]]), np.full([1, 28, 28], 255, np.uint8)
        image = self.load_image(index)
        return {"image": image, "boxes": boxes, "labels": np.int32([1]), "masks": masks}

resizing = dict(min_side=32, max_side=32, resize_rule="torchvision", padding_multiple=32)
iterator = iter(data.batches(Slow(), 50, training=True, repeat=True, **resizing))
next(iterator)
"""


def test_reading_has_ended_when_python_ends():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True 0\n"), done.stderr
