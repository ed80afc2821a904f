"""Shards: any number of processes do the work of one, and nobody can tell afterwards."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from chat_server import ChatServer

from dfa_lib.bench.baselines import Chance, Majority
from dfa_lib.bench.exam import set_exam
from dfa_lib.bench.report import Report
from dfa_lib.bench.run import ask_all, ask_perturbed
from dfa_lib.bench.scoring import score_all
from dfa_lib.instruct.__main__ import parser
from dfa_lib.instruct.annotate import annotate
from dfa_lib.instruct.conversations import build_conversations, load_records
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.sources import load_faces
from dfa_lib.records import DataError
from dfa_lib.runtime import RESCUE
from dfa_lib.shards import Shard, block, join, parse_shard, shard_path

FACES = RESCUE / "01_instruct"
HERE = Path(__file__).parent
N, SIZE, PARTS = 60, 64, 3
pytestmark = pytest.mark.usefixtures("warm")


def patient(test: Callable) -> Callable:
    """Processes import everything anew, and other work may crowd them out."""
    return pytest.mark.slow(pytest.mark.timeout(300)(test))


def bench(out: Path, shard: Shard | None) -> Report | None:
    """The benchmark with analysts that answer in no time: predictions tell their seconds."""
    faces, records = FaceSet.read(FACES), load_records(FACES / "instruct.jsonl")
    analysts = {"chance": Chance(), "majority": Majority(faces.split("train").faces)}
    exam = set_exam(faces)
    answers = ask_all(analysts, exam, out, shard)
    perturbed = ask_perturbed(analysts, exam, 2, out, shard)
    if shard:
        return None
    known = {record.id: record for record in records}
    return Report(score_all(answers, exam, known, 20, perturbed), out, faces).save()


def start(*arguments: object) -> subprocess.Popen:
    """A step of DFA-Instruct in a process of its own."""
    command = [sys.executable, "-m", "dfa_lib.instruct", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def done(*processes: subprocess.Popen) -> None:
    for process in processes:
        _, said = process.communicate(timeout=280)
        assert process.returncode == 0, said


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    faces = load_faces("procedural", out, n=N, size=SIZE, workers=1)
    build_conversations(faces, annotate(faces, workers=1), out)
    return out


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``PARTS`` processes at a time make of the same arguments, and the join."""
    out = tmp_path_factory.mktemp("shared")
    alone = ["--workers", 1]
    steps = {"faces": ["--n", N, "--size", SIZE, *alone], "annotate": alone, "conversations": []}
    for step, extra in steps.items():
        common = [step, "--out", out, *extra]
        done(*(start(*common, "--shard", f"{i}/{PARTS}") for i in reversed(range(PARTS))))
        if step == "faces":  # the next step looks at the faces of all shards, and at no more
            done(start("join", "faces", "--out", out))
    done(start("join", "annotations", "instruct", "--out", out))
    return out


@patient
@pytest.mark.parametrize("name", ["faces.jsonl", "annotations.jsonl", "instruct.jsonl"])
def test_concatenated_shards_equal_the_whole(shared: Path, whole: Path, name: str) -> None:
    parts = [shard_path(shared / name, (i, PARTS)).read_bytes() for i in range(PARTS)]
    assert len({len(part) for part in parts}) > 1 and all(parts)
    assert b"".join(parts) == (whole / name).read_bytes() == (shared / name).read_bytes()


@patient
def test_pictures_masks_and_card_are_those_of_the_whole(shared: Path, whole: Path) -> None:
    for folder in ("images", "masks"):
        names = sorted(path.name for path in (whole / folder).iterdir())
        assert names == sorted(path.name for path in (shared / folder).iterdir())
        for name in names:
            assert (whole / folder / name).read_bytes() == (shared / folder / name).read_bytes()
    assert (whole / "DATA_CARD.md").read_bytes() == (shared / "DATA_CARD.md").read_bytes()


@patient
def test_the_shell_exports_what_was_joined(shared: Path) -> None:
    done(start("export", "--out", shared))
    records = sorted((shared / "instruct.jsonl").read_text("utf-8").splitlines())
    files = (shared / "llava").iterdir()
    rows = [row for file in files for row in json.loads(file.read_text("utf-8"))]
    assert sorted(row["dfa"] for row in rows) == records


@patient
def test_a_model_behind_a_server_serves_all_shards(tmp_path: Path) -> None:
    shutil.copytree(FACES / "images", tmp_path / "images")
    shutil.copy(FACES / "faces.jsonl", tmp_path)
    with ChatServer(key=None) as server:
        model = ["--out", tmp_path, "--model", "some-vlm", "--base-url", server.url]
        for step in ("annotate", "conversations"):
            done(*(start(step, *model, "--shard", f"{i}/2") for i in range(2)))
        asked = len(server.books.asked)
    done(start("join", "instruct", "--out", tmp_path))
    records = load_records(tmp_path / "instruct.jsonl")
    assert [record.id for record in records] == [face.id for face in FaceSet.read(FACES)]
    assert {record.annotation.annotator.model for record in records} == {"some-vlm"}
    assert asked == 2 * len(records)


def test_the_shell_refuses_in_one_line(tmp_path: Path) -> None:
    process = start("faces", "--out", tmp_path, "--shard", "3/3")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said == "dfa_lib.instruct: shard=3/3: no such part; count from 0, as 0/16 to 15/16\n"


