"""Desks as they are: full disks, two runs at once, odd names, old locales, other editors."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest
from PIL import Image

from dfa_lib import errors
from dfa_lib.ask import __main__ as ask
from dfa_lib.ask.shots import listed, printable
from dfa_lib.files import atomic, write_atomic
from dfa_lib.records import DataError, JsonlLog, Record, Stored, read_jsonl, write_jsonl
from dfa_lib.tables import rows

resource = pytest.importorskip("resource", reason="limits of a process are POSIX's")
ROOT = Path(ask.__file__).parents[2]


class Note(Record):
    """Anything with an id."""

    id: str
    text: str = ""


@contextmanager
def disk_with(spare: int) -> Iterator[None]:
    """Let files grow to ``spare`` bytes, as on a disk that is full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spare, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def shell(
    *words: str | Path, cwd: Path, wait: Callable[[subprocess.Popen], None] | None = None,
    **environment: str,
) -> tuple[int, str, str]:  # fmt: skip
    """Run Python with this environment and no other; return status, stdout and stderr."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, *words], cwd=cwd, env={"PYTHONPATH": str(ROOT)} |
                          environment, **pipes) as process:  # fmt: skip
        if wait:
            wait(process)
        out, err = process.communicate()
    return process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


WRITERS = {
    "write_atomic": lambda path: write_atomic(path, "x" * 3000),
    "bytes": lambda path: write_atomic(path, b"x" * 3000),
    "write_jsonl": lambda path: write_jsonl(path, [Note(id=str(n)) for n in range(300)]),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_leaves_what_was_there_and_nothing_half_written(
    writer: str, tmp_path: Path
) -> None:
    path = tmp_path / "kept.jsonl"
    path.write_text("before")
    with disk_with(1000), pytest.raises(DataError, match=r"kept\.jsonl: cannot be written \(File"):
        WRITERS[writer](path)
    assert path.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_log_on_a_full_disk_keeps_whole_lines_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with JsonlLog(path, Note) as log:
        with disk_with(1000), pytest.raises(DataError, match="free some space"):
            for n in range(100):
                log.append(Note(id=str(n), text="x" * 100))
        kept = len(list(read_jsonl(path, Note)))
        assert path.read_bytes().endswith(b"\n") and 5 < kept < 10
        log.append(Note(id="after"))
    assert [note.id for note in read_jsonl(path, Note)] == [*map(str, range(kept)), "after"]


def test_an_error_in_mid_write_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic(tmp_path / "deep" / "file.txt") as file:
        file.write("half")
        raise KeyboardInterrupt
    assert not list((tmp_path / "deep").iterdir())


@pytest.mark.parametrize("writer", [*WRITERS, "JsonlLog"])
def test_a_place_that_cannot_be_written_is_named(writer: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "below.jsonl"
    with pytest.raises(DataError, match=r"below\.jsonl: cannot be written .*choose"):
        (WRITERS | {"JsonlLog": partial(JsonlLog, kind=Note)})[writer](path)


def test_an_input_that_cannot_be_read_is_not_called_a_full_disk(tmp_path: Path) -> None:
    (part := tmp_path / "part").mkdir()
    with pytest.raises(IsADirectoryError, match="part"), atomic(tmp_path / "all", "wb") as whole:
        whole.write(part.read_bytes())
    assert list(tmp_path.iterdir()) == [part]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(DataError, match=r"Permission denied.*choose"):
        write_atomic(tmp_path / "file", "x")


def test_two_runs_at_once_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    other = "import sys, pathlib; from dfa_lib.records import JsonlLog, QA\n"
    other += "from dfa_lib.errors import command\n"
    other += "sys.exit(command('second', lambda: JsonlLog(pathlib.Path('log.jsonl'), QA)))"
    with JsonlLog(path, Note) as log:
        log.append(Note(id="first"))
        status, out, err = shell("-c", other, cwd=tmp_path)
        log.append(Note(id="still first"))
    assert (status, out) == (2, "")
    assert err == "second: log.jsonl: another run is writing it; wait until that ends, or choose" \
                  " another folder\n"  # fmt: skip
    assert [note.id for note in read_jsonl(path, Note)] == ["first", "still first"]
    JsonlLog(path, Note).append(Note(id="later"))  # whoever ended, or was killed, holds nothing


def test_two_writers_of_one_file_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic(path) as slow:
        slow.write("slow")
        shell("-c", "import pathlib; from dfa_lib.files import write_atomic\n"
              "write_atomic(pathlib.Path('file'), 'fast')", cwd=tmp_path)  # fmt: skip
        assert path.read_text() == "fast"
    assert path.read_text() == "slow" and [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_other_editors_mark_and_end_lines_otherwise(tmp_path: Path, bom: str, newline: str) -> None:
    path, names = tmp_path / "notes.jsonl", ["a", "ü"]
    lines = [Note(id=name).model_dump_json() + newline for name in names]
    path.write_bytes((bom + "".join(lines)).encode())
    assert [note.id for note in read_jsonl(path, Note)] == names
    assert [note.id for note in Stored(path, Note)] == names
    assert Stored(path, Note)[0].id == "a"
    table = tmp_path / "table.csv"
    table.write_bytes((bom + newline.join(["id;text", "ü;x", ""])).encode())
    assert list(rows(table)) == [{"id": "ü", "text": "x"}]


ODD = {
    "with blank.jpg": "with blank.jpg",
    "ümläut.jpg": "ümläut.jpg",
    "日本語.jpg": "日本語.jpg",
    "two\nlines.jpg": r"two\nlines.jpg",
    os.fsdecode(b"stray\xff.jpg"): r"stray\xff.jpg",
}
"""A name, and how it is told."""


@pytest.mark.parametrize("form", ["--json", "--csv", "--every=1"])
def test_odd_names_in_an_old_locale(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "My Drive" / "œuvre"
    folder.mkdir(parents=True)
    for name in ODD:
        Image.new("RGB", (128, 128), "grey").save(folder / name)
    (folder / "ëmpty.jpg").touch()
    old = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    status, out, err = shell("-m", "dfa_lib.ask", folder, form, cwd=tmp_path, **old)
    assert status == 2 and "Traceback" not in err and err.startswith("dfa_lib.ask: ")
    assert "mpty.jpg: the file is empty; copy or download it again\n" in err
    if form == "--json":
        said = [json.loads(line) for line in out.splitlines()]
        assert len(said) == 6 and all("My Drive" in one["picture"] for one in said)


def test_names_are_told_alike_wherever_they_are_told(tmp_path: Path) -> None:
    for name in ODD:
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="'': an address or nothing"):
        listed([""])  # which would be the current folder
    names = [printable(path) for path in listed([str(tmp_path)])]
    assert {Path(name).name for name in names} == {*ODD.values()}
    assert all(name.encode() for name in names)


def test_without_a_home(tmp_path: Path) -> None:
    Image.new("RGB", (128, 128), "grey").save(tmp_path / "wall.png")
    status, out, err = shell("-m", "dfa_lib.ask", "wall.png", cwd=tmp_path)  # no HOME, no PATH
    assert (status, err) == (1, "") and out.startswith("wall.png: not judged. No face was found")


def test_links_in_a_circle_and_pipes_hold_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    status, out, err = shell("-m", "dfa_lib.ask", ".", cwd=tmp_path)
    assert (status, out) == (2, "") and err.count("\n") == 3
    assert "pipe.jpg: not a file; give the path of one picture\n" in err
    assert "self.jpg: a link to a file that is not there; fetch that file\n" in err


def test_a_full_disk_behind_standard_output_is_one_line(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    Image.new("RGB", (128, 128), "grey").save(tmp_path / "wall.png")
    with full.open("wb") as out:
        done = subprocess.run([sys.executable, "-m", "dfa_lib.ask", "wall.png"], cwd=tmp_path,
                              env={"PYTHONPATH": str(ROOT)}, stdout=out, stderr=subprocess.PIPE,
                              text=True)  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "dfa_lib.ask: output: No space left on device\n"


def test_whoever_reads_no_further_ends_it_quietly(tmp_path: Path) -> None:
    wall = tmp_path / "wall.png"
    Image.new("RGB", (128, 128), "grey").save(wall)
    status, _, err = shell(
        "-m", "dfa_lib.ask", *[wall] * 2, cwd=tmp_path, wait=lambda process: process.stdout.close()
    )
    assert status in {1, 141} and "Traceback" not in err and "Exception ignored" not in err


LONG = """
import signal, sys, time, pathlib
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in background
from dfa_lib.errors import command
from dfa_lib.records import JsonlLog, QA
def work():
    with JsonlLog(pathlib.Path("log.jsonl"), QA):
        print("begun", flush=True)
        time.sleep(60)
