"""Runs `predict_large` and SAHI in turn on one drawing, with the same weights, and compares them.

    python benchmarks/to_torchvision.py --model=DIR/shapes.keras --output=DIR/weights.npz
    python benchmarks/tiles_beside_sahi.py --folder=DIR --mosaic=DIR/small.tif \\
        --torch_python=TORCH_PYTHON

DIR has the model of tiles_model.py and the weights. TORCH_PYTHON is a Python with torch,
torchvision, sahi and psutil (peerlab's README.md says how to install the first two). Each candidate
runs in a process of its own, --rounds times. Tiles, overlap, limits and thresholds are the same for
all. It prints a Markdown table; seconds are medians, and memory is what the process needs above
that of the model after one tile.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from instance_scores import Instances, compare
from speed import KEEP_MEMORY

# Beside other jobs, the threads of torch would use up CPU time while they wait for each other.
PASSIVE = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
HERE = pathlib.Path(__file__).parent
FATES = ("once", "doubled", "cut", "other class", "missed")
MORE = ("of other classes", "on no object")
SAHI = {  # settings of get_sliced_prediction, and further flags of tiles_sahi.py
    "SAHI, its defaults": ({}, []),
    "SAHI, NMS by IoU": (
        {"postprocess_type": "NMS", "postprocess_match_metric": "IOU"},
        ["--no_grad"],
    ),
    "SAHI, NMS by IoS": (
        {"postprocess_type": "NMS", "perform_standard_pred": False},
        ["--no_grad"],
    ),
    "SAHI, GREEDYNMM by IoS, tiles only": ({"perform_standard_pred": False}, ["--no_grad"]),
    "SAHI, NMM by IoS, tiles only": (
        {"postprocess_type": "NMM", "perform_standard_pred": False},
        ["--no_grad"],
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--mosaic", type=pathlib.Path, required=True)
    parser.add_argument("--torch_python", required=True)
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--overlap", type=int, default=128)
    parser.add_argument("--score", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--limit_gib", type=float, default=8, help="memory of SAHI's process")
    parser.add_argument("--only", default="", help="run candidates whose name has this in it")
    parser.add_argument("--output", help="file to append the results to, lines of json")
    args = parser.parse_args()
    common = [f"--{name}={getattr(args, name)}" for name in ("mosaic", "tile", "overlap", "score")]
    ours = [sys.executable, HERE / "tiles.py", f"--model={args.folder / 'shapes.keras'}"]
    commands = {"keras_maskrcnn": [*ours, *common, "--part=0"]}
    sahi = [args.torch_python, HERE / "tiles_sahi.py", f"--weights={args.folder / 'weights.npz'}"]
    for name, (settings, flags) in SAHI.items():
        own = [f"--settings={json.dumps(settings)}", f"--limit_gib={args.limit_gib}", *flags]
        commands[name] = [*sahi, *common, *own]
    commands = {name: command for name, command in commands.items() if args.only in name}
    results = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.rounds):
            for name, command in commands.items():
                result = run(name, command, f"{folder}/found.npz", args)
                results[name].append(result)
                print(json.dumps(result), flush=True)
                if args.output:
                    with open(args.output, "a") as file:
                        print(json.dumps({**vars(args), **result}, default=str), file=file)
    print_table(results)


def run(name, command, path, args):
    """Runs one candidate; returns a dict of its costs and counts, or of its `error`."""
    command = [*command, f"--found={path}"]
    pathlib.Path(path).unlink(missing_ok=True)
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **KEEP_MEMORY, **PASSIVE},
        text=True,
        capture_output=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        return {"name": name, "error": lines[-1]}
    cost = json.loads(done.stdout.strip().splitlines()[-1])
    reference = Instances.load(args.mosaic.with_suffix(".reference1024.npz"))
    found = Instances.load(path)
    fates, unknown, others = compare(reference.above(args.score), found)
    counts = {fate: fates.count(fate) for fate in FATES}
    counts |= {"of other classes": sum(others), "on no object": len(unknown)}
    return {"name": name, **cost, "objects": len(fates), **counts}


def print_table(results):
    """Prints a Markdown table."""
    heads = ("", *FATES, *MORE, "wall s", "CPU s", "MiB above the model")
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for name, runs in results.items():
        if any("error" in one for one in runs):
            row = [name, runs[0].get("error", "failed in one of the rounds")]
        else:
            last = runs[-1]
            median = {k: statistics.median(one[k] for one in runs) for k in ("wall", "cpu")}
            memory = max(one["peak"] - one["base"] for one in runs)
            row = [name, *(last[count] for count in (*FATES, *MORE))]
            row += [f"{median['wall']:.0f}", f"{median['cpu']:.0f}", f"{memory:.0f}"]
        print("| " + " | ".join(map(str, row)) + " |")


if __name__ == "__main__":
    main()
