"""Part the test faces of a work folder into what teams get and the key that stays with you.

    python -m tools.seal work/secret build/sealed

``hand_out/`` holds pictures under new names in random order, and the protocol; its faces.jsonl
calls every face forged and says nothing else of it. ``key/`` takes the place of ``work`` for
``python -m tools.leaderboard build/sealed/key SUBMISSIONS PAGE``. Whoever knows the seed can make
the same faces and compare: run lesson 01 with ``-p SEED=`` and a long number of your own.
"""

import argparse
import shutil
import sys
from pathlib import Path
from random import SystemRandom

from dfa_lib.bench.exam import set_exam
from dfa_lib.errors import command
from dfa_lib.instruct.conversations import load_records
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import DataError, Face, InstructRecord, inside, write_jsonl
from dfa_lib.taxonomy import Category, Split


def seal(work: Path, out: Path) -> int:
    """Write ``out``/hand_out and ``out``/key; return the number of faces.

    Raises DataError for an ``out`` in use, or test faces without a record.
    """
    if out.exists():
        raise DataError(f"{out}: it is there already; name a new folder")
    faces = FaceSet.read(work / "01_instruct")
    told = {record.id: record for record in load_records(faces.root / "instruct.jsonl")}
    test = list(faces.split(Split.TEST))
    if missing := [face.id for face in test if face.id not in told]:
        raise DataError(f"{faces.root}: {missing[0]} has no record; run lesson 01 to its end")
    SystemRandom().shuffle(test)
    key, public = out / "key" / "01_instruct", out / "hand_out"
    records = []
    for number, face in enumerate(test):
        records.append(_renamed(told[face.id], f"face_{number:05}"))
        for folder in (key, public):
            target = folder / records[-1].face.image
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(inside(faces.root, face.image), target)
    write_jsonl(key / "instruct.jsonl", records)
    write_jsonl(key / "faces.jsonl", [record.face for record in records])
    write_jsonl(public / "faces.jsonl", [_blank(record.face) for record in records])
    exam = set_exam(FaceSet.read(key))
    for folder in (out / "key" / "03_bench", public):
        folder.mkdir(exist_ok=True)
        exam.save(folder)
    return len(records)


def _renamed(record: InstructRecord, name: str) -> InstructRecord:
    """A record of the key: the truth, under a name that tells nothing."""
    face = record.face.model_copy(
        update={"id": name, "image": f"images/{name}.png", "source": None, "mask": None}
    )
    note = record.annotation.model_copy(update={"face": name})
    return record.model_copy(update={"face": face, "annotation": note})


def _blank(face: Face) -> Face:
    """What teams get of a face: its picture."""
    return Face(
        id=face.id,
        image=face.image,
        sha256=face.sha256,
        category=Category.FORGED,
        dataset="sealed",
        identities=(face.id,),
        split=Split.TEST,
        licence=face.licence,
    )


def main() -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path, help="where lesson 01 has run, with a seed of your own")
    parser.add_argument("out", type=Path, help="a new folder")
    given = parser.parse_args()
    return command("tools.seal", lambda: print(seal(given.work, given.out), "faces in", given.out))


if __name__ == "__main__":
    sys.exit(main())
