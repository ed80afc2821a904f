"""Descriptions by a model behind an endpoint: what it is shown, and what is made of its words."""

import base64
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random
from threading import Event

import numpy as np
import pytest
from chat_server import ChatServer, fill
from PIL import Image

from dfa_lib.endpoint import Ceiling, Endpoint
from dfa_lib.instruct.__main__ import main
from dfa_lib.instruct.annotate import Unanswered, annotate
from dfa_lib.instruct.audit import audit
from dfa_lib.instruct.card import data_card
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.prompting import prompt
from dfa_lib.instruct.vlm_annotator import Looking
from dfa_lib.records import (
    Annotation,
    Annotator,
    DataError,
    InstructRecord,
    read_jsonl,
    write_jsonl,
)
from dfa_lib.runtime import RESCUE
from dfa_lib.taxonomy import CLASSES, Artifact, Category, Region

FACES = FaceSet.read(RESCUE / "01_instruct")
ONE_EACH = [next(face for face in FACES if face.category is category) for category in CLASSES]
GOOD = {
    "findings": [
        {"region": "mouth", "artifact": "blur", "evidence": "The mouth is  soft\nat its rim"},
        {"region": "eyes", "artifact": "asymmetry", "evidence": "One eye sits lower. "},
    ],
    "natural": "The forehead looks untouched.",
}


def some(n: int = 10) -> FaceSet:
    """A few faces, of each category, with their counterparts."""
    few = {face.id: face for face in [*ONE_EACH, *list(FACES)[:n]]}
    few |= {face.source: FACES[face.source] for face in few.values() if face.source}
    return FaceSet(FACES.root, tuple(few.values()))


def endpoint(server: ChatServer, cache: Path, **more: object) -> Endpoint:
    return Endpoint("stand-in", server.url, cache=cache, **more)


def saying(answer: object) -> Callable[[dict], str]:
    return lambda body: answer if isinstance(answer, str) else json.dumps(answer)


def sent(server: ChatServer) -> dict[str, tuple[str, list[np.ndarray]]]:
    """The text and the pictures of every request, by the id of the face shown last."""
    seen = {}
    for _, _, content in server.received:
        parts = json.loads(content)["messages"][-1]["content"]
        urls = [part["image_url"]["url"] for part in parts if "image_url" in part]
        files = [base64.b64decode(url.partition(",")[2]) for url in urls]
        pictures = [np.array(Image.open(io.BytesIO(file))) for file in files]
        owner = next(f.id for f in FACES if np.array_equal(FACES.image(f), pictures[-1]))
        seen[owner] = parts[-1]["text"], pictures
    return seen


# --- what is sent -------------------------------------------------------------------------


def test_pairs_for_fs_fr_fe_and_single_pictures_for_the_rest(tmp_path: Path) -> None:
    with ChatServer(reply=saying(GOOD), keep=True) as server:
        annotate(some(), "endpoint", tmp_path, endpoint=endpoint(server, tmp_path / "c"))
        shown = sent(server)
        body = json.loads(server.received[0][2])
    for face in some():
        text, pictures = shown[face.id]
        paired = face.category in ("FS", "FR", "FE")
        assert len(pictures) == 1 + paired
        if paired:
            assert np.array_equal(pictures[0], FACES.image(FACES[face.source]))
        assert face.category.phrase in text, "the annotator is told the label"
        assert face.method is None or face.method not in text
    system = body["messages"][0]["content"]
    assert all(word in system for word in (*Region, *Artifact))
    assert body["response_format"]["json_schema"]["name"] == "Description"


def test_an_unpaired_forgery_is_shown_alone(tmp_path: Path) -> None:
    face = next(f for f in FACES if f.category == "FS").model_copy(update={"source": None})
    look = Looking(Endpoint("m", "http://127.0.0.1:9/v1", cache=tmp_path))
    request = next(iter(look.requests(FACES, [face])))
    assert len(request.images) == 1 and "no original" in request.text


@pytest.mark.parametrize("name", ["describe", "converse"])
def test_prompt_files_are_whole(name: str) -> None:
    read = prompt(name)
    assert read.signature == f"{name}@{read.version}" and read.texts and read.max_tokens > 0
    assert "  " not in " ".join([read.system, *read.texts.values()]), "a broken line continuation"


