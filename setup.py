"""The description on PyPI, README.md with links that lead somewhere from there; equal archives.

All other metadata is in setup.cfg. PyPI shows README.md without the files beside it. So relative
links get the project's address, `url` in setup.cfg. While that is empty, they become plain text.
docs/hooks.py rewrites the links of the site's pages with the same functions.

With SOURCE_DATE_EPOCH, a wheel and a source distribution have the same bytes in every clone of a
commit (docs/releasing.md). setuptools does this for wheels only, and only for one umask.
"""

import configparser
import gzip
import io
import os
import pathlib
import re
import tarfile
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parent


def project_url() -> str:
    """Returns `url` of setup.cfg without a slash at its end; "" if it is empty."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser.get("metadata", "url", fallback="").strip().rstrip("/")


def forge_address(url: str, path: str, picture: bool) -> str | None:
    """Returns the address of a file of the repository on its forge; None if `url` is ""."""
    return f"{url}/{'raw' if picture else 'blob'}/main/{path}" if url else None


def rewrite_links(text: str, place: Callable[[str, bool], str | None]) -> str:
    """Rewrites the relative links and pictures of a page; blocks of code stay as they are.

    Args:
        text: str, Markdown.
        place: function from a target without its anchor, and whether it is a picture, to the new
            target. With None a link becomes its text, and a picture is left out.

    Returns:
        str.
    """

    def rewrite(found: re.Match) -> str:
        picture, label, target, anchor = found.groups(default="")
        if ":" in target:
            return found[0]
        new = place(target, bool(picture))
        if new is None:
            return "" if picture else label
        return f"{picture}[{label}]({new}{anchor})"

    link = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
    parts = re.split(r"(^```.*?^```)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(p if p.startswith("```") else link.sub(rewrite, p) for p in parts)


def description(readme: str, url: str) -> str:
    """Returns a README for PyPI.

    Args:
        readme: str, Markdown.
        url: str, the address of the project on its forge; "" if there is none.
    """
    return rewrite_links(readme, lambda target, picture: forge_address(url, target, picture))


def links(url: str) -> dict[str, str]:
    """Returns the links in the side bar of PyPI; {} if `url` is ""."""
    if not url:
        return {}
    return {
        "Documentation": f"{url}#where-to-read-on",
        "Changelog": f"{url}/blob/main/CHANGELOG.md",
        "Issues": f"{url}/issues",
        "Source": url,
    }


def write_tar(path: str, folder: str, time: int) -> None:
    """Writes a folder as .tar.gz that depends on names and contents only.

    Args:
        path: str, the file to write.
        folder: str, the folder. Its name is the first part of all names.
        time: int, seconds since 1970, the time of all entries.
    """

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = time
        entry.mode = 0o755 if entry.isdir() else 0o644
        return entry

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(folder, filter=plain)  # sorted by name
    # Without a file name, which gzip would store otherwise.
    pathlib.Path(path).write_bytes(gzip.compress(content.getvalue(), mtime=time))


if __name__ == "__main__":
    from setuptools import setup
    from setuptools.command.sdist import sdist

    class SourceDistribution(sdist):
        """Packs the files as `write_tar` does, if SOURCE_DATE_EPOCH is set."""

        def make_archive(self, base_name, format, root_dir=None, base_dir=None, **options):
            time = os.environ.get("SOURCE_DATE_EPOCH")
            if not time or format != "gztar":
                return super().make_archive(base_name, format, root_dir, base_dir, **options)
            write_tar(f"{base_name}.tar.gz", base_dir, int(time))
            return f"{base_name}.tar.gz"

    os.umask(0o022)  # setuptools copies the files, and a wheel stores their modes
    setup(
        long_description=description((ROOT / "README.md").read_text("utf-8"), project_url()),
        long_description_content_type="text/markdown",
        project_urls=links(project_url()),
        cmdclass={"sdist": SourceDistribution},
    )
