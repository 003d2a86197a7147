"""The package and the notebook in an environment with the versions of Colab.

`nox -s colab -- -m slow tests/test_colab.py` runs them with Colab's Python, too.
"""

import json
import pathlib
import resource
import runpy
import shutil
import sys

import pytest
from notebook_data import via
from outside import copy_tree, run
from packaging.utils import canonicalize_name

pytestmark = [pytest.mark.slow, pytest.mark.network]
ROOT = pathlib.Path(__file__).resolve().parents[1]
SHAPES = runpy.run_path(str(ROOT / "examples" / "shapes.py"))
RUN = """
import nbclient, nbformat
notebook = nbformat.read("notebook.ipynb", 4)
try:
    nbclient.NotebookClient(notebook, timeout=1800).execute()
finally:
    nbformat.write(notebook, "executed.ipynb")
"""


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    """The Python of an environment with Colab's versions."""
    folder = tmp_path_factory.mktemp("colab")
    run(sys.executable, "-m", "venv", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "-r", ROOT / "tests" / "pins" / "colab.txt")
    return python


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The repository as a forge gives it to download: a zip with one folder."""
    folder = tmp_path_factory.mktemp("repository")
    copy_tree(folder / "zip" / "keras_maskrcnn-main")
    return shutil.make_archive(folder / "keras_maskrcnn", "zip", folder / "zip")


def test_installing_changes_nothing_that_colab_has(colab, archive):
    listed = json.loads(run(colab, "-m", "pip", "list", "--format=json"))
    before = {canonicalize_name(package["name"]) for package in listed}
    report = run(colab, "-m", "pip", "install", "-q", "--dry-run", "--report=-", archive)
    packages = [package["metadata"] for package in json.loads(report)["install"]]
    added = {canonicalize_name(package["name"]) for package in packages}
    assert "tensorflow" in before and not added & before
    assert added == {"keras3-maskrcnn", "importlib-resources"}


def test_notebook_runs_from_its_first_cell_to_its_last(colab, archive, tmp_path):
    """Only what comes from the network is replaced: the images and the weights."""
    SHAPES["make_shapes"](tmp_path / "made", train=61, val=13, size=512)
    for part in ("train", "val"):
        shutil.move(tmp_path / "made" / part, tmp_path / "balloon" / part)
        content = json.loads((tmp_path / "made" / "annotations" / f"{part}.json").read_text())
        path = tmp_path / "balloon" / part / "via_region_data.json"
        path.write_text(json.dumps(via(content)))
    shutil.copy(archive, tmp_path)
    run(colab, "-m", "pip", "install", "-q", "nbclient", "ipykernel")

    notebook = json.loads((ROOT / "examples" / "finetune_colab.ipynb").read_text("utf-8"))
    for cell in notebook["cells"]:
        tags = set(cell["metadata"].get("tags", ()))
        if "colab" in tags:  # the page of TensorBoard
            cell["source"] = []
        elif "download" in tags and "pip install" not in "".join(cell["source"]):
            cell["source"] = ["WEIGHTS = None  # random, of the same size"]
    (tmp_path / "notebook.ipynb").write_text(json.dumps(notebook))

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(colab, "-c", RUN, cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    minutes = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60
    print(f"{minutes:.1f} CPU minutes")
    assert minutes <= 10

    executed = json.loads((tmp_path / "executed.ipynb").read_text())
    outputs = [out for cell in executed["cells"] for out in cell.get("outputs", ())]
    stderr = "".join("".join(out["text"]) for out in outputs if out.get("name") == "stderr")
    assert stderr.count("\n") <= 10, stderr
    assert "segm/AP50" in "".join("".join(out.get("text", "")) for out in outputs)
    assert (tmp_path / "finetuned" / "model.keras").exists()
    assert (tmp_path / "finetuned" / "served" / "1" / "saved_model.pb").exists()
