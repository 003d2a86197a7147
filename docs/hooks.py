"""Adds pages to the site that are not files of docs/: the project's, and the help of the commands.

MkDocs calls the functions below (mkdocs.yml, `hooks`).
"""

import configparser
import contextlib
import io
import pathlib
import posixpath
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = {  # file of the repository -> page of the site
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CODE_OF_CONDUCT.md": "project/conduct.md",
    "benchmarks/RESULTS.md": "project/results.md",
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def project_url():
    """The address of the project: `url` in setup.cfg, the one place for it; "" until it has one."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser.get("metadata", "url", fallback="").strip().rstrip("/")


def on_config(config):
    """Links the site to the project, when that has an address."""
    config.repo_url = project_url() or None
    return config


def on_files(files, config):
    """Adds the pages that are made."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_site_links(text, source, page)))
        for picture in (ROOT / source).parent.glob("*.png"):
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

    def rewrite(found):
        picture, label, target, anchor = found.groups(default="")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if ":" in target or not (ROOT / path).exists():
            return found[0]
        if path.startswith("docs/"):
            path = path.removeprefix("docs/")
        elif path in PAGES:
            path = PAGES[path]
        elif picture:
            path = posixpath.join("project", posixpath.basename(path))
        else:
            url = project_url()
            return f"[{label}]({url}/blob/main/{path}{anchor})" if url else label
        path = posixpath.relpath(path, posixpath.dirname(page) or ".")
        return f"{picture}[{label}]({path}{anchor})"

    parts = re.split(r"(^```.*?^```)", text, flags=re.DOTALL | re.MULTILINE)  # code stays
    return "".join(p if p.startswith("```") else _LINK.sub(rewrite, p) for p in parts)
