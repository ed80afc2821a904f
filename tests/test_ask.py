"""Pictures from the shell: answers with their limits, or one line and an exit status."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_llava import save_tiny

from dfa_lib.analysts import LONGEST_QUESTION, asked
from dfa_lib.ask import __main__ as ask
from dfa_lib.ask.judging import Session
from dfa_lib.ask.said import PictureSaid, as_csv
from dfa_lib.ask.shots import look, shots
from dfa_lib.bench.scope import Scope
from dfa_lib.chat.page import LIMITS
from dfa_lib.files import digest
from dfa_lib.gpt.adapter import save_tuned
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.gpt.base import add_lora, load_base
from dfa_lib.gpt.presets import NANO
from facesim.people import portrait

ROOT = Path(ask.__file__).parents[2]


def sheet(seed: int) -> np.ndarray:
    face = portrait(f"asked-{seed}", 0, size=160).image
    return np.pad(face, ((60, 80), (90, 40), (0, 0)), "edge")


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tuned: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command with the tiny model; return status, stdout and stderr."""

    def command(*words: str | Path) -> tuple[int, str, str]:
        status = ask.main([*map(str, words), "--model", str(tuned)])
        return status, *capsys.readouterr()

    return command


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random tiny model as lesson 02 saves a tuned one, measured as by lesson 03."""
    folder = tmp_path_factory.mktemp("model")
    preset = replace(NANO, base=str(save_tiny(folder / "base")), max_new_tokens=12)
    model, processor = load_base(preset, "cpu")
    save_tuned(add_lora(model, preset), processor, preset, folder / "02_gpt" / "adapter", {})
    measured(LocalAnalyst(folder / "02_gpt"), folder / "03_bench")
    return folder / "02_gpt"


def measured(analyst: LocalAnalyst, bench: Path) -> None:
    """Write what lesson 03 leaves of an analyst that may judge any face."""
    (bench / "predictions").mkdir(parents=True)
    wide = replace(Scope.fit(analyst, [sheet(0)] * 2, [sheet(1)]), limit=np.inf)
    wide.save(bench)
    asked = {"text": "Forged?", "options": ["It is bona fide.", "It is forged."]}
    protocol = {"hash": "exam", "questions": {"DF-D": [asked]}, "val": {"face": "sha256"}}
    report = {"exam": "exam", "source": "", "details": {"tiny": {"DF-D": {"temperature": 2.0}}}}
    (bench / "protocol.json").write_text(json.dumps(protocol))
    (bench / "report.json").write_text(json.dumps(report))
    (bench / "predictions" / "tiny.key").write_text(digest("exam" + analyst.fingerprint))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a generated face on a larger sheet, as a photograph has it."""
    path = tmp_path_factory.mktemp("photo") / "face.jpg"
    Image.fromarray(sheet(0)).save(path, quality=92)
    return path


