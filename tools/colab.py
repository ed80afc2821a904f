"""Write the repository's address into badges and set-up cells: ``make colab REPO=owner/name``."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

LESSONS = Path(__file__).resolve().parent.parent / "notebooks"
OWNER_AND_NAME = r"[\w.-]+/[\w.-]+"
ADDRESS = re.compile(rf"(github(?:\.com)?/)(?:REPO|{OWNER_AND_NAME})(/blob/main/notebooks/|@main)")


def address(notebooks: Iterable[Path], repository: str) -> int:
    """Point every badge and set-up cell at ``repository``; return how many were changed.

    Raises ValueError, in one line, unless it is of the form owner/name.
    """
    if not re.fullmatch(OWNER_AND_NAME, repository):
        raise ValueError(f"REPO={repository}: give the repository on GitHub as owner/name")
    changed = 0
    for notebook in notebooks:
        text, count = ADDRESS.subn(rf"\g<1>{repository}\g<2>", notebook.read_text(encoding="utf-8"))
        notebook.write_text(text, encoding="utf-8")
        changed += count
    return changed


def main() -> int:
    """Run the command line and return its exit status."""
    repository = sys.argv[1] if len(sys.argv) == 2 else ""
    try:
        changed = address(sorted(LESSONS.glob("[0-9]*.ipynb")), repository)
    except ValueError as error:
        print(f"tools.colab: {error}", file=sys.stderr)
        return 2
    print(f"{changed} badges and set-up cells now say {repository}; commit and push the notebooks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
