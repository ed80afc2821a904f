"""Make the rescue files with which each lesson can start alone, from a finished work folder.

    python -m tools.make_rescue work

Takes a few faces of ``work/01_instruct``, every method and category in turn and each forgery
with its bona fide counterpart, as lossless WebP, the adapter of ``work/02_gpt`` in half
precision, and of ``work/03_bench`` what makes its verdicts calibrated. Writes
``dfa_lib/rescue`` (about 6 MB) anew; look at ``git diff --stat`` after it.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from random import Random

from PIL import Image
from safetensors.torch import load_file, save_file

from dfa_lib.bench.exam import Exam
from dfa_lib.bench.scope import Scope
from dfa_lib.errors import command
from dfa_lib.files import digest, write_atomic
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.instruct.card import data_card
from dfa_lib.instruct.conversations import load_records
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import Face, InstructRecord, inside, write_jsonl
from dfa_lib.runtime import RESCUE
from dfa_lib.taxonomy import Split

SIZES = {Split.TRAIN: 36, Split.VAL: 12, Split.TEST: 36}


def choose(faces: FaceSet, size: int) -> list[Face]:
    """At least ``size`` faces: methods in turn, each forgery followed by its counterpart."""
    chosen: dict[str, Face] = {}
    for face in _in_turn(faces):
        if len(chosen) >= size:
            break
        pair = (face, faces[face.source]) if face.source else (face,)
        chosen |= {one.id: one for one in pair}
    return sorted(chosen.values(), key=lambda face: face.id)


def _in_turn(faces: FaceSet) -> Iterator[Face]:
    """All forged faces, one of each method after the other, in an order drawn once."""
    rows: dict[str, list[Face]] = {}
    for face in Random(0).sample(list(faces), len(faces)):
        if face.method:
            rows.setdefault(f"{face.category}/{face.method}", []).append(face)
    columns = zip_longest(*(rows[name] for name in sorted(rows)))
    return (face for column in columns for face in column if face)


def keep_faces(source: Path, out: Path) -> int:
    """Write the chosen faces of lesson 01 with their records and a data card; count them."""
    faces = FaceSet.read(source)
    records = {record.id: record for record in load_records(source / "instruct.jsonl")}
    chosen = [face for split, size in SIZES.items() for face in choose(faces.split(split), size)]
    kept = [_shrunk(records[face.id], source, out) for face in chosen]
    write_jsonl(out / "faces.jsonl", [record.face for record in kept])
    write_jsonl(out / "annotations.jsonl", [record.annotation for record in kept])
    write_jsonl(out / "instruct.jsonl", kept)
    write_atomic(out / "DATA_CARD.md", data_card(kept))
    shutil.copy(source / "recipe.json", out)  # by which the same faces can be made anew
    return len(kept)


def _shrunk(record: InstructRecord, source: Path, out: Path) -> InstructRecord:
    """The record with picture and mask stored as lossless WebP, a third smaller than PNG."""
    face = record.face
    image = _webp(source, face.image, out)
    changed = {"image": image, "sha256": sha256((out / image).read_bytes()).hexdigest()}
    changed["mask"] = face.mask and _webp(source, face.mask, out)
    return record.model_copy(update={"face": face.model_copy(update=changed)})


def _webp(source: Path, name: str, out: Path) -> str:
    small = Path(name).with_suffix(".webp")
    (out / small).parent.mkdir(parents=True, exist_ok=True)
    with Image.open(inside(source, name)) as picture:
        picture.save(out / small, lossless=True, method=6)
    return small.as_posix()


def keep_adapter(source: Path, out: Path) -> None:
    """Copy the adapter folder of lesson 02 and halve its weights."""
    shutil.copytree(source / "adapter", out / "adapter")
    file = out / "adapter" / "adapter_model.safetensors"
    save_file({name: weight.half() for name, weight in load_file(file).items()}, file)


def keep_calibration(work: Path, out: Path) -> None:
    """Copy the report of lesson 03 for the halved weights, and fit a scope of their own."""
    analyst, bench = LocalAnalyst(out / "02_gpt"), out / "03_bench"
    (bench / "predictions").mkdir(parents=True)
    for name in ("report.json", "protocol.json"):
        shutil.copy(work / "03_bench" / name, bench)
    protocol = json.loads((bench / "report.json").read_text("utf-8"))["exam"]
    key = digest(protocol + analyst.fingerprint)
    (bench / "predictions" / "dfa-gpt.key").write_text(key, "utf-8")
    exam = Exam.read(bench / "protocol.json", FaceSet.read(work / "01_instruct"))
    if scope := Scope.of(analyst, exam):
        scope.save(bench)


def main() -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path, help="a folder in which lessons 01 to 03 have run")
    work = parser.parse_args().work
    return command("tools.make_rescue", lambda: make(work))


def make(work: Path) -> None:
    """Make ``RESCUE`` anew of ``work``, whole or not at all."""
    fresh = RESCUE.with_name("rescue.partial")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        count = keep_faces(work / "01_instruct", fresh / "01_instruct")
        keep_adapter(work / "02_gpt", fresh / "02_gpt")
        keep_calibration(work, fresh)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    shutil.rmtree(RESCUE, ignore_errors=True)
    fresh.rename(RESCUE)
    size = sum(file.stat().st_size for file in RESCUE.rglob("*") if file.is_file())
    print(f"{RESCUE}: {count} faces, an adapter and its calibration, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