@pytest.mark.parametrize(
    "words",
    [
        "export --shard 0/2",
        "join faces --workers 4",
        "annotate --seed 1",
        "conversations --workers 4",
    ],
)
def test_what_a_step_would_ignore_it_does_not_take(words: str) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(words.split())


def test_the_benchmark_in_shards_asks_the_same(tmp_path: Path) -> None:
    one, many = tmp_path / "one", tmp_path / "many"
    assert [bench(many, (i, 2)) for i in (1, 0)] == [None, None]
    shares = sorted((many / "predictions").glob("chance.*.jsonl"))
    assert len(shares) == 2 and not (many / "report.json").exists()
    bench(one, None)
    before = (one / "predictions" / "chance.jsonl").read_bytes()
    assert b"".join(path.read_bytes() for path in shares) == before
    bench(many, None)
    for path in [*one.rglob("*.jsonl"), one / "report.json"]:
        assert (many / path.relative_to(one)).read_bytes() == path.read_bytes()


def test_shards_of_another_exam_are_not_joined(tmp_path: Path) -> None:
    for i in range(2):
        assert bench(tmp_path, (i, 2)) is None
    for mark in (tmp_path / "predictions").glob("majority.*.key"):
        mark.write_text("another exam")
    bench(tmp_path, None)
    names = {path.name for path in (tmp_path / "predictions").glob("majority*.jsonl*")}
    assert names == {"majority.jsonl"} | {f"majority.0000{i}-of-00002.jsonl.old" for i in (0, 1)}


# --- shares -------------------------------------------------------------------------------


@pytest.mark.parametrize("items", [0, 1, 7, 16, 100])
@pytest.mark.parametrize("n", [1, 3, 16])
def test_blocks_are_contiguous_even_and_complete(items: int, n: int) -> None:
    blocks = [block(range(items), (i, n)) for i in range(n)]
    assert [item for part in blocks for item in part] == list(range(items))
    assert max(map(len, blocks)) - min(map(len, blocks)) <= 1


def test_without_a_shard_everything_stays_as_it_is() -> None:
    items = range(5)
    assert block(items, None) is items
    assert shard_path(Path("a/faces.jsonl"), None) == Path("a/faces.jsonl")
    assert shard_path(Path("a/faces.jsonl"), (3, 16)) == Path("a/faces.00003-of-00016.jsonl")


@pytest.mark.parametrize("text", ["3", "3/", "3/3", "-1/3", "a/b", "0/0", "1/2/3", ""])
def test_no_such_shard(text: str) -> None:
    with pytest.raises(DataError, match="no such part; count from 0"):
        parse_shard(text)
    with pytest.raises(DataError, match="shard=5/5"):
        block(range(9), (5, 5))


def lay(folder: Path, n: int, texts: dict[int, str]) -> Path:
    path = folder / "faces.jsonl"
    for i, text in texts.items():
        shard_path(path, (i, n)).write_text(text)
    return path


def test_join_takes_empty_shards_and_nothing_that_only_looks_like_one(tmp_path: Path) -> None:
    path = lay(tmp_path, 3, {0: "a\n", 1: "", 2: "b\nc\n"})
    (tmp_path / "faces.00001-of-00003.unanswered.jsonl").write_text("x\n")
    (tmp_path / "faces.part.00001-of-00003.jsonl").write_text("y\n")
    join(path)
    assert path.read_text() == "a\nb\nc\n"


def without_one(folder: Path) -> Path:
    return lay(folder, 3, {0: "a\n", 2: "c\n"})


def of_two_divisions(folder: Path) -> Path:
    lay(folder, 4, {1: "b\n"})
    return lay(folder, 3, {0: "a\n", 1: "b\n", 2: "c\n"})


def with_a_torn_one(folder: Path) -> Path:
    return lay(folder, 3, {0: "a\n", 1: '{"id', 2: "c\n"})


@pytest.mark.parametrize(
    ("laid", "said"),
    [
        (without_one, r"faces\.00001-of-00003\.jsonl: missing; run this shard, then join"),
        (of_two_divisions, r"faces\.00001-of-00004\.jsonl: of another division; remove it"),
        (
            with_a_torn_one,
            r"faces\.00001-of-00003\.jsonl: cut off at the end; run this shard again",
        ),
        (lambda folder: folder / "faces.jsonl", r"faces\.00000-of-00001\.jsonl: missing"),
    ],
)
def test_what_cannot_be_joined_leaves_the_old_file(
    laid: Callable[[Path], Path], said: str, tmp_path: Path
) -> None:
    path = laid(tmp_path)
    path.write_text("as it was\n")
    with pytest.raises(DataError, match=said) as caught:
        join(path)
    assert "\n" not in str(caught.value) and path.read_text() == "as it was\n"


# --- the page that shows the commands -----------------------------------------------------


PAGE = (HERE.parent / "docs" / "scaling.md").read_text("utf-8")


def test_the_commands_of_the_page_are_understood() -> None:
    steps = set()
    for command in re.findall(r"(?:dfa_lib\.instruct|part\.sh|\$run) ([a-z][^)\"\n&`]*)", PAGE):
        filled = command.replace("$out", "work").replace("{}", "3")
        steps.add(parser().parse_args(shlex.split(filled)).step.__name__)
    assert steps == {"_faces", "_annotate", "_conversations", "_join", "_export"}


def test_the_programs_of_the_page_import_what_there_is() -> None:
    for program in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        compile(program, "docs/scaling.md", "exec")
        for line in re.findall(r"^from dfa_lib.*$", program, re.M):
            exec(line)
