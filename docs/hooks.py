"""Adds pages to the site that are not files of docs/: the project's, and the help of the commands.

MkDocs calls the functions below (mkdocs.yml, `hooks`).
"""

import contextlib
import io
import pathlib
import posixpath
import re
import runpy

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = {  # file of the repository -> page of the site
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CODE_OF_CONDUCT.md": "project/conduct.md",
    "THIRD_PARTY_NOTICES.md": "project/notices.md",
    "benchmarks/RESULTS.md": "project/results.md",
}
SETUP = runpy.run_path(str(ROOT / "setup.py"))  # the project's address, and how links are rewritten


def on_config(config):
    """Links the site to the project, when that has an address."""
    config.repo_url = SETUP["project_url"]() or None
    return config


def on_files(files, config):
    """Adds the pages that are made."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_site_links(text, source, page)))
    for picture in (ROOT / "benchmarks").glob("*.png"):  # those of RESULTS.md
        path = posixpath.join("project", picture.name)
        files.append(File.generated(config, path, abs_src_path=str(picture)))
    files.append(File.generated(config, "reference/cli.md", content=commands()))
    return files


def on_page_markdown(markdown, page, **_):
    """Turns links to files of the repository that are no pages into links to the project."""
    path = page.file.src_uri
    return markdown if path in PAGES.values() else _site_links(markdown, f"docs/{path}", path)


def on_page_content(html, page, **_):
    """Makes links of the pages that docstrings name, such as docs/training.md."""
    if not page.file.src_uri.startswith("reference/"):
        return html
    return re.sub(r"\bdocs/(\w+)\.md", r'<a href="../../\1/">\g<0></a>', html)


def commands():
    """The page of the commands: what each prints with --help."""
    from keras_maskrcnn import cli

    def printed(*arguments):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            cli.run(arguments)
        return f"```text\n{output.getvalue().rstrip()}\n```"

    parts = ["# Commands", printed("--help")]
    for name in cli.COMMANDS:
        parts += [f"## {name}", printed(name, "--help")]
    return "\n\n".join(parts)


def _site_links(text, source, page):
    """Rewrites the relative links of a file of the repository for its page of the site.

    Args:
        text: str, Markdown.
        source: str, path of the file in the repository.
        page: str, path of the page in the site.
    """

    url = SETUP["project_url"]()

    def place(target, picture):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if not (ROOT / path).exists():
            return target  # a page that is made; the strict build refuses others
        if path.startswith("docs/"):
            path = path.removeprefix("docs/")
        elif path in PAGES:
            path = PAGES[path]
        elif picture:
            path = posixpath.join("project", posixpath.basename(path))
        else:
            return SETUP["forge_address"](url, path, picture)
        return posixpath.relpath(path, posixpath.dirname(page) or ".")

    return SETUP["rewrite_links"](text, place)