def test_an_unknown_prompt_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="choose one of converse, describe"):
        prompt("describ")


# --- what is made of the answer -----------------------------------------------------------


def test_answers_become_findings_and_the_text_says_no_more(tmp_path: Path) -> None:
    with ChatServer(reply=saying(GOOD)) as server:
        notes = annotate(some(), "endpoint", tmp_path, endpoint=endpoint(server, tmp_path / "c"))
    for note in notes.values():
        assert [(f.region, f.artifact) for f in note.findings] == [
            (Region.MOUTH, Artifact.BLUR),
            (Region.EYES, Artifact.ASYMMETRY),
        ]
        assert note.text == (
            "The mouth is soft at its rim. One eye sits lower. The forehead looks untouched."
        )
        assert note.annotator == Annotator(
            name="endpoint at 127.0.0.1", model="stand-in", prompt_version="describe@1"
        )
    kept = [note.face for note in read_jsonl(tmp_path / "annotations.jsonl", Annotation)]
    assert kept == [face.id for face in some()], "the file has the order of the faces"


def test_the_card_tells_what_the_server_did_not_take(tmp_path: Path) -> None:
    refuses = ["seed", "json_schema"]
    options = {"seed": 7}
    with ChatServer(reply=saying(GOOD), quirks=refuses) as server:
        asked = endpoint(server, tmp_path / "c", options=options)
        notes = annotate(some(), "endpoint", tmp_path, endpoint=asked)
    told = data_card(InstructRecord(face=FACES[name], annotation=note, qa=())
                     for name, note in notes.items())  # fmt: skip
    for one in ("seed: not sent", "structured output: json_object"):
        assert f"not as asked: stand-in: {one}." in told
    plain = notes | {name: note.model_copy(update={"settings": ()}) for name, note in notes.items()}
    assert "not as asked" not in data_card(
        InstructRecord(face=FACES[name], annotation=note, qa=()) for name, note in plain.items()
    )


def test_the_audit_tells_its_true_claims_from_its_inventions(tmp_path: Path) -> None:
    """A stand-in that always accuses the mouth: right where the mouth was altered."""
    claim = {"findings": GOOD["findings"][:1], "natural": ""}
    with ChatServer(reply=saying(claim)) as server:
        notes = annotate(FACES, "endpoint", tmp_path, endpoint=endpoint(server, tmp_path / "c"))
    checked = audit(FACES, notes)
    paired = [face for face in FACES if face.category in ("FS", "FR", "FE")]
    right = [
        checked[f.id].findings[0].supported is (Region.MOUTH in f.altered_regions) for f in paired
    ]
    assert sum(right) >= 0.9 * len(right)
    held = {category: Counter() for category in Category}
    for name, note in checked.items():
        held[FACES[name].category].update(claim.supported for claim in note.findings)
    assert held[Category.BONA_FIDE].keys() == {False}
    assert held[Category.EFS][False] <= 10
    assert 0 < held[Category.FE][True] < held[Category.FE].total()


def test_only_the_vendor_goes_without_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def name(url: str | None) -> str:
        return Looking(Endpoint("gpt-4o", url, cache=Path("unused"))).annotator.name

    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert name(None) == name("https://api.openai.com/v1") == "endpoint"
    assert name("http://localhost:8000/v1") == "endpoint at localhost"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.org/v1")
    assert name(None) == "endpoint at elsewhere.org"


@pytest.mark.parametrize(
    ("model", "said"),
    [("gpt-4o", "gpt-4o"), ("owner/name", "owner/name"), ("/home/me/work/nano-1f", "nano-1f")],
)
def test_no_path_of_this_machine_stands_in_a_record(model: str, said: str, tmp_path: Path) -> None:
    ask = Endpoint(model, "http://127.0.0.1:9/v1", cache=tmp_path)
    assert Looking(ask).annotator.model == said


