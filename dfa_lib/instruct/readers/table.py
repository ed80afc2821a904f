"""A table of one's own, one picture a row."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath

from dfa_lib.findings import findings
from dfa_lib.instruct.readers.links import linked
from dfa_lib.instruct.readers.words import WORDS, method
from dfa_lib.instruct.rows import OWN_USE, Item, Row, Skip
from dfa_lib.photo import SUFFIXES
from dfa_lib.records import DataError, Finding
from dfa_lib.tables import rows
from dfa_lib.taxonomy import CLASSES, Category, Split

COLUMNS = WORDS["columns"]
SPLITS = {word: Split(split) for split, row in WORDS["splits"].items() for word in row.split()}
_NO, _YES, _REAL, _FAKE = (WORDS["labels"][kind].split() for kind in ("no", "yes", "real", "fake"))
_LABELS = (
    {word: c for c in CLASSES for word in (c.value.lower(), c.phrase.replace(" ", "_"))}
    | {word: Category(kind) for kind, row in WORDS["categories"].items() for word in row.split()}
    | dict.fromkeys([*_NO, *_REAL], Category.BONA_FIDE)
    | dict.fromkeys([*_YES, *_FAKE], Category.FORGED)
)
_UNKNOWN = {"", "nan", "na", "n/a", "<na>", "none", "null", "unknown"}


def table(path: Path, columns: Mapping[str, str] | None = None) -> Iterator[Item]:
    """Read the rows of a table; paths in it are relative to its folder.

    ``path`` and ``label`` must be there; a column may go by another name of ``COLUMNS``, or by
    any that ``columns`` gives (meaning -> column), which also tells what labels of one's own mean
    ({"label.echt": "real"}); subgroup.age tells what a person consented to have told. Raises
    DataError where the file cannot be read, lacks one of the two, or has other numbers as labels.
    """
    return linked(read(path, columns or {}), path.parent)


def read(path: Path, columns: Mapping[str, str]) -> Iterator[Item]:
    """Yield the rows of a table as they stand there, and last how it was understood."""
    lines = list(rows(path))
    there = list(dict.fromkeys(chain.from_iterable(lines)))
    named = _named(path, there, columns)
    words = label_words(columns, named["label"])
    if any(isinstance(row.get(named["path"]), dict | bytes) for row in lines):
        raise DataError(
            f"{path}: column {named['path']} holds pictures, not paths; write each to a file and"
            " name these files in a column"
        )
    root = f"{path.parent.resolve()}/"
    found: Counter[tuple[str, ...]] = Counter()
    for number, raw in enumerate(lines, start=1):
        row = {name: _text(raw.get(column)).removeprefix(root) for name, column in named.items()}
        label = " ".join(filter(None, (row["label"], row.get("category"))))
        row["label"] = said = words.get(row["label"].lower(), row["label"])
        item = row_of(row, f"row {number}")
        if isinstance(item, Row):
            found[label, item.category] += 1
        elif re.fullmatch(r"[-+.\d]+(e[-+]?\d+)?", said) and not category_of(said)[0]:
            raise DataError(
                f"{path}: row {number}: label: {said}; a label is 0 (bona fide) or 1 (forged): name"
                " another column as label=NAME, or what a number means, as label.2=FS"
            )
        yield item
    used = ", ".join(f"{name}={named[name]}" for name in COLUMNS if name in named)
    spare = ", ".join(str(name) for name in there if name not in named.values()) or "none"
    labels = (f"{label} = {category}: {n:,}" for (label, category), n in found.most_common(9))
    yield f"columns: {used}; not read: {spare}; labels: {', '.join(labels)}"


def label_words(columns: Mapping[str, str], column: str = "") -> dict[str, str]:
    """Return what labels mean by ``columns``, and 1 and 0 in a ``column`` such as is_real."""
    words = {key[6:].lower(): word for key, word in columns.items() if key.startswith("label.")}
    if odd := [word for word in words.values() if category_of(word)[0] is None]:
        raise DataError(f"columns: {odd[0]!r} is no label; choose real, fake, {', '.join(CLASSES)}")
    if _plain(column).removeprefix("is_") not in _REAL:
        return words
    return dict.fromkeys(_YES, "real") | dict.fromkeys(_NO, "fake") | words


def row_of(row: Mapping[str, str], where: str) -> Row | Skip:
    """Return one row of a manifest from words, or why it is none."""
    if not row.get("path"):
        return Skip("no path", where)
    label, kind, text = (row.get(name, "") for name in ("label", "category", "text"))
    category, name = category_of(label, kind, row.get("method") or None)
    if category is None:
        known = "neither bona fide nor forged: say label.WORD=real or label.WORD=fake"
        return Skip(f"a label that is {known}", f"{where}: {label}")
    said = _said(label, kind)
    if len(said - {Category.FORGED}) > 1 or said == {Category.FORGED, Category.BONA_FIDE}:
        return Skip("label and category disagree", f"{where}: {label}, {kind}")
    number = re.fullmatch(r"(\d{1,9})(\.\d*)?", row.get("frame", ""))
    people = (  # 7, 7.0 and 007 are one person, for programs write one number so
        re.sub(r"^0*(\d+)(\.0+)?$", r"\1", _text(name)) for name in row.get("person", "").split(";")
    )
    split = SPLITS.get(row.get("split", "").lower())
    groups = [name for name in row if name.startswith("subgroup.") and row[name]]
    told = findings(text) if category.forged else ()
    return Row(
        path=_posix(row["path"]),
        at=int(number[1]) if number else None,
        dataset=row.get("dataset") or "table",
        category=category,
        method=name,
        people=tuple(dict.fromkeys(filter(None, people))),
        licence=row.get("licence") or OWN_USE,
        scene=_posix(row.get("counterpart")),
        listed=(split,) if split else (),
        mask=_posix(row.get("mask")),
        landmarks=_posix(row.get("landmarks")),
        subgroup=tuple((name.removeprefix("subgroup."), row[name]) for name in groups),
        findings=tuple(Finding(region=r, artifact=a, evidence=text) for r, a in sorted(told)),
        text=text or None,
    )


def category_of(
    label: str, kind: str = "", name: str | None = None
) -> tuple[Category | None, str | None]:
    """Return category and method by what is known; FORGED where only that much is said."""
    said = _said(label, kind)
    known = method(name) if name else None
    if Category.BONA_FIDE in said:
        return Category.BONA_FIDE, None
    if named := said - {Category.FORGED}:
        return named.pop(), known[1] if known else name
    if known and (said or not label):
        return known
    return (Category.FORGED if said else None), name


def _said(*words: str) -> set[Category]:
    return {_LABELS[plain] for plain in map(_plain, words) if plain in _LABELS}


def _named(path: Path, there: Sequence[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Return meaning -> column; of two columns that mean the same the exact name counts."""
    free = ("subgroup.", "label.")
    if odd := [name for name in mapping if name not in COLUMNS and not name.startswith(free)]:
        raise DataError(f"columns: {odd[0]!r} is unknown; choose from {', '.join(COLUMNS)}")
    mapping = {name: column for name, column in mapping.items() if not name.startswith("label.")}
    plain = {_plain(column): column for column in reversed(there)}
    named = {word: column for word, column in plain.items() if word.startswith("subgroup.")}
    for name, others in COLUMNS.items():
        if known := [word for word in (name, *others.split()) if word in plain]:
            named[name] = plain[known[0]]
    named |= mapping
    missing = [name for name in ("path", "label") if name not in named]
    if missing and (odd := [name for name in there if Path(str(name)).suffix.lower() in SUFFIXES]):
        told = "the names of its columns are pictures; give a row for each, with path and label"
        raise DataError(f"{path}: {odd[0]}: {told}")
    if missing := missing + [column for column in mapping.values() if column not in there]:
        raise DataError(
            f"{path}: no column {' and no column '.join(missing)} among"
            f" {', '.join(map(str, there))[:200]}; name it in COLUMNS of lesson 01, or by --column"
            f" in the shell: {'path' if 'path' in missing else 'label'}=NAME"
        )
    return named


def _plain(column: object) -> str:
    return str(column).strip().lower().replace(" ", "_").replace("-", "_")


def _text(value: object) -> str:
    """Return a cell as text; what stands for a missing value is empty."""
    if isinstance(value, list | tuple):
        return ";".join(map(_text, value))
    text = str(value).strip()
    return "" if text.lower() in _UNKNOWN else text


def _posix(path: str | None) -> str | None:
    """Return a path as it is below the root: of Windows too, without ./ at its head."""
    return PurePosixPath(path.replace("\\", "/")).as_posix() if path else None
