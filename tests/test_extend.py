"""The page on extending: every block of it runs as it stands there."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.runtime import RESCUE
from facesim.forge import METHODS

PAGE = (Path(__file__).parents[1] / "docs" / "extend.md").read_text("utf-8")
BLOCKS = dict(re.findall(r"^## (.+?)$.*?^```python\n(.*?)^```$", PAGE, re.M | re.S))
PRINTED = {
    "A forgery method": r"Region\.CHEEKS",
    "An analyst": r"\[0\.\d+, 0\.\d+, 0\.\d+\]|\(0\.\d+",
    "LoRA rank and targets": r"trainable params: [\d,]+",
    "Another base": r"^llava$",
    "A question type": r"^$",
    "My own labelled pictures": r"\{'train': \d+, 'val': \d+, 'test': \d+\}",
}


def own_pictures() -> None:
    faces = FaceSet.read(RESCUE / "01_instruct")
    with Path("faces.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["Bild", "Urteil"])
        for face in list(faces.split("test"))[:12]:
            shutil.copy(faces.root / face.image, Path(face.image).name)
            word = "falsch" if face.category.forged else "echt"
            table.writerow([Path(face.image).name, word])


@pytest.mark.parametrize("title", PRINTED)
def test_a_block_runs_as_it_stands(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own_pictures()
    kept = dict(METHODS)
    try:
        exec(compile(BLOCKS[title], title, "exec"), {"__name__": "mine"})
    finally:
        METHODS.clear()
        METHODS.update(kept)
    assert re.search(PRINTED[title], capsys.readouterr().out.strip(), re.M)


def test_all_sections_are_run() -> None:
    assert set(PRINTED) == set(BLOCKS) == set(re.findall(r"^## (.+)$", PAGE, re.M))
