"""The description on PyPI: README.md with links that lead somewhere from there.

All other metadata is in setup.cfg. PyPI shows README.md without the files beside it. So relative
links get the project's address, `url` in setup.cfg. While that is empty, they become plain text.
"""

import configparser
import pathlib
import re

from setuptools import setup

ROOT = pathlib.Path(__file__).resolve().parent


def project_url() -> str:
    """Returns `url` of setup.cfg without a slash at its end; "" if it is empty."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser.get("metadata", "url", fallback="").strip().rstrip("/")


def description(readme: str, url: str) -> str:
    """Rewrites the relative links and pictures of a README.

    Args:
        readme: str, Markdown.
        url: str, the address of the project on its forge; "" if there is none.

    Returns:
        str. Links to files become links to the forge, pictures are loaded from there. Without an
        address, links become their text and pictures are left out.
    """

    def rewrite(found: re.Match) -> str:
        picture, label, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        if not url:
            return "" if picture else label
        return f"{picture}[{label}]({url}/{'raw' if picture else 'blob'}/main/{target})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", rewrite, readme)


if __name__ == "__main__":
    setup(
        long_description=description((ROOT / "README.md").read_text("utf-8"), project_url()),
        long_description_content_type="text/markdown",
    )
