"""The benchmark against the clock: 500 pictures with nano, report included.

Three wordings of DF-D, three of DF-C and one description each. ``infer_throughput`` compares with
one question at a time.

    python -m benchmarks.bench_speed
"""

import hashlib
import json
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from dfa_lib.bench.exam import set_exam
from dfa_lib.bench.perturb import LEVELS, perturb
from dfa_lib.bench.report import Report
from dfa_lib.bench.run import ask_all
from dfa_lib.bench.scoring import score_all
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.instruct.conversations import load_records
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import Face
from dfa_lib.runtime import RESCUE

IMAGES = 500


def variants(faces: FaceSet, root: Path, count: int) -> FaceSet:
    """So many different pictures, made of the rescue copy's faces, all of them to be tested."""
    (root / "images").mkdir()
    return FaceSet(root, tuple(_variant(faces, root, number) for number in range(count)))


def _variant(faces: FaceSet, root: Path, number: int) -> Face:
    face, version = faces.faces[number % len(faces)], number // len(faces)
    kind = list(LEVELS)[version % len(LEVELS)]
    picture = perturb(faces.image(face), kind, 1 + version // len(LEVELS))
    path = root / "images" / f"{number:04}.png"
    Image.fromarray(picture).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    new = {"id": path.stem, "image": f"images/{path.name}", "sha256": digest, "split": "test"}
    return face.model_copy(update=new)


def main() -> None:
    """Print how long it took; last line: seconds of the whole run."""
    rescue = FaceSet.read(RESCUE / "01_instruct")
    records = load_records(RESCUE / "01_instruct" / "instruct.jsonl")
    analyst = LocalAnalyst(RESCUE / "02_gpt")
    with tempfile.TemporaryDirectory() as folder:
        faces = variants(rescue, Path(folder), IMAGES)
        begin, busy = time.perf_counter(), time.process_time()
        exam, out = set_exam(faces), Path(folder) / "bench"
        answers = ask_all({"dfa-gpt": analyst}, exam, out)
        known = {record.id: record for record in records}
        Report(score_all(answers, exam, known), out, faces).save()
        seconds, busy = time.perf_counter() - begin, time.process_time() - busy
        print(f"{len(exam.test)} images, {sum(map(len, exam.questions.values()))} questions each:"
              f" {seconds:.1f} seconds, report included; {busy:.1f} of processor time on"
              f" {torch.get_num_threads()} threads")  # fmt: skip
    print(json.dumps({"seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
