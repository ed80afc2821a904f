"""Free conversation (FC) by a language model, from the label and the description alone."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from zlib import crc32

from pydantic import field_validator

from dfa_lib.endpoint import Answer, Endpoint, Request
from dfa_lib.findings import regions, verdict
from dfa_lib.instruct.annotate import Unanswered
from dfa_lib.instruct.conversations import FORGERIES, OPTIONS, two_regions, unplaced
from dfa_lib.instruct.evidence import BARE_SKIN
from dfa_lib.instruct.prompting import Requests, Writer, plain
from dfa_lib.instruct.wording import meaning
from dfa_lib.records import QA, Annotation, Face, Record
from dfa_lib.taxonomy import Region, Split, Task


class Turn(Record):
    """One question and its answer as a model has to write them."""

    question: str
    answer: str

    _plain = field_validator("question", "answer")(plain)


class Conversation(Record):
    """The answer to the prompt "converse": one turn for each of its four points."""

    first_region: Turn
    second_region: Turn
    category: Turn
    follow_up: Turn


class Talking(Writer):
    """A language model that writes free conversation; it is shown no picture."""

    def __init__(self, endpoint: Endpoint, seed: int = 0) -> None:
        super().__init__(endpoint, "converse", Conversation)
        self._seed = seed

    def talk(
        self, faces: Iterable[Face], notes: Mapping[str, Annotation]
    ) -> dict[str, tuple[QA, ...]]:
        """Return the turns on each of ``faces`` that has a note, and is not unplaced, by its id.

        A face without a usable answer, or whose talk claims what the description does not, is
        missing; why is printed. The cache of the endpoint keeps every answer: a second call asks
        about nothing but what has changed.
        """
        told = (face for face in faces if face.id in notes)
        mine = {face.id: face for face in told if not unplaced(face, notes[face.id])}
        talks: dict[str, tuple[QA, ...]] = {}
        aside = Counter[str]()

        def read(answer: Answer) -> tuple[str, tuple[QA, ...]]:
            return answer.id, self._turns(mine[answer.id], notes[answer.id], answer)

        for one in self.ask(self.requests(mine.values(), notes), read):
            if isinstance(one, Unanswered):
                aside[f"{one.kind}: {one.reason}"] += 1
            else:
                talks[one[0]] = one[1]
        if aside:
            told = "; ".join(reason for reason, _ in aside.most_common(3))
            print(f"by rule are {aside.total():,} of {len(mine):,} conversations: {told}")
        return talks

    def requests(self, faces: Iterable[Face], notes: Mapping[str, Annotation]) -> Requests[Face]:
        """What is sent for ``faces``: for ``Endpoint.estimate`` and ``submit``."""
        return Requests(lambda face: self._request(face, notes[face.id]), list(faces))

    def _request(self, face: Face, note: Annotation) -> Request:
        """Ask about two regions in the balance of the rule, and about a category."""
        rng = Random(f"{self._seed}/{face.id}")
        first, second = two_regions(note.findings, rng)
        own = face.category in FORGERIES and rng.random() < 0.5
        category = face.category if own else rng.choice(FORGERIES)
        touched = dict.fromkeys(finding.region for finding in note.findings)
        text = self._prompt.texts["all"].format(
            label=OPTIONS[Task.DF_C].get(face.category, OPTIONS[Task.DF_D]["forged"]),
            meaning=meaning(face.category),
            description=note.text,
            touched=", ".join(touched) or "none",
            first=first,
            second=second,
            category=category.phrase,
        )
        return Request(
            id=face.id,
            system=self._prompt.system.strip(),
            text=text.strip(),
            max_tokens=self._prompt.max_tokens,
            seed=crc32(f"{self._seed}/{face.id}".encode()),  # else equal texts make equal talks
        )

    def _turns(self, face: Face, note: Annotation, answer: Answer) -> tuple[QA, ...]:
        """Sign every turn: who wrote it stands where a template would."""
        part = "train" if face.split is Split.TRAIN else "test"
        template = f"FC/endpoint/{part}/{self.annotator.model}@{self._prompt.signature}"
        turns = tuple(
            QA(task=Task.FC, question=turn.question, answer=turn.answer, template=template)
            for _, turn in Conversation.model_validate(answer.parsed)
        )
        check_faithful(turns, face, note)
        return turns


def check_faithful(turns: Sequence[QA], face: Face, note: Annotation) -> None:
    """Raise ValueError if an answer accuses a region that the description does not.

    So does an answer that calls a forged face bona fide. What is said about bona fide faces,
    other than accusations, is not checked: an explanation of face swapping is no verdict.
    """
    touched = {finding.region for finding in note.findings} | regions(note.text)
    if touched & BARE_SKIN:
        touched.add(Region.SKIN)
    for turn in turns:
        if odd := regions(turn.answer) - touched:
            raise ValueError(f"accuses the {sorted(odd)[0]}, unlike the description: {turn.answer}")
        if face.category.forged and verdict(turn.answer, Task.DF_D) == "bona fide":
            raise ValueError(f"calls a forged face bona fide: {turn.answer}")
