"""A manifest of 100,000 rows: how memory and time of the importer grow, and what it reports.

    python -m benchmarks.import_scale [--rows 100000] [--size 64]

Every row names a small picture of its own, equal but for bytes after its end, so that it is no
copy, and with landmarks, so that the detector does not set the pace; every thousandth is a row
that cannot be used: a broken picture, an empty file, a wrong label, a duplicate path, a path
outside the root.
Each stage runs in a process of its own; ``exponent`` is the slope of log processor seconds over
log rows: other work on the machine makes the clock run on, and not these.
"""

import argparse
import csv
import json
import multiprocessing
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import process_time

import cv2
import numpy as np

from dfa_lib.instruct.sources import load_faces
from facesim.populations import Procedural

FAULTS = {
    "broken.jpg": "real",
    "empty.jpg": "fake",
    "00000000.png": "fake",
    "../outside.png": "real",
    "": "perhaps",
}
"""The rows that cannot be used, in turn; an empty path stands for a good one, wrongly labelled."""


def main() -> None:
    """Print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=64, help="pixels of a face")
    args = parser.parse_args()
    sizes = [args.rows // 10, args.rows]
    with tempfile.TemporaryDirectory() as place:
        stages = [measured(Path(place), rows, args.size) for rows in sizes]
    (first, _, *_), (last, peak, kept, skipped) = stages
    exponent = np.log(last / first) / np.log(sizes[1] / sizes[0])
    print(
        json.dumps(
            {
                "rows": args.rows,
                "peak_mib": round(peak),
                "exponent": round(float(exponent), 2),
                "kept": kept,
                "skipped": skipped,
            }
        )
    )


def measured(place: Path, rows: int, size: int) -> tuple[float, float, int, dict[str, int]]:
    """Processor seconds, peak MiB, faces and reasons of one import, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_import, (place / str(rows), rows, size))


def _import(root: Path, rows: int, size: int) -> tuple[float, float, int, dict[str, int]]:
    table = write_manifest(root / "data", rows)
    begin = process_time()
    faces = load_faces("table", root / "out", n=rows, size=size, root=table, workers=1)
    seconds = process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report = json.loads((root / "out" / "skipped.json").read_text("utf-8"))
    skipped = {reason: entry["count"] for reason, entry in report["skipped"].items()}
    return seconds, peak, len(faces), skipped


def write_manifest(root: Path, rows: int) -> Path:
    """Write the table and its pictures; return the path of the table."""
    root.mkdir(parents=True)
    portrait = Procedural(0, 64).portrait("p0-train-0000", 0)
    cv2.imwrite(str(root / "face.png"), portrait.image[..., ::-1])
    cv2.imwrite(str(root.parent / "outside.png"), portrait.image)
    np.save(root / "marks.npy", portrait.landmarks[:68])
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff no")
    (root / "empty.jpg").touch()
    with (root / "faces.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "landmarks"])
        table.writerows(_rows(root, rows))
    return root / "faces.csv"


def _rows(root: Path, rows: int) -> Iterator[tuple[str, str, str]]:
    faults = list(FAULTS.items())
    face = (root / "face.png").read_bytes()
    for number in range(rows):
        if number % 1000 == 999:
            path, label = faults[number // 1000 % len(faults)]
            yield path or "face.png", label, "marks.npy"
            continue
        name = f"{number:08d}.png"
        (root / name).write_bytes(face + name.encode())
        yield name, ("real", "fake")[number % 2], "marks.npy"


if __name__ == "__main__":
    main()
