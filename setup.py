"""The description on PyPI: README.md with links that lead somewhere from there.

All other metadata is in setup.cfg. PyPI shows README.md without the files beside it. So relative
links get the project's address, `url` in setup.cfg. While that is empty, they become plain text.
docs/hooks.py rewrites the links of the site's pages with the same functions.
"""

import configparser
import pathlib
import re
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


if __name__ == "__main__":
    from setuptools import setup

    setup(
        long_description=description((ROOT / "README.md").read_text("utf-8"), project_url()),
        long_description_content_type="text/markdown",
    )