sys.exit(command("long", work, "the same command goes on where it was"))
"""


def test_an_interruption_is_one_line(tmp_path: Path) -> None:
    def interrupt(process: subprocess.Popen) -> None:
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)

    status, _, err = shell("-c", LONG, cwd=tmp_path, wait=interrupt)
    assert (status, err) == (130, "long: interrupted; the same command goes on where it was\n")
    JsonlLog(tmp_path / "log.jsonl", Note).append(Note(id="the lock is gone"))


IMPORTING = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
print("begun", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("command", ["dfa_lib.ask", "dfa_lib.instruct"])
def test_an_interruption_while_it_imports_is_one_line(tmp_path: Path, command: str) -> None:
    def interrupt(process: subprocess.Popen) -> None:
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)

    (tmp_path / "pydantic.py").write_text(IMPORTING)
    status, _, err = shell("-m", command, cwd=tmp_path, wait=interrupt)
    assert (status, err) == (-signal.SIGINT, "interrupted\n")


MAKING = """
import signal, pathlib
signal.signal(signal.SIGINT, signal.default_int_handler)
from dfa_lib.instruct.sources import load_faces
print(len(load_faces("procedural", pathlib.Path("out"), n=150, workers=2)))
"""


@pytest.mark.full
@pytest.mark.slow
def test_an_interruption_while_faces_are_made_leaves_no_process_and_goes_on(tmp_path: Path) -> None:
    log, workers = tmp_path / "out/faces.part.jsonl", []

    def interrupt(process: subprocess.Popen) -> None:
        while not (log.exists() and log.stat().st_size) and process.poll() is None:
            time.sleep(0.05)
        workers.extend(psutil.Process(process.pid).children(recursive=True))
        process.send_signal(signal.SIGINT)

    status, _, err = shell("-c", MAKING, cwd=tmp_path, wait=interrupt)
    assert status and err.rstrip().endswith("KeyboardInterrupt") and log.read_text().count("\n")
    assert workers and not psutil.wait_procs(workers, timeout=10)[1]
    status, out, err = shell("-c", MAKING, cwd=tmp_path)
    assert (status, out.split()[-1]) == (0, "150"), err


def test_a_clock_set_back_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    with JsonlLog(path, Note) as log:
        log.append(Note(id="today"))
    os.utime(path, (4e9, 4e9))  # written in the year 2096
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with JsonlLog(path, Note) as log:
        log.append(Note(id="yesterday"))
    write_atomic(tmp_path / "file", "x")
    assert [note.id for note in read_jsonl(path, Note)] == ["today", "yesterday"]


def test_a_command_tells_faults_of_the_system(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert errors.command("it", lambda: (tmp_path / "none").read_text() and 0) == 2
    assert capsys.readouterr().err == f"it: {tmp_path / 'none'}: No such file or directory\n"
    assert errors.command("it", lambda: None) == 0 and errors.command("it", lambda: 1) == 1
