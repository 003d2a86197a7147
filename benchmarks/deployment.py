"""Times exported models in their runtimes, and torchvision, in turn on the same images.

    python benchmarks/deployment.py --folder=DIR --peer_python=TORCH_PYTHON
    python benchmarks/deployment.py --folder=DIR --model=model.keras --threads=2 \\
        --candidates=saved_model_float32,onnxruntime_float32

All are maskrcnn_resnet50_fpn with the same random weights, which peerlab calibrates in the
environment of TORCH_PYTHON (peerlab's README.md says how to make it). Without --peer_python the
weights are those of speed.py, and with --model those of a file; then torchvision does not run.

First it finds images: for each number of --detections, one in which our float32 model finds so
many. It is a photo with less contrast. The model has 100 slots for detections, and its score
threshold is where the photo itself fills them. Second, `keras-maskrcnn export` writes the models.
All this stays in --folder for later runs; files are exported again after a change of the package,
unless --reuse is given. With --prepare it ends here. Third, each candidate runs in a separate
process on --threads cores, and they answer one request each in turn. The first answer to each image
does not count. INT8 files are calibrated on four photos, which is enough for times, but not for
accuracy.

A request is an image in memory, of exactly the given size. The answer is arrays in memory, with
pasted masks; only LiteRT leaves the pasting to its caller. All processes have the settings of
malloc that speed.py explains. It prints Markdown tables, and --output gets JSON lines.

--isa=avx2 tells the runtimes to leave out AVX-512. ONNX Runtime and LiteRT have no such setting.
"""

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import multiprocessing
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

from speed import KEEP_MEMORY, calibrated_model, scene

ROOT = pathlib.Path(__file__).resolve().parents[1]
WORKER = pathlib.Path(__file__).with_name("deployment_worker.py")
SLOTS = 100  # detections per image


@dataclasses.dataclass(frozen=True)
class Candidate:
    """How a candidate is exported and run.

    Attributes:
        kind: str. Name of a function in deployment_worker.py.
        options: dict. Further arguments of the function.
        form, precision: str. Options of `export`; empty for torchvision.
        model: str. The .keras file to export.
    """

    kind: str
    options: dict
    form: str = ""
    precision: str = "float32"
    model: str = "model.keras"


_TENSORFLOW = ("exported", {"runtime": "tensorflow"}, "tf_saved_model")
_ONNXRUNTIME = ("exported", {"runtime": "onnxruntime"}, "onnx")
_OPENVINO = ("exported", {"runtime": "openvino"}, "openvino")
_LITERT = ("litert", {}, "litert")
CANDIDATES = {
    "torchvision": Candidate("torchvision", {}),
    "torchvision_compiled": Candidate("torchvision", {"compiled": True}),
    "saved_model_float32": Candidate(*_TENSORFLOW),
    "saved_model_bfloat16": Candidate(*_TENSORFLOW, "bfloat16"),
    "faster_rcnn": Candidate(*_TENSORFLOW, model="boxes.keras"),
    "onnxruntime_float32": Candidate(*_ONNXRUNTIME),
    "onnxruntime_int8": Candidate(*_ONNXRUNTIME, "int8"),
    "openvino_float32": Candidate(*_OPENVINO),
    "openvino_bfloat16": Candidate(*_OPENVINO, "bfloat16"),
    "openvino_int8": Candidate(*_OPENVINO, "int8"),
    "litert_float32": Candidate(*_LITERT),
    "litert_int8": Candidate(*_LITERT, "int8"),
}
SUFFIX = {"tf_saved_model": "", "onnx": ".onnx", "openvino": ".xml", "litert": ".tflite"}
# The same limit for oneDNN (TensorFlow, OpenVINO, torch), OpenVINO, torch and MKL. With only one of
# the first two, OpenVINO 2026.4 refuses our models, or finds nothing.
AVX2 = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OV_CPU_MAX_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # as TensorFlow itself decides on a processor without AVX-512
}


class Unavailable(Exception):
    """Says why a candidate cannot run here."""


