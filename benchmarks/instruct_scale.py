"""Does step 3 of DFA-Instruct, with the export, stay flat in memory and linear in time?

Run from the repository root: ``python -m benchmarks.instruct_scale`` (about 5 minutes, one
core). Four sizes up to the paper's 127,300 faces: the plan is the real one, every face takes
landmarks, picture and annotation from one of FACES that were really made. Each size runs in a
process of its own, whose peak memory is told. Seconds of the steps, and the exponent fitted to
them, are processor time, which other work on the machine does not change; "wall" and QA per
second are by the clock. Last line: one JSON object {"images", "qa", "peak_mib", "exponent",
"qa_per_s"}.
"""

import json
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from dfa_lib.instruct.annotate import annotate
from dfa_lib.instruct.conversations import build_conversations
from dfa_lib.instruct.export import to_llava
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.sources import load_faces
from dfa_lib.records import Annotation, ById, Face, InstructRecord, Stored, read_jsonl, write_jsonl
from facesim.plan import Job, plan
from facesim.populations import Procedural

SIZES = (15_900, 31_800, 63_600, 127_300)
FACES, PIXELS = 240, 64


def make_world(root: Path) -> None:
    """Really make and annotate a few faces; their pictures are used again and again."""
    faces = load_faces("procedural", root, n=FACES, size=PIXELS)
    annotate(faces)


def make_size(world: Path, root: Path, n: int) -> None:
    """Write the faces.jsonl and annotations.jsonl of ``n`` planned faces."""
    faces, jobs = FaceSet.read(world), plan(Procedural(), n, seed=0)
    made = defaultdict(list)
    for face in faces:
        made[face.category, face.method].append(face)
    models = {kind: cycle(alike) for kind, alike in made.items()}
    chosen = [next(models[job.category, job.method]) for job in jobs]
    notes = {note.face: note for note in read_jsonl(world / "annotations.jsonl", Annotation)}
    write_jsonl(root / "faces.jsonl", map(planned, jobs, chosen))
    write_jsonl(
        root / "annotations.jsonl",
        (
            notes[model.id].model_copy(update={"face": job.id})
            for job, model in zip(jobs, chosen, strict=True)
        ),
    )


def planned(job: Job, model: Face) -> Face:
    """The face of a job, with the picture and the landmarks of another of its method."""
    people = [take.person for take in (job.target, job.donor) if take]
    return model.model_copy(
        update={
            "id": job.id,
            "split": job.split,
            "identities": tuple(people[: len(model.identities)]) or (f"synthetic-{job.id}",),
            "source": job.target.face if job.target and job.method else None,
        }
    )


def run(root: Path) -> dict[str, float]:
    """Step 3 and the export of one size: seconds of each, QA, peak memory in MiB."""
    faces = Stored(root / "faces.jsonl", Face)
    path = root / "instruct.jsonl"
    steps: dict[str, Callable[[], object]] = {
        "step 3 and card": lambda: build_conversations(
            faces, ById(Stored(root / "annotations.jsonl", Annotation)), root
        ),
        "LLaVA": lambda: to_llava(records(path), root / "llava"),
    }
    told, began = {}, time.perf_counter()
    for name, step in steps.items():
        before = time.process_time()
        step()
        told[name] = time.process_time() - before
    told["total"], told["wall"] = sum(told.values()), time.perf_counter() - began
    told["QA"] = sum(len(record.qa) for record in records(path))
    told["MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return told


def records(path: Path) -> Iterator[InstructRecord]:
    """The records of a file, one at a time."""
    return read_jsonl(path, InstructRecord)


def alone(work: Callable, *arguments: object) -> object:
    """Do ``work`` in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def main() -> None:
    """Run all sizes; print a table and one line of JSON."""
    table = {}
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        make_world(world)
        for n in SIZES:
            with tempfile.TemporaryDirectory() as place:
                alone(make_size, world, Path(place), n)
                table[n] = told = alone(run, Path(place))
            if n == SIZES[0]:
                print("    faces", *(f"{name:>9}" for name in told))
            print(f"{n:9,}", *(f"{value:9,.0f}" for value in told.values()), flush=True)
    seconds = [table[n]["total"] for n in SIZES]
    exponent = np.polyfit(np.log(SIZES), np.log(seconds), 1)[0]
    most = table[SIZES[-1]]
    result = {
        "images": SIZES[-1],
        "qa": most["QA"],
        "peak_mib": round(max(told["MiB"] for told in table.values())),
        "exponent": round(float(exponent), 3),
        "qa_per_s": round(most["QA"] / most["wall"]),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
