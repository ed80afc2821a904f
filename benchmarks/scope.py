"""Does the analyst know its limits? What it judges, what it refuses, and what that is worth.

    python -m benchmarks.scope [--work FOLDER] [--london ROOT] [--other FOLDER ...] [--more PEOPLE]

Reads what lessons 01 to 03 left in ``work/`` (about seven minutes on two cores). Held-out faces
should be judged; pictures without a face and pictures of another world should not; no everyday
condition should make bona fide faces alarming. For the last, ``--more`` people of the sample
world are made, whom nobody has seen, because the test split has too few to tell 5 % from 8 %.
Other worlds are the test faces as drawings, as negatives, and with red and blue exchanged, and
the pictures in each ``--other`` folder. From London's photographs, where ``--london`` says they
are, the people of the world were modelled: most may be judged. A table shows single pictures
before (whatever comes gets a number) and after. The last line is JSON.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from scipy.special import expit
from scipy.stats import binomtest
from skimage import data
from sklearn.datasets import load_sample_images

from dfa_lib.bench import metrics
from dfa_lib.bench.calibration import Calibration, calibration
from dfa_lib.bench.coverage import strangers
from dfa_lib.bench.scope import Picture, forged_logits, framed, refusals
from dfa_lib.chat.verdict import judge, percent
from dfa_lib.conditions import CONDITIONS, under
from dfa_lib.face.detect import find_faces
from dfa_lib.face.geometry import Image
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.sources import load_faces
from dfa_lib.photo import open_photo
from dfa_lib.records import DataError
from dfa_lib.runtime import lesson, work_path
from dfa_lib.taxonomy import Split
from facesim.populations import London

NO_FACE = (
    "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "horse",
    "hubble_deep_field", "immunohistochemistry", "moon", "page", "retina", "rocket", "text",
)  # fmt: skip
"""Pictures of scikit-image's own package; the camera is held by a man who turns away."""


_ROUNDS = 10  # how often pictures are taken under a condition at most


