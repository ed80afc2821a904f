"""Write the repository's address into badges and set-up cells: ``make colab REPO=owner/name``."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from dfa_lib.errors import DataError, command

ROOT = Path(__file__).resolve().parent.parent
OWNER_AND_NAME = r"[\w.-]+/[\w.-]+"
ADDRESS = re.compile(
    rf"(github(?:\.com)?/|codespaces\.new/)(?:REPO|{OWNER_AND_NAME})"
    r"(/blob/main/notebooks/|@main|/actions/workflows/|\?quickstart)"
)


def address(pages: Iterable[Path], repository: str) -> int:
    """Point every badge and set-up cell of ``pages`` at ``repository``; count those changed.

    Raises DataError unless it is of the form owner/name.
    """
    if not re.fullmatch(OWNER_AND_NAME, repository):
        raise DataError(f"REPO={repository}: give the repository on GitHub as owner/name")
    changed = 0
    for page in pages:
        text, count = ADDRESS.subn(rf"\g<1>{repository}\g<2>", page.read_text(encoding="utf-8"))
        page.write_text(text, encoding="utf-8")
        changed += count
    return changed


def main() -> int:
    """Run the command line and return its exit status."""
    return command("tools.colab", _point)


def _point() -> None:
    repository = sys.argv[1] if len(sys.argv) == 2 else ""
    pages = [ROOT / "README.md", ROOT / "examples" / "space" / "requirements.txt"]
    changed = address([*pages, *sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))], repository)
    print(f"{changed} badges and set-up cells now say {repository}; commit and push them")


if __name__ == "__main__":
    sys.exit(main())
