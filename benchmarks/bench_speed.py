"""The benchmark against the clock: 500 images x 3 tasks with nano, and one question at a time.

First a whole run, report included: three wordings of DF-D, three of DF-C, one description, on
500 pictures. Then a part of the same questions answered in words twice: as the benchmark asks,
all questions of a picture from its keys and values, pictures side by side; and as is usual,
``generate`` with the picture anew for every question. The answers must be the same.

    python -m benchmarks.bench_speed
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dfa_lib.analysts import TASKS, Question
from dfa_lib.bench.exam import Exam, set_exam
from dfa_lib.bench.perturb import LEVELS, perturb
from dfa_lib.bench.report import Report
from dfa_lib.bench.run import ask_all
from dfa_lib.bench.scoring import score_all
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.instruct.conversations import load_records
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import Face
from dfa_lib.runtime import RESCUE

IMAGES, COMPARED, ROUNDS = 500, 16, 3


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


def one_by_one(analyst: LocalAnalyst, image: np.ndarray, asked: list[Question]) -> Iterator[str]:
    """The answers of ``generate``, one question at a time, the picture with each."""
    processor, tokenizer = analyst.prompter.processor, analyst.prompter.tokenizer
    for question in asked:
        parts = [{"type": "image"}, {"type": "text", "text": question.text}]
        turn = [{"role": "user", "content": parts}]
        prompt = processor.apply_chat_template(turn, add_generation_prompt=True)
        inputs = processor(images=Image.fromarray(image), text=prompt, return_tensors="pt")
        with torch.inference_mode():
            out = analyst.model.generate(
                **inputs, max_new_tokens=analyst.preset.max_new_tokens, do_sample=False
            )
        ids = out[0, inputs["input_ids"].shape[1] :]
        yield tokenizer.decode(ids, skip_special_tokens=True).strip()


def compare(analyst: LocalAnalyst, exam: Exam) -> tuple[float, bool]:
    """How many times faster our way is on the same questions, and whether all answers agree.

    The ways take turns, and the best of three rounds counts: other work on the machine can only
    slow a round down.
    """
    images = [exam.faces.image(face) for face in exam.test[:COMPARED]]
    first = exam.test[0]
    asked = [replace(q, options=None) for task in TASKS for q in exam.asked(first, task)]
    analyst.reply(images[:1], [asked])  # warm-up
    ours, theirs, agree = [], [], True
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        shared = [
            [r.text.strip() for r in row] for row in analyst.reply(images, [asked] * COMPARED)
        ]
        half = time.perf_counter()
        single = [list(one_by_one(analyst, image, asked)) for image in images]
        ours.append(half - begin)
        theirs.append(time.perf_counter() - half)
        agree &= shared == single
    count = len(images) * len(asked)
    print(f"shared prefix, side by side   {count / min(ours):8.1f} answers per second")
    print(f"generate, one by one          {count / min(theirs):8.1f} answers per second")
    return min(theirs) / min(ours), agree


def main() -> None:
    """Print both; last line: seconds of the whole run, ratio, and whether answers agree."""
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
        ratio, identical = compare(analyst, exam)
    print(json.dumps({"seconds": round(seconds, 1), "ratio": round(ratio, 2),
                      "identical": identical}))  # fmt: skip


if __name__ == "__main__":
    main()