def main() -> None:
    """Measure, print a table, then everything as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, default=work_path(), metavar="FOLDER")
    parser.add_argument("--london", type=Path, metavar="ROOT")
    parser.add_argument("--other", type=Path, nargs="*", default=(), metavar="FOLDER")
    parser.add_argument("--more", type=int, default=600, metavar="PEOPLE")
    args = parser.parse_args()
    analyst = LocalAnalyst(lesson(args.work, "02_gpt"))
    fitted = calibration(analyst, args.work / "03_bench")
    if fitted is None or fitted.scope is None:
        raise DataError(f"{args.work / '03_bench'}: no scope of this analyst; run lesson 03")
    test = FaceSet.read(lesson(args.work, "01_instruct")).split(Split.TEST)
    images = [test.image(face) for face in test]
    forged = np.array([face.category.forged for face in test])
    photos = {name: _rgb(getattr(data, name)()) for name in NO_FACE}
    strange = strangers(images[:100], [*photos.values(), *load_sample_images().images])
    empty = [*strange["no face"], *map(_found, photos.values())]
    other = {"drawn, negative, channels exchanged": strange["another world"]}
    other |= {folder.name: _faces(_pictures(folder)) for folder in args.other}
    if args.london:
        other["London"] = _faces(_london(args.london))
    calm = [images[at] for at in np.flatnonzero(~forged)] + people(args.more, analyst)
    report = {
        "faces": len(images),
        "no_faces": len(empty),
        **risk(analyst, fitted, images, forged),
        "abstained_no_face": _share(refused(analyst, empty, fitted)),
        "other_worlds": {name: elsewhere(analyst, fitted, seen) for name, seen in other.items()},
        **conditions(analyst, fitted, calm),
    }
    singles = {"astronaut": _rgb(data.astronaut())} | {
        name: photos[name] for name in ("chelsea", "brick", "page")
    }
    table(analyst, fitted, singles | dict(_portraits(args.london)))
    print(json.dumps(report))


def risk(
    analyst: LocalAnalyst, fitted: Calibration, images: Sequence[Image], forged: np.ndarray
) -> dict[str, float]:
    """Return the share of held-out faces that is judged, and AURC of and at random among them."""
    logits = forged_logits(analyst, images, fitted.questions)
    judged = ~refused(analyst, images, fitted, logits)
    score = logits[judged]
    wrong = ((score >= 0) != forged[judged]).astype(float)
    once = np.ones((1, len(wrong)))
    return {
        "kept_in_scope": round(float(judged.mean()), 4),
        "aurc": round(float(metrics.risk_coverage_area(wrong, np.abs(score), once)[0]), 4),
        "aurc_random": round(float(wrong.mean()), 4),
    }


def elsewhere(
    analyst: LocalAnalyst, fitted: Calibration, pictures: Sequence[Picture]
) -> dict[str, float]:
    """Return which share of ``pictures`` gets no verdict, and which of the others is forged."""
    logits = forged_logits(analyst, list(map(framed, pictures)), fitted.questions)
    silent = refused(analyst, pictures, fitted, logits)
    called = _share(logits[~silent] >= 0)
    return {"pictures": len(pictures), "abstained": _share(silent), "called_forged": called}


def people(count: int, analyst: LocalAnalyst, seed: int = 2026) -> list[Image]:
    """Return the bona fide pictures of people of the sample world that were in no lesson."""
    with TemporaryDirectory() as folder:
        made = load_faces(out=Path(folder), n=3 * count, seed=seed, size=analyst.preset.side)
        return [made.image(face) for face in made if not face.category.forged]


def conditions(analyst: LocalAnalyst, fitted: Calibration, faces: Sequence[Image]) -> dict:
    """Return the share of bona fide ``faces`` called forged, by condition, before and after.

    Before: of all; after: of those that are judged, with a 95 % interval over faces. Under a
    condition in which few faces are judged, pictures are taken again until half as many are.
    """
    rng = np.random.default_rng(0)
    before, after, kept, within = {}, {}, {}, {}
    for kind in ("clean", *CONDITIONS):
        alarm, judged = [], []
        for _ in range(_ROUNDS):  # again, if few of them are judged
            taken = faces if kind == "clean" else [under(kind, face, rng) for face in faces]
            logits = forged_logits(analyst, taken, fitted.questions)
            alarm.append(logits >= 0)
            judged.append(~refused(analyst, taken, fitted, logits))
            if kind == "clean" or sum(map(np.sum, judged)) >= len(faces) / 2:
                break
        alarm, judged = np.concatenate(alarm), np.concatenate(judged)
        before[kind], after[kind] = _share(alarm), _share(alarm[judged])
        within[kind] = _interval(alarm[judged])
        kept[kind] = _share(judged)
    return {
        "bona_fide": len(faces),
        "false_alarm_bona_fide_clean": after.pop("clean"),
        "false_alarm_bona_fide_worst_condition": max(after.values()),
        "false_alarm_bona_fide": after,
        "interval": within,
        "false_alarm_bona_fide_without_scope": before,
        "judged_bona_fide": kept,
    }


def table(analyst: LocalAnalyst, fitted: Calibration, photos: dict[str, Image]) -> None:
    """Print what is said of each photograph, with a number for everything and with a scope."""
    for name, photo in photos.items():
        picture = _found(photo)
        (logit,) = forged_logits(analyst, [framed(picture)], fitted.questions)
        (verdict,) = judge(analyst, [picture], calibration=fitted)
        before = f"P(forged) {percent(expit(logit / fitted.temperature))}"
        print(f"{name:<12} before: {before:<16} after: {verdict.sentence}")


def refused(
    analyst: LocalAnalyst,
    pictures: Sequence[Picture],
    fitted: Calibration,
    logits: np.ndarray | None = None,
) -> np.ndarray:
    """Return which pictures get no verdict, (N,) bool."""
    return np.array([bool(why) for why in refusals(analyst, pictures, fitted.scope, logits)])


def _found(photo: Image) -> Picture:
    """Return the largest face the detector finds on a photograph, else the whole photograph."""
    return next(iter(find_faces(photo)), photo)


def _rgb(image: np.ndarray) -> Image:
    """Return a picture of scikit-image as (H, W, 3) uint8."""
    image = image if image.dtype == np.uint8 else (image * 255).astype(np.uint8)
    return np.ascontiguousarray(np.dstack([image] * 3) if image.ndim == 2 else image[..., :3])


def _faces(paths: Iterable[Path]) -> list[Picture]:
    """Return the largest face found on each photograph that shows one."""
    return [face for path in paths for face in find_faces(open_photo(path))[:1]]


def _london(root: Path) -> Iterator[Path]:
    """Yield the photographs of London's test people."""
    london = London(root)
    for person in london.people(Split.TEST, 100):
        for take in range(london.takes):
            yield root / london.frame(person, take)


def _pictures(folder: Path, most: int = 240) -> list[Path]:
    """Return about ``most`` pictures of a folder, evenly chosen."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in {".jpg", ".png", ".webp"})
    return paths[:: max(1, len(paths) // most)]


def _portraits(root: Path | None) -> Iterator[tuple[str, Image]]:
    """Yield one London portrait as it is, grey, dark and tilted by 30 degrees."""
    if root is None:
        return
    london = London(root)
    photo = open_photo(root / london.frame(london.people(Split.TEST, 1)[0], 0))
    height, width = photo.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 30, 1.0)
    yield "portrait", photo
    yield "grey", _rgb(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY))
    yield "dark", (photo * 0.3).astype(np.uint8)
    yield "tilted", cv2.warpAffine(photo, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)


def _interval(flags: np.ndarray) -> list[float]:
    low, high = binomtest(int(flags.sum()), len(flags)).proportion_ci(method="wilson")
    return [round(low, 4), round(high, 4)]


def _share(flags: np.ndarray) -> float:
    return round(float(np.mean(flags)), 4)


if __name__ == "__main__":
    main()
