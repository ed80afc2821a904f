"""The data contracts between lessons: pydantic records in JSON Lines files.

A broken line is refused with one sentence that names the file, the line, the
field and the mend; an interrupted write loses its torn last line and no other.
"""

import os
from array import array
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeVar
from unicodedata import normalize

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dfa_lib.errors import DataError, writing
from dfa_lib.files import atomic, locked
from dfa_lib.taxonomy import Artifact, Category, Region, Split, Task

Point = tuple[float, float]


class Record(BaseModel):
    """Base of every contract: immutable, and no unknown field slips in unseen."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Face(Record):
    """One aligned face picture and everything known about it.

    ``landmarks`` are 81 (x, y) points in pixels of ``image`` (iBUG 68, then 13 on the
    hairline from image left to right); ``crop`` is (x0, y0, x1, y1) in pixels of the
    photograph it was cut from; ``source`` is the id of the bona fide counterpart.
    """

    id: str
    image: str
    sha256: str
    category: Category
    method: str | None = None
    dataset: str
    identities: tuple[str, ...]
    source: str | None = None
    split: Split
    frame: str | None = None
    crop: tuple[float, float, float, float] | None = None
    landmarks: tuple[Point, ...] | None = None
    altered_regions: tuple[Region, ...] | None = None
    mask: str | None = None
    licence: str
    subgroup: dict[str, str] = Field(default_factory=dict)

    @field_validator("image", "mask")
    @classmethod
    def _relative(cls, value: str | None) -> str | None:
        if value is not None and not _is_inside(value):
            raise ValueError("must be a relative POSIX path inside the data root")
        return value

    @property
    def named(self) -> bool:
        """Whether its source tells who is seen: else the picture, or the video, is the person."""
        return self.identities[0] not in (self.frame, (self.frame or "").rpartition("#")[0])


class Annotator(Record):
    """Who wrote an annotation: a rule, or a language model under its own name."""

    name: str
    model: str | None = None
    prompt_version: str | None = None

    def __str__(self) -> str:
        """What it is, its model, its prompt."""
        return " · ".join(filter(None, (self.name, self.model, self.prompt_version)))


class Finding(Record):
    """One claim of an artifact description, with the figures behind it when measured."""

    region: Region
    artifact: Artifact
    evidence: str
    figures: dict[str, float] = Field(default_factory=dict)
    supported: bool | None = None


class Annotation(Record):
    """The artifact description (AD) of one face and the name of what wrote it.

    ``settings`` are what the annotator's server did not take as asked, such as "seed: not sent".
    """

    face: str
    findings: tuple[Finding, ...]
    text: str
    annotator: Annotator
    audited: bool = False
    settings: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """One annotation per face."""
        return self.face


class QA(Record):
    """One question and its answer; ``template`` names the wording it was made from."""

    task: Task
    question: str
    answer: str
    template: str


class InstructRecord(Record):
    """One face with its annotation and about seven QA (paper: 891.6K QA on 127.3K images)."""

    face: Face
    annotation: Annotation
    qa: tuple[QA, ...]

    @property
    def id(self) -> str:
        """The id of the face, which is unique in a file of records."""
        return self.face.id


class Prediction(Record):
    """What an analyst said to one question. ``answer`` is None when it cannot be read."""

    analyst: str
    face: str
    task: Task
    prompt: str
    text: str | None = None
    answer: str | None = None
    options: dict[str, float] | None = None
    seconds: float = 0.0
    tokens: int = 0

    @property
    def id(self) -> tuple[str, str, str]:
        """One prediction per analyst, face and task."""
        return self.analyst, self.face, self.task.value


AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_jsonl(path: Path, kind: type[AnyRecord]) -> Iterator[AnyRecord]:
    """Yield the records of a JSONL file, in order.

    A last line without its newline was torn by an interruption and is left out.
    Raises DataError with file, line and field for anything else that is wrong,
    duplicate ids included.
    """
    seen: dict[object, int] = {}
    for number, line in enumerate(_whole_lines(path), start=1):
        record = parse(line, kind, f"{path}:{number}")
        key = getattr(record, "id", None)
        if key is not None and seen.setdefault(key, number) != number:
            raise DataError(
                f"{path}:{number}: id: {key!r} was already used on line {seen[key]};"
                " give each record an id of its own"
            )
        yield record


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    """Write records to ``path`` at once: the file is complete or not there."""
    with atomic(path) as file:
        file.writelines(record.model_dump_json() + "\n" for record in records)


class Stored(Sequence[AnyRecord]):
    """The records of a JSONL file, read when asked for: memory holds only where each begins.

    For data sets beyond memory; a slice is Stored too. The file must not change meanwhile.
    """

    def __init__(self, path: Path, kind: type[AnyRecord], places: array | None = None) -> None:
        self._path, self._kind = path, kind
        self._places = _places(path) if places is None else places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, at: int | slice) -> AnyRecord | "Stored[AnyRecord]":
        if isinstance(at, slice):
            return Stored(self._path, self._kind, self._places[at])
        return next(self._read([self._places[at]]))

    def __iter__(self) -> Iterator[AnyRecord]:
        return self._read(self._places)

    def _read(self, places: Iterable[int]) -> Iterator[AnyRecord]:
        with self._path.open("rb") as file:
            for place in places:
                file.seek(place)
                yield parse(file.readline(), self._kind, f"{self._path}: byte {place}")


class ById(Mapping[str, AnyRecord]):
    """The records of a sequence by their id; memory holds the ids, not the records."""

    def __init__(self, records: Sequence[AnyRecord]) -> None:
        self._records = records
        self._numbers = {record.id: number for number, record in enumerate(records)}

    def __getitem__(self, key: str) -> AnyRecord:
        return self._records[self._numbers[key]]

    def __contains__(self, key: object) -> bool:
        return key in self._numbers

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


class JsonlLog(AbstractContextManager):
    """An append-only JSONL file that survives interruption and full disks.

    Opening it drops a torn last line, so that the next record starts on a fresh one. Raises
    DataError if it cannot be written, if another process has it open, or if it holds anything
    else than records of ``kind``: such a file is left as it is.
    """

    def __init__(self, path: Path, kind: type[Record]) -> None:
        self._path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.is_file():  # to open a pipe would wait for its reader
                raise DataError(f"{path}: a device or a folder; choose a file")
            self._file = path.open("ab", buffering=0)  # nothing waits to be written later
            locked(self._file, path)
            try:
                os.truncate(path, _whole(path, kind))
            except DataError:
                self._file.close()
                raise

    def append(self, record: Record) -> None:
        """Write one record whole, or nothing of it, and hand it to the operating system."""
        size = os.fstat(self._file.fileno()).st_size
        rest = record.model_dump_json().encode() + b"\n"
        with writing(self._path):
            try:
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError:
                self._file.truncate(size)
                raise

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _whole(path: Path, kind: type[Record]) -> int:
    """Return the bytes of the whole lines of a log; raise DataError if it is none of ``kind``."""
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    begin = f'{{"{next(iter(kind.model_fields))}":'.encode()
    torn = content[end:].rstrip(b"\0")  # zeros: a machine lost its power
    try:
        if not (torn.startswith(begin) or begin.startswith(torn)):
            raise DataError
        if end:
            parse(content[:end].removeprefix(BOM_UTF8).partition(b"\n")[0], kind, str(path))
    except DataError:
        raise DataError(f"{path}: not a log of this command; choose another file") from None
    return end


def parse(line: str | bytes, kind: type[AnyRecord], where: str) -> AnyRecord:
    """Read one record from its JSON; raise DataError that begins with ``where``."""
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "line"
        silent = first["type"] in {"missing", "json_invalid"}
        got = "" if silent else f" (got {first['input']!r:.60})"
        problem = f"{where}: {field}: {first['msg']}{got}"
        raise DataError(f"{problem}; correct this line or remove it") from None


def inside(root: Path, relative: str) -> Path:
    """Join ``relative`` to ``root``, however its accents are composed there.

    Raises DataError if that, links followed, lies outside.
    """
    try:
        forms = (relative, *(normalize(form, relative) for form in ("NFC", "NFD")))
        path = next((path for one in forms if (path := root / one).exists()), root / relative)
        path = path.resolve()
    except (OSError, RuntimeError):
        raise DataError(f"{relative}: a link to itself, or too long a name; rename it") from None
    if not _is_inside(relative) or not path.is_relative_to(root.resolve()):
        raise DataError(f"{relative}: outside the data root, name it relative to that: {root}")
    return path


def _is_inside(relative: str) -> bool:
    path = PurePosixPath(relative)
    plain = "\\" not in relative and ":" not in relative
    return bool(relative) and plain and not path.is_absolute() and ".." not in path.parts


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run the lesson that writes it") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; is this a JSONL file?") from None


def _whole_lines(path: Path) -> Iterator[str]:
    with _reading(path), path.open(encoding="utf-8-sig") as file:
        yield from (line for line in file if line.endswith("\n"))


def _places(path: Path) -> array:
    """Where each whole line of a file begins, in bytes."""
    places, place = array("Q"), 0
    with _reading(path), path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                places.append(place or len(BOM_UTF8) * line.startswith(BOM_UTF8))
            place += len(line)
    return places
