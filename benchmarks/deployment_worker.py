"""Answers the requests of deployment.py for one candidate; imports the candidate's runtime alone.

    PYTHON benchmarks/deployment_worker.py OPTIONS

OPTIONS is a JSON object with `kind` (a name of `KINDS`) and the arguments of that function. When
the model is loaded, it prints a line of JSON. Then each line of stdin is the path of an image, a
.npy file with uint8 (H, W, 3), RGB. A line of JSON answers it: the seconds of the call and the
number of detections. A call starts with the pixels in memory. It ends with arrays of NumPy or
torch in memory, with masks of the size of the image.

The kind `weights` loads no model: it writes torchvision's random weights and photos.
"""

import json
import os
import pathlib
import re
import sys
import time

import numpy as np


def torchvision(path, height, width, threshold, threads, peerlab, compiled=False):
    """torchvision's maskrcnn_resnet50_fpn, as it is after its COCO weights were loaded."""
    import torch

    sys.path.append(peerlab)
    from common import build_full, freeze_norm, to_tensor

    torch.set_num_threads(threads)
    sides = {"min_size": min(height, width), "max_size": max(height, width)}
    model = freeze_norm(build_full("v1", box_score_thresh=threshold, **sides), 0.0)
    model.load_state_dict(torch.load(path, weights_only=True))
    model.eval()
    detect = torch.compile(model) if compiled else model

    def call(image):
        with torch.inference_mode():
            return len(detect([to_tensor(image)])[0]["masks"])

    return call


def exported(path, runtime, threads):
    """A SavedModel, an ONNX file or an OpenVINO IR in this package's class for them."""
    from keras_maskrcnn.runtime import ExportedModel

    model = ExportedModel(path, runtime=runtime, threads=threads)
    return lambda image: len(model.predict(image)["scores"])


def litert(path, threads):
    """A LiteRT file; its masks are those of the boxes, because the class above has no LiteRT."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow as tf

        Interpreter = tf.lite.Interpreter

    run = Interpreter(path, num_threads=threads).get_signature_runner()

    def call(image):
        found = run(images=image[None].astype(np.float32), sizes=np.int32([image.shape[:2]]))
        return int(found["num_detections"][0])

    return call


KINDS = {"torchvision": torchvision, "exported": exported, "litert": litert}


def weights(folder, height, width, peerlab):
    """Writes random weights that peerlab calibrates, model.pth, and the photos of scikit-image."""
    import torch
    from PIL import Image

    sys.path.append(peerlab)
    from common import build_full, calibrate, freeze_norm, load_image, resized, to_tensor

    torch.manual_seed(0)
    photos = {name: load_image(name) for name in ("astronaut", "coffee", "chelsea", "rocket")}
    image = to_tensor(resized(photos["astronaut"], height, width))
    sides = {"min_size": min(height, width), "max_size": max(height, width)}
    model = freeze_norm(calibrate(build_full("v1", **sides), [image]), 0.0)
    torch.save(model.state_dict(), f"{folder}/model.pth")
    pathlib.Path(folder, "photos").mkdir()
    for name, photo in photos.items():
        Image.fromarray(photo).save(f"{folder}/photos/{name}.png")


def peak_mib():
    """Returns the peak memory of this process; the kernel's `ru_maxrss` counts the parent's too."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) >> 10


def main():
    """Loads the candidate and answers requests until stdin ends."""
    options = json.loads(sys.argv[1])
    kind = options.pop("kind")
    if kind == "weights":
        weights(**options)
        return
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not come between the answers

    def answer(**values):
        print(json.dumps({**values, "peak_rss_mib": peak_mib()}), file=answers, flush=True)

    call = KINDS[kind](**options)
    answer(cpu=time.process_time())
    for line in sys.stdin:
        image = np.load(line.strip())
        wall, cpu = time.perf_counter(), time.process_time()
        count = call(image)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        answer(wall=wall, cpu=cpu, detections=count)


if __name__ == "__main__":
    main()
