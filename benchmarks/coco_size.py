"""Opens a json of COCO's size with pycocotools and with `coco_json`: CPU seconds and peak memory.

    python benchmarks/coco_size.py [--images=118287] [--folder=FOLDER]

It writes a json of the size of instances_train2017.json: 118,287 images, 860,001 annotations, and
the same fields and numbers of points and digits. `--files` also writes image files; each is only a
PNG header, because opening a data set reads no more. The readers run one after the other, each in a
separate process. Other work on the machine slows both, but affects CPU time less than wall time.
"""

import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

import numpy as np
from absl import app, flags

flags.DEFINE_integer("images", 118_287, "Number of images.")
flags.DEFINE_integer("annotations", 860_001, "Number of annotations.")
flags.DEFINE_string("folder", None, "Folder to write into. Default: a temporary folder.")
flags.DEFINE_boolean("files", False, "Also write the images' headers, and check them.")
HEIGHT, WIDTH = 480, 640

# The program of each separate process. It prints CPU seconds, seconds, and peak MiB.
MEASURE = """
import resource, sys, time
folder, path, files = sys.argv[1:]
{imports}
began, cpu = time.perf_counter(), time.process_time()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{code}
usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
cpu, clock = time.process_time() - cpu, time.perf_counter() - began
print("MEASURED", cpu, clock, usage / 1024, before / 1024)
"""
READERS = {
    "pycocotools": ("from pycocotools.coco import COCO", "loaded = COCO(path)"),
    "keras_maskrcnn": (
        "from keras_maskrcnn.data.coco import coco_json",
        "loaded = coco_json(folder, path, check_images=files == 'True')",
    ),
}


def write_json(path, num_images, num_annotations):
    """Writes the json, with blobs of 8 to 45 points and 8 to 300 pixels, distributed as in COCO."""
    rng = np.random.default_rng(0)
    with open(path, "w") as file:
        file.write('{"info": {"year": 2017}, "licenses": [], "images": [')
        for i in range(num_images):
            name = f"{i:012d}.jpg"
            image = {
                "license": 3,
                "file_name": name,
                "coco_url": f"http://images.cocodataset.org/train2017/{name}",
                "height": HEIGHT,
                "width": WIDTH,
                "date_captured": "2013-11-14 11:18:45",
                "flickr_url": f"http://farm9.staticflickr.com/8186/{i:010d}_8d8b0f0a9f_z.jpg",
                "id": i,
            }
            file.write((", " if i else "") + json.dumps(image))
        file.write('], "annotations": [')
        for i in range(num_annotations):
            file.write((", " if i else "") + json.dumps(blob(rng, i, num_images)))
        categories = [{"supercategory": "x", "id": i, "name": f"c{i}"} for i in range(1, 91)]
        file.write(f'], "categories": {json.dumps(categories)}}}')


def blob(rng, i, num_images):
    side, count = np.exp(rng.uniform(np.log(8), np.log(300))), rng.integers(8, 46)
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    radii = side / 2 * rng.uniform(0.6, 1, count)
    x = np.clip(rng.uniform(0, WIDTH) + radii * np.cos(angles), 0, WIDTH).round(2)
    y = np.clip(rng.uniform(0, HEIGHT) + radii * np.sin(angles), 0, HEIGHT).round(2)
    box = [x.min(), y.min(), np.ptp(x).round(2), np.ptp(y).round(2)]
    return {
        "segmentation": [np.stack([x, y], axis=1).ravel().tolist()],
        "area": float((box[2] * box[3]).round(4)),
        "iscrowd": 0,
        "image_id": i % num_images,
        "bbox": [float(v) for v in box],
        "category_id": int(rng.integers(1, 91)),
        "id": i,
    }


def write_headers(folder, num_images):
    """Writes PNG files with a header but no pixels."""
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), (b"IDAT", b""), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        data += struct.pack(">I", len(body)) + kind + body + checksum
    for i in range(num_images):
        (folder / f"{i:012d}.jpg").write_bytes(data)


def main(_):
    options = flags.FLAGS
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{options.images}_{options.annotations}.json"
        if not path.exists():
            write_json(path, options.images, options.annotations)
        if options.files:
            write_headers(folder, options.images)
        print(f"{path.stat().st_size / 1e6:.0f} MB", flush=True)
        for name, (imports, code) in READERS.items():
            program = MEASURE.format(imports=imports, code=code)
            command = [sys.executable, "-c", program, folder, path, str(options.files)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            cpu, clock, peak, before = map(float, output.split("MEASURED")[1].split())
            print(
                f"{name}: {cpu:.1f} CPU s, {clock:.1f} s, peak {peak:.0f} MiB"
                f" ({before:.0f} MiB before)",
                flush=True,
            )


if __name__ == "__main__":
    app.run(main)