# --- what goes wrong ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("refusal", "refusal", "I cannot help with that."),
        ("invalid schema", "invalid", "findings: Field required"),
    ],
)
def test_what_has_no_answer_is_recorded_and_the_rest_goes_on(
    tmp_path: Path, fault: str, kind: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with ChatServer(fault=fault, share=0.6, stubborn=True) as server:
        ask = endpoint(server, tmp_path / "c")
        notes = annotate(some(), "endpoint", tmp_path, endpoint=ask)
        charged, file = server.books.charged.total(), tmp_path / "annotations.jsonl"
        before = file.read_bytes()
        assert annotate(some(), "endpoint", tmp_path, endpoint=ask) == notes
        assert server.books.charged.total() == charged, "nothing is paid twice"
        assert file.read_bytes() == before
    aside = list(read_jsonl(tmp_path / "annotations.unanswered.jsonl", Unanswered))
    assert 0 < len(aside) < len(some())
    assert {one.face for one in aside} | set(notes) == {face.id for face in some()}
    assert not {one.face for one in aside} & set(notes)
    assert all(one.kind == kind and said in one.reason for one in aside)
    assert aside[0].annotator.model == "stand-in"
    assert f"{len(aside)} faces have no answer" in capsys.readouterr().out


def test_a_model_that_never_answers_as_asked_is_left_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten in a row are enough; and with fewer faces, none described is no success either."""
    monkeypatch.setenv("OPENAI_API_KEY", "-")
    faces = FaceSet(FACES.root, tuple(one for one in FACES if not one.source)[:40])
    with ChatServer(reply=saying({"finding": []})) as server:
        with pytest.raises(DataError, match=r"model: ten answers in a row .*; try"):
            ask = endpoint(server, tmp_path / "c", concurrency=1)
            annotate(faces, "endpoint", tmp_path, endpoint=ask)
        assert server.books.charged.total() < 40
        shutil.copytree(FACES.root / "images", tmp_path / "images")
        write_jsonl(tmp_path / "faces.jsonl", faces.faces[:3])
        given = ["annotate", "--model", "stand-in", "--base-url", server.url]
        assert main([*given, "--out", str(tmp_path)]) == 2
    assert "no face got a description" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("conversations --seed -1", "--seed -1: give a number of 0 or more"),
        ("conversations --seed -1 --model m", "--seed -1: give a number of 0 or more"),
        ("annotate --model gpt-4o --money -1", "--money -1.0: give a number of 0 or more"),
        ("annotate --model gpt-4o --money nan", "--money nan: give a number of 0 or more"),
        ("annotate --workers 0", "--workers 0: give a number of 1 or more"),
        ("annotate --model=", "--model: none given"),
        ("annotate --base-url http://localhost:8000", "--model: none given"),
        ("conversations --money 3", "--model: none given"),
        ("annotate --model m --base-url http://", "base_url='http://': not an address"),
        ("annotate --model m --money 3", "model='m': no price known"),
        ("faces --seed -1", "--seed -1: give a number of 0 or more"),
        ("faces --self-blended -1", "--self-blended -1: give a number of 0 or more"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str, said: str
) -> None:
    shutil.copy(FACES.root / "annotations.jsonl", tmp_path)
    assert main([*given.split(), "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"dfa_lib.instruct: {said}") and told.count("\n") == 1
    assert not (tmp_path / "answers").exists(), "nobody was asked"


def test_once_all_are_answered_the_list_of_the_unanswered_goes(tmp_path: Path) -> None:
    faces = FaceSet(FACES.root, tuple(one for one in some() if not one.source)[:5])
    with ChatServer(reply=saying("no JSON")) as server:
        assert not annotate(faces, "endpoint", tmp_path, endpoint=endpoint(server, tmp_path / "1"))
        assert (tmp_path / "annotations.unanswered.jsonl").exists()
        server.reply = saying(GOOD)
        assert len(annotate(faces, "endpoint", tmp_path, endpoint=endpoint(server, tmp_path / "2")))
    assert not (tmp_path / "annotations.unanswered.jsonl").exists()


def test_the_ceiling_stops_and_what_was_paid_for_is_kept(tmp_path: Path) -> None:
    with ChatServer(reply=saying(GOOD)) as server:
        poor = endpoint(server, tmp_path / "c", ceiling=Ceiling(requests=4), concurrency=1)
        with pytest.raises(DataError, match=r"ceiling|request"):
            annotate(some(), "endpoint", tmp_path, endpoint=poor)
        assert len(list(read_jsonl(tmp_path / "annotations.jsonl", Annotation))) <= 4
        rich = endpoint(server, tmp_path / "c")
        assert len(annotate(some(), "endpoint", tmp_path, endpoint=rich)) == len(some())
        assert server.books.charged.total() == len(some())


def test_two_annotators_do_not_share_a_file_but_people_may(tmp_path: Path) -> None:
    with ChatServer(reply=saying(GOOD)) as server:
        ask = endpoint(server, tmp_path / "c")
        human = Annotation(
            face=ONE_EACH[0].id, findings=(), text="Fine.", annotator=Annotator(name="a person")
        )
        write_jsonl(tmp_path / "annotations.jsonl", [human])
        notes = annotate(some(), "endpoint", tmp_path, endpoint=ask)
        assert notes[ONE_EACH[0].id] == human and len(notes) == len(some())
    said = r"written by endpoint at 127\.0\.0\.1 · stand-in · describe@1, not by measuring · 2"
    with pytest.raises(DataError, match=said) as caught:
        annotate(some(), "measuring", tmp_path)
    assert "\n" not in str(caught.value)


def test_an_endpoint_has_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no endpoint given"):
        annotate(some(), "endpoint", tmp_path)


def test_what_a_batch_has_answered_is_not_asked_again(tmp_path: Path) -> None:
    with ChatServer(reply=saying(GOOD)) as server:
        ask = endpoint(server, tmp_path / "c")
        look = Looking(ask)
        assert ask.estimate(look.requests(some()), look.schema).requests == len(some())
        assert ask.submit(look.requests(some()), look.schema) == len(some())
        ask.collect(poll=0.05)
        assert server.books.charged.total() == len(some())
        assert len(annotate(some(), look, tmp_path)) == len(some())
        assert server.books.charged.total() == len(some())


# --- interrupted --------------------------------------------------------------------------

RUN = """
import sys
from pathlib import Path
from dfa_lib.endpoint import Endpoint
from dfa_lib.instruct.annotate import annotate
from dfa_lib.instruct.faceset import FaceSet
root, url, out = sys.argv[1:]
ask = Endpoint("stand-in", url, cache=Path(out) / "cache", concurrency=6)
annotate(FaceSet.read(Path(root)), "endpoint", Path(out), endpoint=ask)
"""


def kill(server: ChatServer, out: Path, number: int) -> None:
    """Start a run, and kill it while it waits for its answer ``number`` and gets others."""
    asked, waits, gone = count(1), Event(), Event()

    def reply(body: dict) -> str:
        if next(asked) == number:
            waits.set()
            gone.wait()
        return fill(body)

    server.reply = reply
    command = [sys.executable, "-c", RUN, FACES.root, server.url, out]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as run:
        while not waits.wait(1):
            assert run.poll() is None, "it ended before it asked so often"
        time.sleep(Random().random() / 20)
        run.kill()
    gone.set()
    server.reply = fill
    assert run.returncode == -signal.SIGKILL, "it was killed before it was done"


def bytes_of(out: Path) -> list[bytes]:
    return [(out / f"annotations{kind}.jsonl").read_bytes() for kind in ("", ".unanswered")]


@pytest.mark.timeout(300)  # two processes import everything, and other work may crowd them out
def test_killed_and_resumed_the_files_are_the_same_to_the_byte(tmp_path: Path) -> None:
    """SIGKILL at random moments; refusals among the answers, which come in any order."""
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    with ChatServer(fault="refusal", share=0.15, latency=0.05) as server:
        for most in (40, 15):
            kill(server, torn, Random().randint(2, most))
        for out in (whole, torn):
            ask = endpoint(server, out / "cache", concurrency=6)
            annotate(FACES, "endpoint", out, endpoint=ask)
    assert bytes_of(torn) == bytes_of(whole)
    assert all(len(content.splitlines()) > 3 for content in bytes_of(whole))