class Worker:
    """A candidate in a process of its own.

    Args:
        command: list of str. It runs deployment_worker.py.
        threads: int. The cores that the process may use.
        log: path of the file that gets what the process prints.
        env: dict. Its environment.

    Raises:
        Unavailable: here, and from `ask`, if the process ends.
    """

    def __init__(self, command, threads, log, env):
        self.log = log
        cores = sorted(os.sched_getaffinity(0))[:threads]
        if len(cores) < threads:
            raise Unavailable(f"there are only {len(cores)} cores")
        start = time.perf_counter()
        with open(log, "w") as file:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=env,
                preexec_fn=functools.partial(os.sched_setaffinity, 0, cores),
            )
        self.start = self._read() | {"wall": time.perf_counter() - start}

    def ask(self, image):
        """Sends the path of an image, and returns the answer."""
        with contextlib.suppress(BrokenPipeError):
            print(image, file=self.process.stdin, flush=True)
        return self._read()

    def stop(self):
        """Ends the process."""
        self.process.kill()
        self.process.communicate()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            self.stop()
            raise Unavailable(last_line(self.log.read_text()))
        return json.loads(line)


def environment(options, threads):
    """Returns the environment of a process that may use so many cores."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {
        **os.environ,
        **KEEP_MEMORY,
        **(AVX2 if options.isa else {}),
        **dict.fromkeys(names, str(threads)),
        "PYTHONPATH": str(ROOT),  # torch's environment does not have it, and does not use it
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TORCHINDUCTOR_CACHE_DIR": str(options.folder / "inductor"),
    }


def last_line(text):
    """Returns the last line that is not empty; Python's errors and ours are there."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no message")


def write_models(folder, height, width, model_file, detections):
    """Writes model.keras, boxes.keras and images with so many detections (see above)."""
    import keras
    import numpy as np
    from PIL import Image

    import keras_maskrcnn as mrcnn

    photos = folder.parent / "photos"
    if not photos.exists():
        photos.mkdir()
        for i in range(4):
            Image.fromarray(scene(height, width, i)[0]).save(photos / f"{i}.png")
    with Image.open(min(photos.iterdir())) as image:
        photo = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    sides = dict(image_min_side=min(height, width), image_max_side=max(height, width))
    if model_file:
        model = keras.models.load_model(model_file)
    elif (folder.parent / "model.pth").exists():
        model = mrcnn.MaskRCNN.from_preset("mask_rcnn_resnet50_fpn_torchvision", **sides)
        mrcnn.weights.load_torchvision(model, folder.parent / "model.pth", verbose=False)
    else:
        model = calibrated_model(photo, *sides.values())
    model = model.with_config(**sides, detections_per_image=SLOTS)
    boxes = mrcnn.MaskRCNN(dataclasses.replace(model.config, task="boxes"))
    boxes.copy_networks(model)
    threshold, images = find_images(boxes, photo, detections)
    for name, one in {"model": model, "boxes": boxes}.items():
        one.with_config(score_threshold=threshold).save(folder / f"{name}.keras")
    for count, image in images.items():
        np.save(folder / f"{count}.npy", image)
    with open(folder / "threshold.json", "w") as file:
        json.dump(threshold, file)


def find_images(model, photo, detections):
    """Finds images with given numbers of detections between gray and a photo, by bisection.

    Returns:
        (float, the score threshold; dict of each number to an image). Not every number can be
        found; its image then has a number near it.
    """
    import numpy as np

    def scores(image):
        return np.asarray(model.predict_on_batch(image[None])["scores"][0])

    most = scores(photo)
    threshold = model.config.score_threshold
    threshold = max(threshold, math.ceil(most.min() * 1000 - 1) / 1000)  # all scores are above
    images = {}
    for wanted in detections:
        low, high, image, count = 0.0, 1.0, photo, int(np.sum(most > threshold))
        for _ in range(14):
            if count == wanted:
                break
            contrast = (low + high) / 2
            image = np.uint8(np.round(128 + contrast * (photo.astype(np.float32) - 128)))
            count = int(np.sum(scores(image) > threshold))
            low, high = (contrast, high) if count < wanted else (low, contrast)
        images[wanted] = image
    return threshold, images


