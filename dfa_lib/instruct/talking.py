"""Free conversation (FC) by a language model, from the label and the description alone."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from zlib import crc32

from pydantic import BaseModel, ConfigDict, field_validator

from dfa_lib.endpoint import Answer, Endpoint, Request
from dfa_lib.findings import regions, verdict
from dfa_lib.instruct.answers import Talk, Unanswered, collect, kept
from dfa_lib.instruct.conversations import (
    FORGERIES,
    OPTIONS,
    converse,
    detection_label,
    two_regions,
)
from dfa_lib.instruct.evidence import BARE_SKIN
from dfa_lib.instruct.prompting import Requests, Writer, plain
from dfa_lib.instruct.wording import meaning
from dfa_lib.records import QA, Annotation, Face
from dfa_lib.shards import Shard, block, shard_path
from dfa_lib.taxonomy import CLASSES, Region, Split, Task

TURNS = 4
Asked = tuple[Face, int]


class Turn(BaseModel):
    """One question and its answer as a model has to write them."""

    model_config = ConfigDict(extra="forbid")
    question: str
    answer: str

    _plain = field_validator("question", "answer")(plain)


class Conversation(BaseModel):
    """The answer to the prompt "converse": one turn for each of its four points."""

    model_config = ConfigDict(extra="forbid")
    first_region: Turn
    second_region: Turn
    category: Turn
    follow_up: Turn


class Talking(Writer):
    """A language model that writes free conversation; it is shown no picture.

    A structured prompt has the model write questions and answers; with a plain one the
    questions are those of the rule, and it answers each. A talk that claims what the
    description does not is set aside.
    """

    def __init__(self, endpoint: Endpoint, prompt_name: str = "converse", seed: int = 0) -> None:
        super().__init__(endpoint, prompt_name, Conversation)
        self._seed = seed

    def talk(
        self,
        faces: Collection[Face],
        notes: Mapping[str, Annotation],
        out: Path,
        shard: Shard | None = None,
    ) -> dict[str, Talk]:
        """Write ``out``/talks.jsonl for the faces that have a note; return it by face id.

        What is there already is kept, unless its description has changed since. Faces without
        a usable answer stand in talks.unanswered.jsonl, and their conversation is by rule.
        """
        path = shard_path(out / "talks.jsonl", shard)
        mine = {face.id: face for face in block(faces, shard) if face.id in notes}

        def fresh(talk: Talk) -> bool:
            return talk.face not in notes or notes[talk.face].text == talk.about

        known = kept(path, Talk, self.annotator, fresh)
        todo = [face for face in mine.values() if face.id not in known]
        return collect(path, list(mine), known, self._answers(todo, notes))

    def requests(self, faces: Iterable[Face], notes: Mapping[str, Annotation]) -> Requests[Asked]:
        """What is sent for ``faces``: for ``Endpoint.estimate`` and ``submit``."""
        turns = range(1 if self.schema else TURNS)
        asked = [(face, turn) for face in faces for turn in turns]
        return Requests(lambda item: self._request(*item, notes[item[0].id]), asked)

    def _request(self, face: Face, turn: int, note: Annotation) -> Request:
        fields = {"label": _label(face), "description": note.text}
        if self.schema:
            text = self._prompt.texts["all"].format(**fields, **self._topics(face, note))
        else:
            question = self._ruled(face, note)[turn].question
            text = self._prompt.texts["each"].format(**fields, question=question)
        return Request(
            id=f"{face.id}/{turn}",
            system=self._prompt.system.strip(),
            text=text.strip(),
            max_tokens=self._prompt.max_tokens,
            seed=crc32(f"{self._seed}/{face.id}".encode()),  # else equal texts make equal talks
        )

    def _topics(self, face: Face, note: Annotation) -> dict[str, str]:
        """What the four turns are about: two regions in the balance of the rule, a category."""
        dice = Random(f"{self._seed}/{face.id}")
        first, second = two_regions(note.findings, dice)
        own = face.category if face.category in FORGERIES and dice.random() < 0.5 else None
        touched = dict.fromkeys(finding.region for finding in note.findings)
        return {
            "meaning": meaning(face.category),
            "touched": ", ".join(touched) or "none",
            "first": first,
            "second": second,
            "category": (own or dice.choice(FORGERIES)).phrase,
        }

    def _ruled(self, face: Face, note: Annotation) -> list[QA]:
        return [qa for qa in converse(face, note, self._seed).qa if qa.task is Task.FC]

    def _answers(
        self, todo: Sequence[Face], notes: Mapping[str, Annotation]
    ) -> Iterator[Talk | Unanswered]:
        """Ask for all faces; a talk comes out when its last turn has been answered."""
        faces, waiting = {face.id: face for face in todo}, defaultdict(dict)
        requests = self.requests(todo, notes)
        for answer in self._endpoint.ask(requests, self.schema) if todo else ():
            key, _, turn = answer.id.rpartition("/")
            waiting[key][int(turn)] = answer
            if len(waiting[key]) == len(requests) // len(todo):
                answers = [answer for _, answer in sorted(waiting.pop(key).items())]
                talk = partial(self._talk, faces[key], notes[key], answers)
                yield self.read(key, answers, talk)

    def _talk(self, face: Face, note: Annotation, answers: list[Answer]) -> Talk:
        """Sign every turn: who wrote it stands where a template would."""
        if self.schema:
            said = Conversation.model_validate(answers[0].parsed)
            pairs = [(turn.question, turn.answer) for _, turn in said]
        else:
            asked = self._ruled(face, note)
            pairs = [(qa.question, plain(a.text)) for qa, a in zip(asked, answers, strict=True)]
        part = "train" if face.split is Split.TRAIN else "test"
        template = f"FC/endpoint/{part}/{self.annotator.model}@{self._prompt.signature}"
        turns = [QA(task=Task.FC, question=q, answer=a, template=template) for q, a in pairs]
        check_faithful(turns, face, note)
        return Talk(face=face.id, about=note.text, turns=tuple(turns), annotator=self.annotator)


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


def _label(face: Face) -> str:
    """What a face is, in a sentence."""
    if face.category in CLASSES:
        return OPTIONS[Task.DF_C][face.category]
    return OPTIONS[Task.DF_D][detection_label(face.category)]
