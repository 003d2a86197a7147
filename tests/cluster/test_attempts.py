import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from keras_maskrcnn.cluster import attempts

FAILING = "threading.Thread(name={!r}, target=lambda: 1 / 0).start()"
ROOT = pathlib.Path(__file__).parents[2]


def count_and(path, body):
    """A command that adds a line to a file, and then runs `body` with the number of lines."""
    program = f"import os, signal, sys\nopen({str(path)!r}, 'a').write('x\\n')\n"
    program += f"n = len(open({str(path)!r}).readlines())\n{body}"
    return [sys.executable, "-S", "-c", program]


@pytest.mark.parametrize(
    ("body", "status", "runs"),
    [
        ("", 0, 1),
        ("sys.exit(3)", 3, 1),
        ("sys.exit(75 if n < 3 else 0)", 0, 3),
        ("os.kill(os.getpid(), signal.SIGKILL) if n < 2 else None", 0, 2),
        ("sys.exit(75)", 75, 4),
        ("os.kill(os.getpid(), signal.SIGKILL)", 128 + 9, 4),
    ],
)
def test_only_what_a_repetition_may_mend_is_repeated(tmp_path, body, status, runs):
    path = tmp_path / "runs"
    assert attempts.run(count_and(path, body), 4) == status
    assert len(path.read_text().splitlines()) == runs


def test_processes_of_an_attempt_end_with_it(tmp_path):
    path = tmp_path / "pid"
    body = "import subprocess\nchild = subprocess.Popen(['sleep', '60'])\n"
    body += f"open({str(path)!r}, 'w').write(str(child.pid))"
    assert attempts.run(count_and(tmp_path / "runs", body), 1) == 0
    assert_ends(int(path.read_text()))


def assert_ends(pid):
    """Waits until a process that was killed has ended; one that sleeps would take a minute."""
    until = time.monotonic() + 20
    while alive(pid):
        assert time.monotonic() < until
        time.sleep(0.01)


def alive(pid):
    """Whether a process runs; one that has ended may not be collected yet."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_less_than_one_attempt_is_refused():
    with pytest.raises(ValueError, match="at least 1. Received: attempts=0"):
        attempts.run(["true"], 0)


def repeat(tmp_path, job, **options):
    """Runs a program that repeats a job; returns it when it has ended."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys, threading, time\nfrom keras_maskrcnn.cluster import attempts\n"
        f"def job():\n    print('attempt', flush=True)\n{textwrap.indent(job, '    ')}\n"
        "sys.exit(attempts.repeated(job, 2))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, program], env=environment, capture_output=True, text=True, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "status", "runs", "told"),
    [
        ("return", 0, 1, ""),
        ("raise ValueError('input must\\nbe a folder')", 1, 1, "input must be a folder\n"),
        ("raise RuntimeError('no quota')", 75, 2, "no quota"),
        (f"{FAILING.format('run_worker')}; time.sleep(60)", 75, 2, "division by"),
        (f"{FAILING.format('another')}; time.sleep(0.1)", 0, 1, "division by"),
    ],
)
def test_a_job_is_repeated_after_errors_of_the_runner_only(tmp_path, job, status, runs, told):
    done = repeat(tmp_path, job)
    assert done.returncode == status and done.stdout.count("attempt") == runs
    assert told in done.stderr and "Traceback" not in done.stderr


def test_a_terminated_program_takes_its_attempt_with_it(tmp_path):
    path = tmp_path / "pid"
    body = f"open({str(path)!r}, 'w').write(str(os.getpid()))\nsignal.pause()"
    command = count_and(tmp_path / "runs", body)
    program = f"from keras_maskrcnn.cluster import attempts\nattempts.run({command!r}, 3)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    while not path.exists() or not path.read_text():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    assert_ends(int(path.read_text()))