def version():
    """Returns a digest of the package, so that files of another one are exported again."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "keras_maskrcnn").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def exported_file(folder, name, candidate, reuse):
    """Exports a candidate, unless this version of the package (with `reuse`: any) has done it.

    Returns:
        (path of the model, dict with the cost of the export and the size of the file).

    Raises:
        Unavailable: if the export fails.
    """
    if candidate.kind == "torchvision":
        path = folder.parent / "model.pth"
        if not path.exists():
            raise Unavailable("it needs --peer_python, and no --model")
        return path, {"bytes": path.stat().st_size}
    path = folder / (name + SUFFIX[candidate.form])
    record = folder / f"{name}.json"
    cost = json.loads(record.read_text()) if record.exists() else {}
    if not path.exists() or not cost or (cost["version"] != version() and not reuse):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if candidate.form == "openvino":  # which keeps the weights beside the .xml file
            path.with_suffix(".bin").unlink(missing_ok=True)
        command = [sys.executable, "-m", "keras_maskrcnn", "export", "--quiet"]
        command += [f"--model={folder / candidate.model}", f"--output={path}"]
        command += [f"--format={candidate.form}"]
        if candidate.precision != "float32":
            command += [f"--precision={candidate.precision}"]
        if candidate.precision == "int8" and candidate.form != "litert":
            command += [f"--calibration={folder.parent / 'photos'}"]
        if candidate.form == "litert":
            command += [f"--image_size={folder.name}"]
        env = {**os.environ, **KEEP_MEMORY, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
        log = folder / f"{name}.export.log"
        start = time.perf_counter()
        with open(log, "w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, env=env)
            _, status, used = os.wait4(process.pid, 0)
        if status:
            raise Unavailable(f"export: {last_line(log.read_text())}")
        cost = {
            "wall": time.perf_counter() - start,
            "cpu": used.ru_utime + used.ru_stime,
            "peak_rss_mib": used.ru_maxrss >> 10,
            "bytes": sum(file.stat().st_size for file in _files(path)),
            "version": version(),
        }
        record.write_text(json.dumps(cost))
    return path, cost


def _files(path):
    """Returns the files of a folder, or a file with the .bin beside it."""
    if path.is_dir():
        return [file for file in path.rglob("*") if file.is_file()]
    return [file for file in (path, path.with_suffix(".bin")) if file.exists()]


def command_of(options, folder, name, path, threads):
    """Returns the command that runs a candidate."""
    candidate = CANDIDATES[name]
    given = {"kind": candidate.kind, "path": str(path), "threads": threads, **candidate.options}
    python = sys.executable
    if candidate.kind == "torchvision":
        python = options.peer_python
        height, width = map(int, folder.name.split("x"))
        given |= {"height": height, "width": width, "peerlab": options.peerlab}
        given["threshold"] = json.loads((folder / "threshold.json").read_text())
    return [python, str(WORKER), json.dumps(given)]


def export_all(options, folder):
    """Exports the candidates for one size.

    Returns:
        dict of name to (path, cost of the export), or to the reason why there is no file.
    """
    files = {}
    for name in options.candidates:
        try:
            files[name] = exported_file(folder, name, CANDIDATES[name], options.reuse)
        except Unavailable as reason:
            files[name] = str(reason)
    return files


def start_workers(options, folder, files, threads):
    """Starts the candidates, and sends them each image before the time counts.

    Returns:
        (dict of name to `Worker`; dict of name to the first part of its results, which is
        `unavailable`, the reason, for a candidate that does not run).
    """
    workers, results = {}, {}
    images = [folder / f"{count}.npy" for count in reversed(options.detections)]
    for name, file in files.items():
        if isinstance(file, str):
            results[name] = {"unavailable": file}
            continue
        try:
            command = command_of(options, folder, name, file[0], threads)
            log = folder / f"{name}.log"
            worker = Worker(command, threads, log, environment(options, threads))
            first = worker.ask(images[0])
            # A runtime may also prepare something for each number of detections.
            warm = [worker.ask(image) for image in images]
        except Unavailable as reason:
            results[name] = {"unavailable": str(reason)}
        else:
            workers[name] = worker
            results[name] = {"export": file[1], "start": worker.start, "first": first, "warm": warm}
    return workers, results


def measure(options, folder, files, threads, remaining):
    """Times the candidates on the images of a folder.

    Args:
        options: the arguments of the command.
        folder: path of the folder of one size.
        files: dict from `export_all`.
        threads: int. Cores to run on.
        remaining: float. Pixels per core of all later measurements together.

    Returns:
        list of dicts, one for each candidate and image.
    """
    before, counts = os.getloadavg()[0], options.detections
    workers, results = start_workers(options, folder, files, threads)
    seconds = sum(answer["wall"] for name in workers for answer in results[name]["warm"])
    seconds *= options.repeats
    pixels = math.prod(map(int, folder.name.split("x"))) / threads
    print(
        f"\n{folder.name}, {threads} threads: {seconds:.0f} s. "
        f"Later ones: about {seconds * remaining / pixels:.0f} s, without their starts.",
        flush=True,
    )
    answers = {(name, count): [] for count in counts for name in workers}
    try:
        for _ in range(options.repeats):
            for name, count in answers:
                answers[name, count].append(workers[name].ask(folder / f"{count}.npy"))
    finally:
        for worker in workers.values():
            worker.stop()
    fixed = {"size": folder.name, "threads": threads, "isa": options.isa}
    fixed["load"] = [before, os.getloadavg()[0]]
    return [
        {**fixed, "candidate": name, "wanted": count, **result, **summary(answers, name, count)}
        for name, result in results.items()
        for count in counts
    ]


def summary(answers, name, count):
    """Returns times, ratios to other candidates, peak memory and detections of one candidate."""
    found = answers.get((name, count))
    if not found:
        return {}
    row = {"detections": found[-1]["detections"], "peak_rss_mib": found[-1]["peak_rss_mib"]}
    for clock in ("cpu", "wall"):
        values = [one[clock] for one in found]
        row[clock] = {f.__name__: f(values) for f in (statistics.median, min, max)}
        for other in ("torchvision", "faster_rcnn"):
            others = [one[clock] for one in answers.get((other, count), ())]
            if others:  # of the same turns
                ratios = (a / b for a, b in zip(values, others, strict=True))
                row[f"{clock}/{other}"] = statistics.median(ratios)
    return row


def table(rows):
    """Returns a Markdown table of the results of one size and number of threads, and notes."""
    heads = ["candidate", "detections", "CPU s", "wall s", "CPU / torchvision"]
    heads += ["wall / torchvision", "peak MiB", "start s", "first call s", "MB"]
    lines, notes = [heads, ["---"] * len(heads)], {}
    for row in rows:
        name, first = row["candidate"], row["wanted"] == rows[0]["wanted"]
        if "unavailable" in row:
            notes[f"{name} is not available"] = [row["unavailable"]]
            continue
        cells = [name, str(row["detections"])]
        cells += ["{median:.2f} ({min:.2f}–{max:.2f})".format(**row[c]) for c in ("cpu", "wall")]
        ratios = (row.get(f"{clock}/torchvision") for clock in ("cpu", "wall"))
        cells += ["-" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        cells += [str(row["peak_rss_mib"]), f"{row['start']['wall']:.1f}"]
        cells += [f"{row['first']['wall']:.1f}", f"{row['export']['bytes'] / 1e6:.0f}"]
        lines.append(cells)
        if name == "saved_model_float32" and "cpu/faster_rcnn" in row:
            note = f"{row['cpu/faster_rcnn']:.2f} with {row['detections']} detections"
            notes.setdefault("CPU of saved_model_float32 / faster_rcnn", []).append(note)
        if first and "cpu" in row["export"]:
            note = "{cpu:.0f} CPU s, {peak_rss_mib} MiB".format(**row["export"])
            notes.setdefault("Exports", []).append(f"{name} {note}")
    text = ["\n".join(f"| {' | '.join(cells)} |" for cells in lines)]
    return "\n\n".join(text + [f"{title}: {'; '.join(all_)}" for title, all_ in notes.items()])


def options_of(arguments):
    """Reads the arguments of the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])

    def listed(name, default, what, convert=str):
        parser.add_argument(
            f"--{name}",
            type=lambda text: [convert(part) for part in text.split(",")],
            default=default,
            help=f"{what}; default: {','.join(map(str, default))}",
        )

    folder = "folder of images and exported models"
    parser.add_argument("--folder", type=pathlib.Path, required=True, help=folder)
    listed("candidates", list(CANDIDATES), "candidates to time")
    listed("sizes", ["800x1088", "512x512"], "sizes of images, HEIGHTxWIDTH")
    listed("threads", [1, 2], "numbers of cores to run on", int)
    listed("detections", [3, 20, 100], "numbers of detections in an image", int)
    parser.add_argument("--repeats", type=int, default=5, help="requests that count; default: 5")
    parser.add_argument("--model", help="a .keras file; default: maskrcnn_resnet50_fpn")
    parser.add_argument("--peer_python", help="a Python with torch and torchvision; default: none")
    peerlab = ROOT.parent / "shared" / "peerlab"
    parser.add_argument("--peerlab", default=str(peerlab), help="folder of peerlab's scripts")
    parser.add_argument("--isa", choices=["avx2"], help="instructions to use; default: all")
    only = "write images and models, and time nothing"
    parser.add_argument("--prepare", action="store_true", help=only)
    older = "take files that another version of the package exported"
    parser.add_argument("--reuse", action="store_true", help=older)
    parser.add_argument("--output", help="file to append JSON lines to")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.candidates) - set(CANDIDATES)):
        parser.error(f"--candidates must be of {', '.join(CANDIDATES)}. Received: {unknown}.")
    if options.peer_python and not (pathlib.Path(options.peerlab) / "common.py").exists():
        parser.error(f"--peerlab has no common.py. Received: {options.peerlab}.")
    options.folder = options.folder.resolve()
    return options


