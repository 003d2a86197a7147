"""Predicts images with Beam while workers are killed, and compares with `keras-maskrcnn predict`.

    python benchmarks/cluster.py --output=DIR --images=5000 --broken=3 --kills=2

It needs the extra beam. It makes shapes of 64 pixels, replaces some by broken files, exports an
untrained model, and runs examples/beam/predict.py. Each kill is a SIGKILL for a worker process at
an equal part of the way. It prints what was found, and fails if anything is lost. Steps whose
results are in the folder are not repeated.
"""

import argparse
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "examples"), str(ROOT)]
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
WORKER = "apache_beam.runners.worker.sdk_worker_main"
DIRECT = ["--runner=FnApiRunner", "--direct_running_mode=multi_processing"]


def main():
    """Runs both predictions, and prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder to make")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--broken", type=int, default=3, help="images that cannot be read")
    parser.add_argument("--kills", type=int, default=2, help="workers to kill")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time")
    parser.add_argument("--batch_size", type=int, default=1)
    args = parser.parse_args()
    if not args.output.exists():
        prepare(args.output, args.images, args.broken)
    began = time.perf_counter(), _cpu()
    if not (args.output / "beam" / "counts.json").exists():
        command = predict_command(args.output, args.workers, args.batch_size)
        killed = run_and_kill(command, args.output / "beam", args.images, args.kills)
        print(f"{_spent('Beam', began)}; killed workers: {killed}", flush=True)
        began = time.perf_counter(), _cpu()
    if not (args.output / "alone" / "predictions.json").exists():
        predict_alone(args.output)
        print(_spent("predict", began), flush=True)
    print(compare(args.output, args.images, args.broken))


def prepare(folder, images, broken):
    """Makes `images` and `model` in a folder. `broken` of the images cannot be read."""
    from shapes import make_shapes

    make_shapes(folder, train=images, val=1, size=64)
    (folder / "train").rename(folder / "images")
    files = sorted((folder / "images").iterdir())
    contents = b"", b"this is no image", files[0].read_bytes()[:100]
    for i in range(broken):
        files[(i + 1) * images // (broken + 1)].write_bytes(contents[i % 3])
    export(folder / "model")


def export(path):
    """Exports an untrained model, in a process of its own."""
    program = (
        "import sys; import keras_maskrcnn as mrcnn; mrcnn.MaskRCNN.from_preset("
        "'mask_rcnn_resnet18_fpn_small', num_classes=3, backbone_width=8, image_min_side=64,"
        " image_max_side=64, anchor_sizes=(8, 16, 32, 64, 128), fpn_channels=16,"
        " box_head_units=16, mask_head_convs=1, mask_head_channels=16, test_pre_nms=50,"
        " test_proposals=20, detections_per_image=5, score_threshold=0.0)"
        ".export(sys.argv[1], verbose=False)"
    )
    subprocess.run([sys.executable, "-c", program, path], check=True)


def predict_command(folder, workers, batch_size=1):
    """Returns the command that predicts with Beam."""
    return [
        sys.executable,
        str(ROOT / "examples" / "beam" / "predict.py"),
        f"--model={folder / 'model'}",
        f"--input={folder / 'images'}",
        f"--output={folder / 'beam'}",
        f"--batch_size={batch_size}",
        "--threads=1",
        "--shard_size=16",
        *DIRECT,
        f"--direct_num_workers={workers}",
    ]


def predict_alone(folder):
    """Predicts the same images with `keras-maskrcnn predict`, but draws no pictures.

    Pictures would take most of the time, and Beam makes none.
    """
    program = (
        "from keras_maskrcnn import cli, visualize;"
        " visualize.draw = visualize.save_png = lambda *args, **options: None;"
        " cli.main()"
    )
    command = [sys.executable, "-c", program, "predict", f"--model={folder / 'model'}"]
    command += [f"--input={folder / 'images'}", f"--output={folder / 'alone'}", "--threads=1"]
    subprocess.run([*command, "--on_error=skip", "--overwrite", "--quiet"], check=True)


def run_and_kill(command, output, images, kills):
    """Runs a command; kills a worker at each of `kills` parts of the way. Returns their ids."""
    killed: list[int] = []
    process = subprocess.Popen(command)
    while process.poll() is None:
        done = 16 * len(list((output / "shards").glob("[!u]*.jsonl")))
        if len(killed) < kills and done >= (len(killed) + 1) * images / (kills + 1):
            victims = [pid for pid in workers_of(process.pid) if pid not in killed]
            if victims:
                os.kill(victims[0], signal.SIGKILL)
                killed.append(victims[0])
        time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"the command ended with status {process.returncode}.")
    return killed


def workers_of(pid):
    """Returns the ids of the worker processes that a process started, over any number of steps."""
    parents, commands = {}, {}
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            commands[int(path.name)] = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        parents[int(path.name)] = int(parent)
    found = []
    for worker, command in commands.items():
        above = worker
        while above in parents and above != pid:
            above = parents[above]
        if above == pid and WORKER.encode() in command:
            found.append(worker)
    return found


def compare(folder, images, broken):
    """Compares the results of both; returns a line, or raises ValueError if images are lost."""
    beam, alone = folder / "beam" / "predictions.json", folder / "alone" / "predictions.json"
    counts = json.loads((folder / "beam" / "counts.json").read_text())
    dead = (folder / "beam" / "dead_letters.jsonl").read_text().splitlines()
    expected = {"images": images, "predicted": images - broken, "dead_letters": broken}
    if {**counts, **expected} != counts or len(dead) != broken:
        raise ValueError(f"expected {expected}. Received: {counts}.")
    if beam.read_bytes() == alone.read_bytes():
        return f"{counts}; predictions.json has the same bytes."
    score, box, masks = difference(*(json.loads(path.read_text()) for path in (beam, alone)))
    return f"{counts}; differences: score {score:.1e}, box {box:.1e} pixels, {masks} masks."


def difference(first, second):
    """Returns the largest differences of two lists of results: score, box, number of masks.

    Raises ValueError if their objects are others.
    """
    keys = [[(one["file_name"], one["category_id"]) for one in found] for found in (first, second)]
    if keys[0] != keys[1]:
        raise ValueError("the lists have other objects.")
    pairs = list(zip(first, second, strict=True))
    score = max(abs(a["score"] - b["score"]) for a, b in pairs)
    box = max(abs(x - y) for a, b in pairs for x, y in zip(a["bbox"], b["bbox"], strict=True))
    masks = sum(a["segmentation"] != b["segmentation"] for a, b in pairs)
    return score, box, masks


def _cpu():
    """Returns the CPU seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _spent(name, began):
    wall, cpu = began
    return f"{name}: {time.perf_counter() - wall:.0f} s, {_cpu() - cpu:.0f} CPU seconds"


if __name__ == "__main__":
    main()
