"""A small deterministic analyst and a gallery for chat tests; no model is loaded."""

from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from dfa_lib.analysts import TASKS, Question, Reply
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import Face, write_jsonl
from dfa_lib.taxonomy import CLASSES, Category, Split, Task
from facesim.people import portrait as modelled


class RedEye:
    """Believes in forgery as much as there is pure red in the picture."""

    name, place, fingerprint, side = "stand-in", "", "red eye", 128
    tasks, batch = TASKS, 32

    def reply(
        self, images: Sequence[np.ndarray], questions: Sequence[Sequence[Question]]
    ) -> list[list[Reply]]:
        """Score the options by the share of red pixels."""
        rows = zip(images, questions, strict=True)
        return [[self._score(self._red(image), q) for q in asked] for image, asked in rows]

    def stream(
        self, image: np.ndarray, history: Sequence[tuple[str, str]], text: str
    ) -> Iterator[str]:
        """Say how many questions came before and repeat the last, word by word."""
        for word in f"After {len(history)} questions you asked: {text}".split():
            yield word + " "

    def _red(self, image: np.ndarray) -> float:
        strong = (image[..., 0] > 200) & (image[..., 1:].max(axis=2) < 60)
        return float(strong.mean())

    def _score(self, red: float, question: Question) -> Reply:
        if question.options is None:
            return Reply("No artifact stands out.", None, 1, 0.0)
        logit = 40 * red - 1
        labels = list(OPTIONS[question.task])
        hot = {Task.DF_D: "forged", Task.DF_C: "FE"}[question.task]
        scores = tuple(logit if label == hot else 0.0 for label in labels)
        return Reply(question.options[int(np.argmax(scores))], scores, 1, 0.0)


class Blunt(RedEye):
    """Another analyst, which sees nothing."""

    def _red(self, image: np.ndarray) -> float:
        return 0.0


class Talker(RedEye):
    """Answers in words alone: forged, by face reenactment."""

    name = "talker"

    def _score(self, red: float, question: Question) -> Reply:
        label = {Task.DF_D: "forged", Task.DF_C: "FR"}[question.task]
        return Reply(OPTIONS[question.task][label], None, 1, 0.0)


class Broken(RedEye):
    """Fails at whatever it is asked, after one word."""

    def reply(self, images: object, questions: object) -> list[list[Reply]]:
        """Fail."""
        raise RuntimeError("out of memory\nlong traceback")

    def stream(self, image: object, history: object, text: str) -> Iterator[str]:
        """Fail in mid-answer."""
        yield "Well"
        raise ConnectionError("<b>endpoint down</b>")


def red_patch(side: int = 128) -> np.ndarray:
    """Return a framed face with a red patch in the upper left quarter."""
    image = portrait(side).copy()
    image[side // 8 : side // 4, side // 8 : side // 4] = (255, 0, 0)
    return image


def wall(side: int = 128) -> np.ndarray:
    """Return a picture of no face."""
    return np.full((side, side, 3), 128, np.uint8)


@cache
def portrait(side: int = 256) -> np.ndarray:
    """Return a generated photograph on which a face is found."""
    return modelled("stand-in", 0, side).image


def gallery(root: Path) -> FaceSet:
    """Write two faces of each category; the forged ones carry the red patch."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    faces = [_face(root, category, k) for k in range(2) for category in CLASSES]
    write_jsonl(root / "faces.jsonl", faces)
    return FaceSet.read(root)


def _face(root: Path, category: Category, k: int) -> Face:
    name = f"{category.value.replace(' ', '_').lower()}_{k}"
    image = red_patch() if category.forged else portrait(128).copy()
    image[-1, k] = len(name)  # so that no two files are equal
    path = root / "images" / f"{name}.png"
    Image.fromarray(image).save(path)
    return Face(
        id=name, image=f"images/{name}.png", sha256=sha256(path.read_bytes()).hexdigest(),
        category=category, method="patch" if category.forged else None, dataset="test",
        identities=(str(k),), source=f"bona_fide_{k}" if category.forged else None,
        split=Split.TEST, licence="none",
    )  # fmt: skip