def prepare(options, sizes):
    """Writes the weights, models and images that --folder does not have yet."""
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.peer_python and not options.model and not (options.folder / "model.pth").exists():
        height, width = next(iter(sizes.values()))
        given = dict(folder=str(options.folder), height=height, width=width)
        given = json.dumps({"kind": "weights", "peerlab": options.peerlab, **given})
        subprocess.run([options.peer_python, WORKER, given], check=True)
    for size, (height, width) in sizes.items():
        folder = options.folder / size
        if not all((folder / f"{count}.npy").exists() for count in options.detections):
            folder.mkdir(exist_ok=True)
            # In another process, so that its memory and threads do not count here.
            process = multiprocessing.get_context("spawn").Process(
                target=write_models, args=(folder, height, width, options.model, options.detections)
            )
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"the models of {size} could not be written")


def main(arguments=None):
    """Prepares, and times each size on each number of cores."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from keras_maskrcnn.environment import machine

    options = options_of(arguments)
    sizes = {size: tuple(map(int, size.split("x"))) for size in options.sizes}
    prepare(options, sizes)
    files = {size: export_all(options, options.folder / size) for size in sizes}
    if options.prepare:
        return
    described = {"cpu": machine.cpu(), "memory": machine.memory(), "load": machine.load()}
    print(json.dumps(described), flush=True)
    runs = [(size, threads) for size in sizes for threads in options.threads]
    for i, (size, threads) in enumerate(runs):
        remaining = sum(math.prod(sizes[other]) / n for other, n in runs[i + 1 :])
        rows = measure(options, options.folder / size, files[size], threads, remaining)
        if options.output:
            with open(options.output, "a") as file:
                file.writelines(json.dumps({**row, "machine": described}) + "\n" for row in rows)
        print(table(rows), flush=True)


if __name__ == "__main__":
    main()
