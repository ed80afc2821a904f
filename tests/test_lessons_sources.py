"""Lessons 01 to 04 on every source: what is not known is said, and nothing fails."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
from lessons import COURSE, ROOT
from trees import frames, picture, split_lists, video, write_json

from tools.run_notebooks import run_all

pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("warm")]
DDVQA = Path(__file__).parents[2] / "shared" / "data" / "ddvqa_c40"
LONDON = Path(__file__).parents[2] / "shared" / "data" / "london"
needs_ddvqa = pytest.mark.skipif(not DDVQA.is_dir(), reason=f"no DD-VQA in {DDVQA}")
needs_london = pytest.mark.skipif(not LONDON.is_dir(), reason=f"no London Set in {LONDON}")
PEOPLE = ("071", "054", "001", "002", "003", "004")
PAIRS = ("071_054", "054_071", "001_002", "002_001", "003_004", "004_003")


def run(source: str, root: Path, folder: Path) -> None:
    """Run lessons 01 to 04 strictly; nothing spoilt is shown, as it is alike for every source."""
    given = {"SOURCE": source, "ROOT": str(root), "FAST": True, "SPOILT": 0}
    run_all(COURSE[1:], folder, given)


def some_of_ddvqa(folder: Path, count: int = 24) -> list[tuple[Path, bool]]:
    """Copy some pictures, as many bona fide as forged; return each with whether it is forged."""
    folder.mkdir(parents=True)
    every = sorted((DDVQA / "pictures").glob("*.jpg"))
    kinds = ((one for one in every if one.name.startswith("5_") is real) for real in (True, False))
    chosen = [path for kind in kinds for path in islice(kind, count // 2)]
    return [(Path(shutil.copy(path, folder)), path.name[0] != "5") for path in chosen]


@pytest.mark.notebook
@needs_ddvqa
def test_a_table_of_paths_and_labels(tmp_path: Path) -> None:
    """As one command, whole."""
    pictures = some_of_ddvqa(tmp_path / "data")
    with (tmp_path / "data/faces.csv").open("w", newline="") as file:
        rows = [(path.name, "fake" if forged else "real") for path, forged in pictures]
        csv.writer(file).writerows([("path", "label"), *rows])
    given = ("SOURCE=table", f"ROOT={tmp_path / 'data/faces.csv'}", f"WORK={tmp_path / 'work'}")
    pairs = [word for one in (*given, "FAST=True") for word in ("-p", one)]
    command = [sys.executable, "-m", "tools.run_notebooks", *pairs, *map(str, COURSE[1:])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]
    said = {lesson: printed(tmp_path / "work" / lesson.name) for lesson in COURSE[1:]}
    data, _, bench, chat = said.values()
    for line in ("nobody is named", "no counterpart", "12 faces with 3 QA each", "no pair with"):
        assert line in data
    for line in (
        "nobody known",
        "a test person was is not known",
        "region F1 is not known",
        "no calibration",
    ):
        assert line in bench
    assert "not calibrated" in chat and "nan to nan" not in bench


def printed(lesson: Path) -> str:
    """All text that the cells of an executed lesson show."""
    cells = json.loads(lesson.read_text("utf-8"))["cells"]
    shown = [output for cell in cells for output in cell.get("outputs", ())]
    texts = (one.get("text") or one.get("data", {}).get("text/plain") or () for one in shown)
    return "".join(line for text in texts for line in text)


@pytest.mark.full
@pytest.mark.notebook
@needs_ddvqa
def test_an_image_folder(tmp_path: Path) -> None:
    for path, forged in some_of_ddvqa(tmp_path / "data/all"):
        place = tmp_path / "data" / ("fake" if forged else "real")
        place.mkdir(exist_ok=True)
        path.rename(place / path.name)
    run("imagefolder", tmp_path / "data", tmp_path)


@pytest.mark.full
@pytest.mark.notebook
@needs_ddvqa
def test_ddvqa(tmp_path: Path) -> None:
    some_of_ddvqa(tmp_path / "data/pictures")
    shutil.copytree(DDVQA / "DQ_FF++", tmp_path / "data/DQ_FF++")
    run("ddvqa", tmp_path / "data", tmp_path)


@pytest.mark.full
@pytest.mark.notebook
@needs_london
def test_london(tmp_path: Path) -> None:
    run("london", LONDON, tmp_path)


def clips(root: Path, folders: dict[str, Sequence[str]], films: bool, tail: str = "") -> None:
    """Write every clip of some folders, as a film or as two frames; those forged differ."""
    for folder, names in folders.items():
        forged = "synth" in folder or "manipulated" in folder
        for at, name in enumerate(names):
            if films:
                place = root / folder / tail / ("videos" if tail else "") / f"{name}.mp4"
                video(place, 2, f"p0-train-{at % 4:04d}", mark=forged)
            else:
                frames(root / folder / tail / "frames" / name, (0, 9), seed=at)


def faceforensics_tree(root: Path, films: bool) -> None:
    split_lists(root / "FaceForensics++")
    folders = {"original_sequences/youtube": PEOPLE, "manipulated_sequences/Deepfakes": PAIRS,
               "manipulated_sequences/Face2Face": PAIRS}  # fmt: skip
    clips(root / "FaceForensics++", folders, films, "c23")


def celebdf_tree(root: Path, films: bool) -> None:
    folders = {"Celeb-real": ["id0_0000", "id1_0000", "id2_0000", "id3_0000"],
               "Celeb-synthesis": ["id0_id3_0000", "id1_id2_0000", "id2_id1_0000"],
               "YouTube-real": ["00170", "00171"]}  # fmt: skip
    clips(root, folders, films)
    tested = ["1 Celeb-real/id0_0000.mp4", "1 YouTube-real/00170.mp4"]
    listed = [*tested, "0 Celeb-synthesis/id0_id3_0000.mp4"]
    (root / "List_of_testing_videos.txt").write_text("\n".join(listed) + "\n")


def df40_tree(root: Path) -> None:
    faceforensics_tree(root, films=False)
    for at, name in enumerate(PAIRS):
        tree = "DF40_train" if at < 2 else "DF40"
        frames(root / tree / "simswap/frames" / name, (0,), seed=at)
        picture(root / tree / "e4e/ff/inversions" / f"{name[:3]}_9.jpg", at)


def deepfakebench_tree(root: Path) -> None:
    faceforensics_tree(root, films=False)
    where = {"FF-real": ("original_sequences/youtube", PEOPLE),
             "FF-DF": ("manipulated_sequences/Deepfakes", PAIRS)}  # fmt: skip
    splits = {"train": slice(0, 2), "test": slice(2, 4), "val": slice(4, 6)}
    content = {
        label: {
            split: {
                "c23": {
                    name: {
                        "label": label,
                        "frames": [f"FaceForensics++/{folder}/c23/frames/{name}/{k}.png"
                                   for k in ("000", "009")],
                    }
                    for name in names[part]
                }
            }
            for split, part in splits.items()
        }
        for label, (folder, names) in where.items()
    }  # fmt: skip
    write_json(root / "dataset_json/FaceForensics++.json", {"FaceForensics++": content})


TREES = {
    "df40": df40_tree,
    "deepfakebench": deepfakebench_tree,
    "faceforensics": partial(faceforensics_tree, films=False),
    "faceforensics films": partial(faceforensics_tree, films=True),
    "celebdf": partial(celebdf_tree, films=False),
    "celebdf films": partial(celebdf_tree, films=True),
}


@pytest.mark.full
@pytest.mark.notebook
@pytest.mark.parametrize("kind", TREES)
def test_research_trees(tmp_path: Path, kind: str) -> None:
    TREES[kind](tmp_path / "data")
    run(kind.partition(" ")[0], tmp_path / "data", tmp_path)
