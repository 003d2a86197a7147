import os
import pathlib
import re
import subprocess
import sys

import pytest
from outside import IMPORTED_FROM

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_user_of_the_main_job_sees_our_lines(tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "main_job.py", f"--output={tmp_path / 'shapes_demo'}"]
        + ["--epochs=2", "--train=8", "--val=4"],
        env={**environment, "PYTHONPATH": str(IMPORTED_FROM)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) <= 10, done.stderr
    assert re.search(r"^training: about \d+ (s|min) left$", done.stdout, re.MULTILINE)
    assert "on 4 unseen images" in done.stdout.splitlines()[-1]
