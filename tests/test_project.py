"""Files for people and forges: they parse, and agree with the package."""

import pathlib
import re
import subprocess

import pytest
import yaml
from packaging.version import Version

from keras_maskrcnn import __version__

ROOT = pathlib.Path(__file__).resolve().parents[1]
FORGE = ROOT / ".github"
WORKFLOWS = sorted((FORGE / "workflows").glob("*.yml"))
FORMS = sorted(p for p in (FORGE / "ISSUE_TEMPLATE").glob("*.yml") if p.stem != "config")
# What an issue form may hold, and what each needs.
ELEMENTS = {
    "markdown": {"value"},
    "textarea": {"label"},
    "input": {"label"},
    "dropdown": {"label", "options"},
    "checkboxes": {"label", "options"},
}
CATEGORIES = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def read(path):
    """A file's text."""
    return (ROOT / path).read_text(encoding="utf-8")


def read_yaml(path):
    """A YAML file with all values as text; a workflow's `on` would be True otherwise."""
    return yaml.load(read(path), Loader=yaml.BaseLoader)


def steps(workflow):
    """Yields all steps of a workflow, those of called workflows excepted."""
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


def test_all_workflows_are_here():
    assert [path.stem for path in WORKFLOWS] == ["docs", "publish", "tests", "versions", "wheel"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_asks_for_little_and_ends(path):
    workflow = read_yaml(path)
    assert workflow["name"] == path.stem and workflow["on"]
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"].startswith(path.stem)
    for name, job in workflow["jobs"].items():
        assert "uses" in job or int(job["timeout-minutes"]) <= 90, name
        assert name == "publish" or "permissions" not in job, name
        for needed in job.get("needs", []):
            assert needed in workflow["jobs"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_get_no_secret(path):
    used = [step["uses"] for step in steps(read_yaml(path)) if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", action), action
    assert "secrets." not in read(path) and "password" not in read(path)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_shell_in_a_workflow_has_no_expression(path):
    """The text of an expression becomes a part of the program, a branch's name for instance."""
    for step in steps(read_yaml(path)):
        assert "${{" not in step.get("run", "")


def test_the_tests_run_as_readme_says_on_the_pythons_of_setup_cfg(metadata):
    workflow = read_yaml(".github/workflows/tests.yml")
    command = next(line.strip() for line in read("README.md").splitlines() if '".[dev]"' in line)
    assert command in [step.get("run") for step in steps(workflow)]
    named = re.findall(r"Python :: (3\.\d+)", metadata["metadata"]["classifiers"])
    tested = workflow["jobs"]["tests"]["strategy"]["matrix"]["python-version"]
    assert named == tested
    assert metadata["options"]["python_requires"] == f">={tested[0]}"


def test_extras_that_workflows_install_exist(metadata):
    named = {
        extra
        for path in WORKFLOWS
        for step in steps(read_yaml(path))
        for extra in re.findall(r'"\.\[(\w+)\]"', step.get("run", ""))
    }
    assert "dev" in named and named <= set(metadata["options.extras_require"])


def test_a_tag_publishes_what_was_tested_and_built():
    workflow = read_yaml(".github/workflows/publish.yml")
    publish = workflow["jobs"]["publish"]
    assert workflow["on"] == {"push": {"tags": ["v*"]}}
    assert publish["needs"] == ["tests", "build"] and publish["environment"] == "pypi"
    assert publish["permissions"] == {"id-token": "write"}  # trusted publishing: no token
    assert publish["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert "workflow_call" in read_yaml(".github/workflows/tests.yml")["on"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_form_is_complete(path):
    form = read_yaml(path)
    assert {"name", "description", "body"} <= set(form) <= {"name", "description", "body", "labels"}
    names = [element["id"] for element in form["body"] if element["type"] != "markdown"]
    assert names and len(set(names)) == len(names)
    for element in form["body"]:
        assert ELEMENTS[element["type"]] <= set(element["attributes"])
        assert set(element) <= {"type", "id", "attributes", "validations"}
    assert any(e.get("validations", {}).get("required") == "true" for e in form["body"])


@pytest.fixture
def releases():
    """The releases in CHANGELOG.md: dict of version to date, newest first."""
    found = re.findall(r"^## (?!Unreleased$)(.*)$", read("CHANGELOG.md"), re.MULTILINE)
    parts = [re.fullmatch(r"(\d+\.\d+\.\d+) - (\d{4}-\d{2}-\d{2})", line) for line in found]
    return {part[1]: part[2] for part in parts}


def test_citation_is_of_the_newest_release(releases):
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["authors"] and citation["message"] and citation["title"] == "keras_maskrcnn"
    assert [work["title"] for work in citation["references"]] == ["Mask R-CNN"]
    assert (citation["version"], citation["date-released"]) == next(iter(releases.items()))


def test_the_changelog_is_in_order(releases):
    dated = [(Version(version), date) for version, date in releases.items()]
    assert dated == sorted(dated, reverse=True)
    for part in re.split(r"^## ", read("CHANGELOG.md"), flags=re.MULTILINE)[1:]:
        found = re.findall(r"^### (.*)$", part, re.MULTILINE)
        assert found == [name for name in CATEGORIES if name in found]


def test_the_version_is_the_newest_release_or_a_development_version_after_it(releases):
    version, newest = Version(__version__), Version(next(iter(releases)))
    assert str(version) == __version__  # as in the names of the files that a release uploads
    if "\n## Unreleased\n" in read("CHANGELOG.md"):
        assert version.is_devrelease and version > newest
    else:
        assert version == newest


def test_every_tag_of_a_version_is_a_release_of_the_changelog(releases):
    listed = subprocess.run(["git", "tag", "-l", "v*"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a clone")
    assert {tag.removeprefix("v") for tag in listed.stdout.split()} <= set(releases)


def test_the_table_of_extras_is_that_of_setup_cfg(requirements):
    """docs/first_steps.md says of each extra what it installs."""
    rows = re.findall(r"^\| `([\w-]+)` \| (.+?) \|", read("docs/first_steps.md"), re.MULTILINE)
    table = {extra: set(re.findall(r"`([^`]+)`", packages)) for extra, packages in rows}
    extras = {name: {one.name for one in listed} for name, listed in requirements.items() if name}
    assert {name: table.get(name) for name in extras} == extras


def test_every_pip_install_names_this_project_and_its_extras(metadata):
    """On PyPI, keras-maskrcnn is another project."""
    extras = set(metadata["options.extras_require"])
    found = set()
    for folder in ("docs", "examples", "keras_maskrcnn", "."):
        for path in (ROOT / folder).glob("*" if folder == "." else "**/*"):
            if path.suffix in (".md", ".py", ".ipynb"):
                text = read(path)
                for names in re.findall(r"pip install [^`\n]*?(?:\.|maskrcnn)\[([\w,-]+)\]", text):
                    found |= set(names.split(","))
                wrong = re.search(r"pip install [^`\n]*\bkeras[-_]maskrcnn(?![\w.])", text)
                assert not wrong, (path, wrong)
    assert {"beam", "dev", "docs", "onnx", "serving", "weights"} <= found <= extras


def test_images_of_containers_have_a_version():
    """An image without a tag, or `latest`, is another program tomorrow."""
    files = [path for folder in ("docs", "examples") for path in (ROOT / folder).rglob("*")]
    begin = r"^(?:FROM|docker (?:run|pull)|image:) "
    found = []
    for path in [ROOT / "README.md", *files]:
        if path.suffix in (".md", ".yml", ".yaml", "") and path.is_file():
            found += re.findall(begin + r"(?:.*\\\n)*.*", read(path), re.MULTILINE)
    assert found
    for command in found:
        assert re.search(r" [\w.-]+/[\w./-]+:\d+\.\d+(\.\d+)?\b", command), command


def test_only_setup_cfg_has_the_projects_address(metadata):
    """It is filled in there alone, and nobody has to look for others."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a clone")
    address = metadata["metadata"].get("url", "").strip().rstrip("/")
    host = re.compile(r"https?://(www\.)?(github|gitlab|codeberg)\.\w+/[\w.-]+/keras[\w-]*rcnn\b")
    for name in listed.stdout.split():
        path = ROOT / name
        if name != "setup.cfg" and path.suffix in (".md", ".py", ".yml", ".toml", ".cff", ".ipynb"):
            text = path.read_text(encoding="utf-8")
            assert not address or address not in text, name
            assert not host.search(text), name


def test_pytest_can_tell_test_files_of_one_name_apart():
    # It imports a file by its name alone where the folder is no package, from one folder only.
    places = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        package = (path.parent / "__init__.py").exists()
        places.setdefault(path.name, []).append(package)
    assert [name for name, packages in places.items() if packages.count(False) > 1] == []
