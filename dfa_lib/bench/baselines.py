"""Simple analysts, for comparison: those that do not look, and logistic regressions.

Chance and majority do not look at all, blind is the analyst itself without the picture, and
the probes are logistic regressions: on the analyst's own frozen vision tower, and on classical
features (that the task is not trivially separable).
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from types import MappingProxyType
from uuid import uuid4

import cv2
import numpy as np
from scipy.fft import dctn
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from dfa_lib.analysts import TASKS, Analyst, Question, Reply
from dfa_lib.bench.description_metrics import best_constant, named
from dfa_lib.bench.exam import truth
from dfa_lib.files import digest
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.wording import describe
from dfa_lib.records import Face, Finding, InstructRecord
from dfa_lib.taxonomy import Artifact, Task

Images = Sequence[np.ndarray]
Asked = Sequence[Sequence[Question]]
Features = Callable[[Images], np.ndarray]
GREY = 128
RINGS = 32
UNLIKELY = -30.0  # the log-probability of a class that no training face is of


class Control(Analyst):
    """An analyst that answers question by question; a class of your own needs a name.

    Unless it sets a fingerprint, its answers on file are used for this instance only: make a new
    one for another threshold or another checkpoint.
    """

    tasks, batch = TASKS, 32

    @cached_property
    def fingerprint(self) -> str:
        """A random name of this instance."""
        return uuid4().hex

    def reply(self, images: Images, questions: Asked) -> list[list[Reply]]:
        """Answer ``questions[i]`` on ``images[i]`` (RGB uint8, (H, W, 3))."""
        pairs = zip(images, questions, strict=True)
        return [[self.answer(image, one) for one in asked] for image, asked in pairs]

    def answer(self, image: np.ndarray, question: Question) -> Reply:
        """Answer one question."""
        raise NotImplementedError


class Chance(Control):
    """Throws dice; describes a face by the annotation of a random training face.

    The dice are seeded by picture and question, so that no order of asking matters.
    """

    def __init__(self, texts: Sequence[str] = (), seed: int = 0) -> None:
        self.name = "chance"
        self.texts = tuple(texts) or ("",)
        self.seed = seed
        self.fingerprint = digest(repr((self.texts, seed)))

    def answer(self, image: np.ndarray, question: Question) -> Reply:
        """Draw log-probabilities for the options, or a description."""
        state = hashlib.sha256(f"{self.seed}/{question.text}".encode() + image.tobytes())
        dice = np.random.default_rng(list(state.digest()))
        if question.options:
            return choose(question, np.log(dice.dirichlet(np.ones(len(question.options)))))
        return Reply(self.texts[dice.integers(len(self.texts))], None, 0, 0.0)


class Majority(Control):
    """Always gives the most frequent answer, and describes the best constant set of regions."""

    def __init__(
        self, train: Sequence[Face], records: Mapping[str, InstructRecord] = MappingProxyType({})
    ) -> None:
        self.name = "majority"
        self.shares = {task: _log_shares(train, task) for task in (Task.DF_D, Task.DF_C)}
        regions = named(best_constant(train, records))
        blur = [Finding(region=one, artifact=Artifact.BLUR, evidence="") for one in regions]
        self.text = describe(blur)
        self.fingerprint = digest(repr((self.shares, self.text)))

    def answer(self, image: np.ndarray, question: Question) -> Reply:
        """Give the training frequencies as log-probabilities, or the constant description."""
        if question.options:
            return choose(question, self.shares[question.task])
        return Reply(self.text, None, 0, 0.0)


class Blind(Control):
    """An analyst that is shown the same grey picture whatever the face is."""

    def __init__(self, analyst: Analyst) -> None:
        self.name = "blind"
        self.analyst = analyst
        self.fingerprint = analyst.fingerprint
        self._known: dict[Question, Reply] = {}

    def reply(self, images: Images, questions: Asked) -> list[list[Reply]]:
        """Ask each different question once; the answer cannot depend on the picture."""
        new = dict.fromkeys(one for asked in questions for one in asked if one not in self._known)
        if new:
            grey = np.full_like(images[0], GREY)
            (replies,) = self.analyst.reply([grey], [list(new)])
            self._known |= zip(new, replies, strict=True)
        return [[self._known[one] for one in asked] for asked in questions]


class Classifier(Control):
    """Answers DF-D and DF-C from what it makes of the picture, in whatever words it is asked."""

    tasks = (Task.DF_D, Task.DF_C)

    def logprobs(self, images: Images) -> Mapping[Task, np.ndarray]:
        """Return by task a log-probability (N, options) of each answer, in the order offered."""
        raise NotImplementedError

    def reply(self, images: Images, questions: Asked) -> list[list[Reply]]:
        """Answer closed questions by the likeliest option."""
        known = self.logprobs(images)
        return [
            [choose(one, known[one.task][at]) for one in asked]
            for at, asked in enumerate(questions)
        ]


class Probe(Classifier):
    """Logistic regressions on features of the picture: one for DF-D, one for DF-C."""

    def __init__(self, name: str, features: Features, train: FaceSet) -> None:
        self.name = name
        self.features = features
        known = batches(features, train)
        self.models = {
            task: _fit(known, [truth(face, task) for face in train]) for task in self.tasks
        }
        fitted = [getattr(model[-1], "coef_", np.zeros(0)) for model in self.models.values()]
        self.fingerprint = digest(repr([weights.round(6).tobytes() for weights in fitted]))

    def logprobs(self, images: Images) -> Mapping[Task, np.ndarray]:
        """Return what the regressions make of the features."""
        seen = self.features(images)
        return {task: _ordered(model, seen, task) for task, model in self.models.items()}


def choose(question: Question, logprobs: Sequence[float]) -> Reply:
    """The reply that prefers the likeliest option; ``logprobs`` in the order of the options."""
    options = question.options or ()
    return Reply(options[int(np.argmax(logprobs))], tuple(map(float, logprobs)), 0, 0.0)


def batches(features: Features, faces: FaceSet) -> np.ndarray:
    """Features (N, D) of all pictures of a set, 64 pictures in memory at a time."""
    parts = (faces.faces[start : start + 64] for start in range(0, len(faces), 64))
    return np.concatenate([features([faces.image(face) for face in part]) for part in parts])


def dct_features(images: Images) -> np.ndarray:
    """Log energy in 32 rings of the DCT, of each 8x8 DCT coefficient, and a noise histogram."""
    return np.stack([_dct(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)) for image in images])


def pixel_features(images: Images) -> np.ndarray:
    """The picture at 16x16 pixels, in [0, 1]."""
    small = [cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA) for image in images]
    return np.stack(small).reshape(len(small), -1) / 255


def _dct(grey: np.ndarray) -> np.ndarray:
    grey = grey.astype(float)
    height, width = grey.shape
    energy = np.bincount(_rings(height, width), (dctn(grey, norm="ortho") ** 2).ravel(), RINGS)
    blocks = grey[: height // 8 * 8, : width // 8 * 8].reshape(height // 8, 8, width // 8, 8)
    block = (dctn(blocks, axes=(1, 3), norm="ortho") ** 2).mean(axis=(0, 2)).ravel()
    rough = cv2.Laplacian(grey, cv2.CV_64F)
    histogram = np.histogram(np.clip(rough, -40, 40), 41, (-40, 40))[0] / rough.size
    return np.concatenate([np.log(energy + 1), np.log(block + 1), np.sqrt(histogram)])


@lru_cache(maxsize=8)
def _rings(height: int, width: int) -> np.ndarray:
    """Return in which ring each DCT coefficient lies, row by row, (height * width,)."""
    y, x = np.mgrid[:height, :width]
    ring = np.hypot(y / height, x / width) * RINGS / np.sqrt(2)
    return np.minimum(ring, RINGS - 1).astype(int).ravel()


def _fit(features: np.ndarray, answers: Sequence[str | None]) -> Pipeline:
    """Fit the known answers; where these are all the same, that is the answer."""
    known = np.array([answer is not None for answer in answers])
    answers = [answer for answer in answers if answer is not None]
    last = LogisticRegression(C=0.1, max_iter=1000)
    if len(set(answers)) < 2:
        last = DummyClassifier(strategy="most_frequent")
    with threadpool_limits(1):  # its steps are so short that threads mostly wait
        return make_pipeline(StandardScaler(), last).fit(features[known], answers)


def _ordered(model: Pipeline, features: np.ndarray, task: Task) -> np.ndarray:
    """Log-probabilities (N, options) by option; a class never seen is unlikely."""
    labels = [*OPTIONS[task]]
    table = np.full((len(features), len(labels)), UNLIKELY)
    known = [labels.index(name) for name in model.classes_]
    table[:, known] = np.log(np.maximum(model.predict_proba(features), np.exp(UNLIKELY)))
    return table


def _log_shares(faces: Sequence[Face], task: Task) -> tuple[float, ...]:
    counts = Counter(truth(face, task) for face in faces)
    return tuple(float(np.log((counts[name] + 1) / (len(faces) + 1))) for name in OPTIONS[task])