@pytest.fixture(scope="module")
def folder(photo: Path) -> Path:
    """Hold a picture of each kind: a face, two faces, none, a torn file; and what is no picture."""
    place = photo.parent / "album"
    (place / "2 below").mkdir(parents=True)
    (place / "0 face.jpg").write_bytes(photo.read_bytes())
    (place / "1 torn.jpg").write_bytes(photo.read_bytes()[:900])
    small = cv2.resize(sheet(1), None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    both = np.full((300, 520, 3), 180, np.uint8)
    both[:, :290], both[40 : 40 + len(small), 300 : 300 + small.shape[1]] = sheet(0), small
    Image.fromarray(both).save(place / "2 below" / "both.png")
    Image.new("RGB", (128, 128), "grey").save(place / "3 wall.PNG")
    (place / "notes.txt").write_text("not a picture")
    return place


def test_answer_probabilities_and_limits(run: Run, photo: Path) -> None:
    status, out, err = run(photo, "Is it real?")
    assert (status, err) == (0, "") and re.search(r"P\(forged\) \S+%", out)
    assert out.startswith(f"{photo}: ") and "Q: Is it real?\nA: " in out
    assert "entire face synthesis" in out
    assert "P(forged) is calibrated on 1 validation faces" in out
    assert out.strip().splitlines()[-1] == LIMITS


@pytest.mark.parametrize("form", ["--json", "--csv", "--every=1"])
def test_a_model_that_nobody_measured_speaks_without_a_number(
    tuned: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    shutil.copytree(tuned, tmp_path / "02_gpt")
    words = [str(photo), "-q", "Is it real?", "--model", str(tmp_path / "02_gpt"), form]
    assert ask.main(words) == 1
    out = capsys.readouterr().out
    assert "Nobody has measured how often this model is right" in out and "%" not in out
    if form == "--json":
        (face,) = json.loads(out)["faces"]
        assert (face["verdict"], face["p_forged"], face["categories"]) == (None, None, {})
        assert face["answers"][0]["answer"] and not face["answers"][0]["note"]
    elif form == "--csv":
        (row,) = csv.DictReader(io.StringIO(out))
        assert row["answer"] and not row["p_forged"] and not row["note"]
    else:
        assert "Q: Is it real?\nA: " in out and LIMITS not in out


def test_a_framed_picture_is_judged_alike_with_and_without_aligned(
    run: Run, tmp_path: Path
) -> None:
    """Framing it once more would blur it."""
    path = tmp_path / "framed.png"
    Image.fromarray(portrait("asked-0", 0, size=160).image).save(path)
    assert run(path) == run(path, "--aligned")


def test_an_unknown_base_is_refused(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask.main([str(photo), "--base", "no-such"]) == 2
    assert "choose from nano, " in capsys.readouterr().err


def test_a_picture_without_a_face_is_not_judged(run: Run, folder: Path) -> None:
    wall = folder / "3 wall.PNG"
    status, out, err = run(wall)
    assert (status, err) == (1, "") and "--aligned" in out and "%" not in out
    assert out.startswith(f"{wall}: not judged. No face was found; ") and out.count("\n") == 1
    status, out, _ = run(wall, "--aligned")
    assert status == 1 and "No face was found" in out and "%" not in out and "A: " not in out


def test_a_folder_is_answered_whole_whatever_lies_in_it(run: Run, folder: Path) -> None:
    status, out, err = run(folder, "--json")
    said = [json.loads(line) for line in out.splitlines()]
    assert status == 2
    assert [Path(one["picture"]).name for one in said] == [
        "0 face.jpg", "1 torn.jpg", "both.png", "3 wall.PNG",
    ]  # fmt: skip
    assert [one["status"] for one in said] == ["judged", "unreadable", "judged", "not judged"]
    assert [len(one["faces"]) for one in said] == [1, 0, 2, 0]
    large, small = said[2]["faces"]
    assert (large["number"], small["number"]) == (1, 2) and large["box"][2] < small["box"][0] + 20
    assert all(
        0 <= face["p_forged"] <= 1 and face["answers"][0]["answer"] for face in (large, small)
    )
    lines = err.splitlines()
    assert len(lines) == 2 and "1 torn.jpg: the picture is damaged or cut off" in lines[0]
    assert lines[1].endswith(": 2 judged, 1 not judged, 1 unreadable")


def test_as_a_table_there_is_a_row_for_each_question_on_each_face(run: Run, folder: Path) -> None:
    questions = ["Is it, really, real?", "Which\nkind?"]
    _, out, _ = run(folder, "--csv", "-q", questions[0], "-q", questions[1])
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert [row["question"] for row in rows if row["status"] == "judged"] == questions * 3
    assert [row["face"] for row in rows if "both" in row["picture"]] == ["1", "1", "2", "2"]
    rest = [row for row in rows if row["status"] != "judged"]
    assert all(row["reason"] and not row["p_forged"] and not row["answer"] for row in rest)
    assert len(rows) == 8


def test_a_name_that_reads_like_a_formula_is_a_text_in_a_spreadsheet() -> None:
    said = PictureSaid(
        picture="=1+1", second=None, status="unreadable", reason="-", faces=(), run=""
    )
    assert as_csv(said).startswith("'=1+1,") and as_csv(said).count("'") == 2


def test_each_face_is_numbered_for_the_reader(run: Run, folder: Path) -> None:
    _, out, _ = run(folder / "2 below")
    assert re.findall(r"both\.png, face (\d) of 2 \(\d+,\d+ to \d+,\d+\): ", out) == ["1", "2"]


@pytest.mark.parametrize("form", ["--json", "--csv", "--every=1"])
def test_what_cannot_be_judged_has_a_sentence_and_no_number(
    run: Run, tmp_path: Path, form: str
) -> None:
    tiny = np.full((700, 700, 3), 180, np.uint8)
    tiny[300:350, 300:350] = cv2.resize(portrait("asked-0", 0, size=160).image, (50, 50),
                                        interpolation=cv2.INTER_AREA)  # fmt: skip
    Image.fromarray(tiny).save(tmp_path / "tiny.png")
    status, out, _ = run(tmp_path / "tiny.png", form)
    assert status == 1 and "pixels wide; use a picture with 64 or more" in out
    if form == "--json":
        (face,) = json.loads(out)["faces"]
        assert (face["verdict"], face["p_forged"], face["categories"], face["answers"]) == (
            None, None, {}, [],
        )  # fmt: skip
    elif form == "--csv":
        (row,) = csv.DictReader(io.StringIO(out))
        assert row["status"] == "not judged"
        assert not any(row[name] for name in ("verdict", "p_forged", "category", "answer"))
    else:
        assert "%" not in out and "A: " not in out


def test_an_interrupted_run_goes_on_where_it_was(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, log = run(folder, "--json")[1], tmp_path / "kept.jsonl"
    judge, calls = Session._judged, []

    def interrupted(self: Session, faces: list) -> object:
        calls.append(len(faces))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return judge(self, faces)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "_judged", interrupted)
        status, out, err = run(folder, "--json", "--resume", log)
    assert status == 130 and len(out.splitlines()) == len(log.read_text().splitlines()) == 1
    assert err == "dfa_lib.ask: interrupted; the same command goes on where it was\n"
    with log.open("a") as file:
        file.write('{"picture": "torn')
    monkeypatch.setattr(Session, "_judged", lambda self, faces: calls.append("again") or
                        judge(self, faces))  # fmt: skip
    status, out, _ = run(folder, "--json", "--resume", log)
    assert status == 2 and out == whole
    assert calls[2:] == ["again"]  # the face of the first picture was not judged again
    assert run(folder, "--json", "--resume", log)[1].count("\n") == 4 and len(calls) == 3


def test_answers_to_other_questions_are_not_taken_up(run: Run, photo: Path, tmp_path: Path) -> None:
    run(photo, "--resume", tmp_path / "kept.jsonl")
    status, out, err = run(photo, "Which kind?", "--csv", "--resume", tmp_path / "kept.jsonl")
    assert (status, out) == (2, "") and err.endswith("or options; choose another file\n")
    status, out, _ = run(photo, "--every", "2", "--resume", tmp_path / "kept.jsonl")
    assert (status, out) == (2, ""), "frames would be mixed with those of another interval"


def video(path: Path, seconds: int = 2) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (290, 300))
    for _ in range(10 * seconds):
        writer.write(sheet(0)[..., ::-1])
    writer.release()
    return path


def test_faces_are_framed_to_the_size_that_the_model_takes(tuned: Path, photo: Path) -> None:
    """A larger base would see 128 pixels enlarged; nano keeps what it was tuned on."""
    assert Session(tuned, None, False, ["?"])._side == 128
    side = Session(None, "qwen3-vl-2b", False, ["?"])._side
    (face,) = look(next(shots([photo], 1)), False, side).faces
    assert face.image.shape == (448, 448, 3)


def test_of_a_video_frames_are_sampled(run: Run, tmp_path: Path) -> None:
    clip = video(tmp_path / "clip.avi").rename(tmp_path / "clip.jpg")  # the suffix lies
    status, out, _ = run(clip, "--json", "--every", "0.8")
    said = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and [one["second"] for one in said] == [0, 0.8, 1.6]
    assert run(clip, "--every", "0")[2].startswith("dfa_lib.ask: --every 0.0: not a time;")


class Clip:
    """A capture of ten frames a second from second 10 to 13, or one of which none can be decoded.

    OpenCV writes no such file itself.
    """

    def __init__(self, whole: bool) -> None:
        self.whole, self.at = whole, -1

    def grab(self) -> bool:
        self.at += 1
        return self.at < 30

    def get(self, _: int) -> float:
        return 10_000 + 100 * self.at

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return self.whole, np.zeros((8, 8, 3), np.uint8)

    def release(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("whole", [True, False])
def test_a_video_may_start_late_or_hold_no_frame_that_decodes(
    whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = video(tmp_path / "clip.avi")
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: Clip(whole))
    found = list(shots([clip], 1))
    assert [shot.second for shot in found] == ([10, 11, 12] if whole else [None])
    assert whole or "no frame of this video can be decoded" in found[0].error


def test_frames_keep_their_interval(tmp_path: Path) -> None:
    """Prevents the third of .6 that is 2.9999999999999996, and with it a frame too many."""
    found = [shot.second for shot in shots([video(tmp_path / "clip.avi")], 0.2)]
    assert found == pytest.approx([0.2 * at for at in range(10)])


def test_a_broken_video_is_named(run: Run, tmp_path: Path) -> None:
    torn = tmp_path / "clip.mp4"
    torn.write_bytes(b"\0\0\0\x18ftypisom" + bytes(500))
    status, _, err = run(torn)
    assert status == 2 and f"{torn}: no frame of this video can be decoded; save it" in err


def test_pictures_come_from_standard_input(
    run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = io.TextIOWrapper(io.BytesIO(photo.read_bytes()))
    monkeypatch.setattr(sys, "stdin", pipe)
    status, out, _ = run("-", "--json")
    assert status == 0 and json.loads(out)["picture"] == "standard input"


def test_a_fault_of_a_library_stops_no_other_picture(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(image: np.ndarray, side: int) -> list:
        raise cv2.error("out of\n  luck")

    monkeypatch.setattr("dfa_lib.ask.shots.pictures", fault)
    (shot,) = shots([photo], 1)
    assert look(shot, aligned=False).error == f"{photo}: cannot be searched: out of luck"


@pytest.mark.parametrize(
    ("words", "question"),
    [
        (["a.jpg", "Is it real?"], "Is it real?"),
        (["a.jpg", "b.jpg", "Describe this face."], "Describe this face."),
        (["a.jpg", "是真的吗？"], "是真的吗？"),
        (["a.jpg", "my holiday.jpg"], ask.QUESTION),
        (["a.jpg", "holidays"], ask.QUESTION),
        (["no such picture"], ask.QUESTION),
    ],
)
def test_a_question_is_told_from_a_mistyped_path(words: list[str], question: str) -> None:
    pictures, questions = ask._meant(words, [])
    assert questions == [question] and (pictures == words) == (question == ask.QUESTION)


@pytest.mark.parametrize("question", ["", " ", "x" * (LONGEST_QUESTION + 1), "gef\udce4lscht"])
def test_a_question_that_cannot_be_asked_is_one_line(run: Run, photo: Path, question: str) -> None:
    status, out, err = run(photo, "-q", question)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"dfa_lib.ask: question {question.strip()!a:.60}: ")


def test_a_question_in_an_old_locale_is_read_as_it_was_typed() -> None:
    assert asked(" gef\udcc3\udca4lscht? ") == asked("gefälscht?") == "gefälscht?"


def test_without_a_model_the_lesson_is_named(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask.main([str(photo), "--model", str(tmp_path / "none")]) == 2
    assert "run lesson 02" in capsys.readouterr().err


def test_a_merged_checkpoint_is_told_from_no_model(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    assert ask.main([str(photo), "--model", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "a merged checkpoint" in said and "name the folder that it was merged from" in said


def shell(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip


def test_from_the_shell_a_bad_picture_leaves_one_line_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    done = shell("-m", "dfa_lib.ask", "empty.jpg", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "dfa_lib.ask: empty.jpg: the file is empty; copy or download it again\n"
    assert [path.name for path in tmp_path.iterdir()] == ["empty.jpg"]


def test_what_needs_no_model_waits_for_none(tmp_path: Path) -> None:
    done = shell("-X", "importtime", "-m", "dfa_lib.ask", "none.jpg", cwd=tmp_path)
    imported = set(re.findall(r"\| +(\w+)$", done.stderr, re.M))
    assert done.returncode == 2 and "cv2" in imported
    assert imported.isdisjoint({"torch", "transformers", "peft", "scipy", "IPython"})


def test_an_answer_imports_no_widget_and_no_figure(tuned: Path, photo: Path) -> None:
    command = ("-X", "importtime", "-m", "dfa_lib.ask", str(photo), "--model", str(tuned))
    done = shell(*command, cwd=photo.parent)
    imported = set(re.findall(r"\| +(\w+)$", done.stderr, re.M))
    assert done.returncode == 0 and "torch" in imported
    assert imported.isdisjoint({"ipywidgets", "IPython", "matplotlib", "datasets", "pandas"})
