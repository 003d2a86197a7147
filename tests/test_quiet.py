import json
import os
import re
import select
import subprocess
import sys

import numpy as np
import pytest
from outside import IMPORTED_FROM
from PIL import Image

from keras_maskrcnn import quiet

NOTICES = [  # of TensorFlow 2.21 and 2.20
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1796023978.323233    8989 port.cc:153] oneDNN custom operations are on. You may",
    "I0000 00:00:1796023978.326797    8989 cudart_stub.cc:31] Could not find cuda drivers on your",
    "2026-11-30 07:39:29.477518: I external/local_xla/xla/tsl/cuda/cudart_stub.cc:31] Could not",
    "2026-11-30 07:39:29.542846: I tensorflow/core/platform/cpu_feature_guard.cc:210] This Tenso",
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow with "
    "the appropriate compiler flags.",
    "E0000 00:00:1796023984.031149    8989 cuda_platform.cc:52] failed call to cuInit: INTERNAL: "
    "CUDA error: Failed call to cuInit: UNKNOWN ERROR (303)",
    "E0000 00:00:1796024061.355740    8989 util.cc:131] oneDNN supports DT_INT32 only on platforms "
    "with AVX-512. Falling back",
    "W0000 00:00:1796026950.027970    7147 loop_optimizer.cc:934] Skipping loop optimization for "
    "Merge node with control input: cond/branch_executed/_8",
    "2026-11-30 07:39:29.47: E external/local_xla/xla/cuda_fft.cc:477] Unable to register cuFFT "
    "factory: Attempting to register",
]
MESSAGES = [
    "WARNING:tensorflow:5 out of the last 5 calls triggered tf.function retracing.",
    "W0000 00:00:1796024051.163689    8989 cpu_allocator_impl.cc:84] Allocation exceeds 10%",
    "2026-11-30 07:39:29.47: E external/cuda_platform.cc:51] failed call to cuInit: INTERNAL: "
    "CUDA error: Failed call to cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)",
    "keras-maskrcnn train: I0000 00:00:17 8989 a.cc:1] is not the start of this line",
    "F0000 00:00:1796024061.355740    8989 cpu_feature_guard.cc:1] needs AVX instructions",
    "",
]
WITHOUT_SETTINGS = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
PROGRAM = f"""
import os, runpy, subprocess, sys, warnings
runpy.run_path({quiet.__file__!r})["hide_notices"]()
"""


def run(program, **environment):
    """Runs a program; returns its status, and what it wrote to stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**WITHOUT_SETTINGS, "PYTHONPATH": str(IMPORTED_FROM), **environment},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


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


def test_notices_are_hidden_and_all_else_shows_in_order():
    lines = [line for pair in zip(MESSAGES, NOTICES, strict=False) for line in pair]
    text = "\n".join([*lines, *NOTICES[len(MESSAGES) :], "no end of line"])
    done = run(f"{PROGRAM}os.write(2, {text.encode()!r})")
    assert done == (0, "", "\n".join([*MESSAGES, "no end of line"]))


def test_a_user_can_ask_for_the_notices():
    text = "\n".join(NOTICES)
    done = run(f"{PROGRAM}os.write(2, {text.encode()!r})", TF_CPP_MIN_LOG_LEVEL="0")
    assert done == (0, "", text)


def test_a_line_that_comes_in_parts_is_not_held_back():
    """Progress bars write no ends of lines; the second part is no line of its own."""
    part = "I0000 00:00:1796023978.3 89 port.cc:153] rest"
    program = f"{PROGRAM}import time\nos.write(2, b'10 %')\ntime.sleep(0.5)\nos.write(2, b{part!r})"
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
        first = os.read(process.stderr.fileno(), 100)
        assert process.poll() is None
        assert (first, process.stderr.read()) == (b"10 %", part.encode())


def test_a_bar_that_never_rests_is_not_held_back():
    program = f"{PROGRAM}import time\nwhile not time.sleep(0.01): os.write(2, b'\\r10 %')"
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
        assert select.select([process.stderr], [], [], 20)[0]
        process.kill()


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("os.abort()", -6),
        ("os._exit(3)", 3),
        ("os.kill(os.getpid(), 9)", -9),
        ("import ctypes; ctypes.string_at(0)", -11),
        ("os.killpg(os.getpgid(0), 15)", -15),
    ],
)
def test_the_last_words_of_a_process_that_dies_show(end, status):
    process = subprocess.run(
        [sys.executable, "-c", f"{PROGRAM}os.write(2, b'last words')\n{end}"],
        capture_output=True,
        start_new_session=True,
    )
    assert (process.returncode, process.stderr) == (status, b"last words")


def test_exceptions_warnings_and_programs_that_are_started_still_write():
    program = f"{PROGRAM}subprocess.run(['sh', '-c', 'echo started >&2; echo output'])\n"
    status, output, errors = run(program + "warnings.warn('ours')\nraise ValueError('no')")
    assert (status, output) == (1, "output\n")
    assert errors.startswith("started\n") and "UserWarning: ours" in errors
    assert errors.endswith("ValueError: no\n")


def test_exit_waits_for_the_lines_but_not_for_programs_that_go_on(tmp_path):
    with open(tmp_path / "errors", "w+") as file:
        program = f"{PROGRAM}subprocess.Popen(['sleep', '30'])\nsys.exit('last words')"
        started = subprocess.Popen([sys.executable, "-c", program], stderr=file)
        assert started.wait(timeout=20) == 1
        assert (tmp_path / "errors").read_text() == "last words\n"


@pytest.mark.parametrize("closed", [[0], [1], [0, 1]])
def test_messages_show_where_stdin_or_stdout_is_closed(closed):
    """Then the pipe and the copy of stderr get their numbers."""
    process = subprocess.run(
        [sys.executable, "-c", f"{PROGRAM}sys.exit('last words')"],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: [os.close(descriptor) for descriptor in closed],
        text=True,
    )
    assert (process.returncode, process.stderr) == (1, "last words\n")


def test_errors_of_tensorflow_show_and_its_notices_do_not():
    program = "import tensorflow as tf\ntf.config.list_physical_devices()\n"
    status, _, errors = run(f"{PROGRAM}{program}tf.raw_ops.Add(x=tf.ones(2), y=tf.ones(3))")
    assert status == 1 and "InvalidArgumentError" in errors.splitlines()[-1]
    assert not re.search("oneDNN|cuInit|CPU instructions|absl::InitializeLog", errors)


def test_import_of_the_package_changes_neither_environment_nor_logging_nor_stderr():
    state = (
        "state = lambda: (dict(os.environ), logging.root.level, logging.root.handlers[:], "
        "logging.root.filters[:], logging.getLogger('keras_maskrcnn').level, warnings.filters[:], "
        "os.stat(2).st_ino, signal.getsignal(2))\n"
    )
    # What TensorFlow and other libraries do at their import is not ours.
    libraries = "import keras, tensorflow, tensorflow_datasets, absl.logging, PIL.Image\n"
    program = f"import logging, os, signal, warnings\n{libraries}{state}before = state()\n"
    program += "import keras_maskrcnn\nassert state() == before, (state(), before)"
    status, _, errors = run(program)
    assert status == 0, errors


@pytest.mark.parametrize("flags", [["--help"], ["train", "--help"], ["--version"]])
def test_help_writes_nothing_to_stderr(flags):
    command = [sys.executable, "-m", "keras_maskrcnn", *flags]
    done = subprocess.run(command, env=WITHOUT_SETTINGS, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "keras-maskrcnn" in done.stdout


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
