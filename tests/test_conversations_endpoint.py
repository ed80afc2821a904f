"""Free conversation by a language model: from text alone, checked, and by rule where it fails."""

import json
from collections import Counter
from pathlib import Path

import pytest
from chat_server import ChatServer
from test_annotate_endpoint import FACES, endpoint, saying

from dfa_lib.endpoint import Endpoint
from dfa_lib.instruct.conversations import build_conversations, converse
from dfa_lib.instruct.llm_conversations import Talking
from dfa_lib.records import Annotation, read_jsonl
from dfa_lib.taxonomy import Region, Split, Task

NOTES = {note.face: note for note in read_jsonl(FACES.root / "annotations.jsonl", Annotation)}
SWAP = next(face for face in FACES if face.category == "FS")
PLAIN = next(face for face in FACES if not face.category.forged)


def talk_of(*answers: str) -> dict:
    kinds = ("first_region", "second_region", "category", "follow_up")
    turns = [{"question": f"Question {k}?", "answer": text} for k, text in enumerate(answers)]
    return dict(zip(kinds, turns, strict=True))


CALM = talk_of("No, it looks natural.", "No.", "It is a kind of forgery", "Fairly sure.")


def test_the_model_sees_label_and_description_and_no_picture(tmp_path: Path) -> None:
    with ChatServer(reply=saying(CALM), keep=True) as server:
        Talking(endpoint(server, tmp_path / "c")).talk(FACES, NOTES)
        bodies = [json.loads(content) for _, _, content in server.received]
    assert len(bodies) == len(FACES)
    texts = [body["messages"][-1]["content"][0]["text"] for body in bodies]
    assert not any("image_url" in json.dumps(body) for body in bodies)
    for face in FACES:
        mine = [text for text in texts if f"Description: {NOTES[face.id].text}\n" in text]
        assert any(face.category.phrase in text for text in mine)
    assert len({body["seed"] for body in bodies}) == len(FACES), "equal texts, different talks"


def test_half_of_the_regions_asked_about_are_untouched(tmp_path: Path) -> None:
    look = Talking(Endpoint("stand-in", "http://127.0.0.1:9/v1", cache=tmp_path / "c"))
    paired = [face for face in FACES if face.category in ("FS", "FR", "FE")]
    asked = []
    for face, request in zip(paired, look.requests(paired, NOTES), strict=True):
        points = [line for line in request.text.splitlines() if "something is wrong" in line]
        touched = {finding.region for finding in NOTES[face.id].findings}
        asked += [Region(line.rsplit("the ")[-1].rstrip(";")) in touched for line in points]
    assert Counter(asked) == {True: len(paired), False: len(paired)}


def test_turns_take_the_place_of_the_rule_and_say_who_wrote_them(tmp_path: Path) -> None:
    with ChatServer(reply=saying(CALM)) as server:
        talks = Talking(endpoint(server, tmp_path / "c")).talk(FACES, NOTES)
    ruled = build_conversations(FACES, NOTES, tmp_path / "rule")
    written = build_conversations(FACES, NOTES, tmp_path / "model", talks=talks)
    for one, other in zip(ruled, written, strict=True):
        part = "train" if one.face.split is Split.TRAIN else "test"
        assert one.qa[:3] == other.qa[:3], "DF-D, DF-C and AD stay as they were"
        assert [qa.task for qa in other.qa[3:]] == [Task.FC] * 4
        assert other.qa[5].answer == "It is a kind of forgery."
        assert {qa.template for qa in other.qa[3:]} == {f"FC/endpoint/{part}/stand-in@converse@1"}


@pytest.mark.parametrize(
    ("face", "answers", "said"),
    [
        (PLAIN, ("Yes, the nose shows blur.", "No.", "No.", "Sure."), "accuses the nose"),
        (SWAP, ("No.", "No.", "This face is bona fide.", "Sure."), "calls a forged face bona"),
        (SWAP, ("No.", "No.", "See <b>here</b>.", "Sure."), "without tags"),
    ],
)
def test_a_talk_that_leaves_the_description_is_set_aside(
    tmp_path: Path,
    face: object,
    answers: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ChatServer(reply=saying(talk_of(*answers))) as server:
        talks = Talking(endpoint(server, tmp_path / "c")).talk([face], NOTES)
    printed = capsys.readouterr().out
    assert (
        not talks and "by rule are 1 of 1 conversations: invalid: " in printed and said in printed
    )
    by_rule = build_conversations([face], NOTES, tmp_path, talks=talks)
    assert list(by_rule) == [converse(face, NOTES[face.id])]


def test_what_the_description_says_may_be_said(tmp_path: Path) -> None:
    region = NOTES[SWAP.id].findings[0].region.value
    answers = (f"Yes, the {region} looks wrong.", "No.", "Yes.", "No, the rest looks natural.")
    talk = talk_of(*answers)
    talk["follow_up"]["question"] = "Was this face forged anywhere else?"
    with ChatServer(reply=saying(talk)) as server:
        assert Talking(endpoint(server, tmp_path / "c")).talk([SWAP], NOTES)


def test_only_talks_about_a_changed_description_are_asked_anew(tmp_path: Path) -> None:
    few = list(FACES)[:6]
    with ChatServer(reply=saying(CALM)) as server:
        talker = Talking(endpoint(server, tmp_path / "c"))
        talker.talk(few, NOTES)
        new = NOTES[few[2].id].model_copy(update={"text": "Every region looks calm."})
        talks = talker.talk(few, NOTES | {new.face: new})
        assert server.books.charged.total() == 7
    assert set(talks) == {face.id for face in few}
