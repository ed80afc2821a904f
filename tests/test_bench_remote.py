"""Models behind HTTP sit the exam: by letter, over faults, and as the local one does."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from chat_server import ChatServer
from PIL import Image
from served import Served
from toy_bench import InWords, oracle, run_bench, toy_world, values

from dfa_lib.analysts import TASKS, Question
from dfa_lib.bench.exam import Exam, set_exam, truth
from dfa_lib.bench.remote import EndpointAnalyst
from dfa_lib.bench.run import ask
from dfa_lib.bench.scoring import score_all
from dfa_lib.endpoint import Endpoint
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.instruct.conversations import OPTIONS, load_records
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import DataError, Prediction, read_jsonl
from dfa_lib.runtime import RESCUE
from dfa_lib.taxonomy import Task

LETTERS = {"logprobs": True, "top_logprobs": 5}


class Expert(ChatServer):
    """Knows every toy face; names the letter of the right option, or says it in words."""

    def complete(self, body: dict, key: str, fault: str | None, batch: bool = False) -> dict:
        done = super().complete(body, key, fault, batch)
        if body.get("logprobs"):
            tokens = [{"token": self.reply(body)[:1], "logprob": -0.2},
                      {"token": "The", "logprob": -3.0}]  # fmt: skip
            content = [{**tokens[0], "top_logprobs": tokens}]
            done["choices"][0]["logprobs"] = {"content": content}
        return done


def _know(body: dict) -> str:
    """The truth of the one picture in the request, as a letter where letters are offered."""
    text, pictures = "", []
    for turn in body["messages"]:
        parts = turn["content"] if isinstance(turn["content"], list) else []
        text += "".join(part.get("text", "") for part in parts)
        pictures += [part["image_url"]["url"] for part in parts if "image_url" in part]
    (url,) = pictures
    image = np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
    first = text.split("\n")[0]
    task = next((t for t in OPTIONS if all(o in text for o in OPTIONS[t].values())), Task.AD)
    right = oracle(image, Question(first, task))
    rows = [row for row in text.split("\n") if row.endswith(right) and row[1:3] == ". "]
    return rows[0] if rows else right


@pytest.fixture
def exam(tmp_path: Path) -> Exam:
    faces, _ = toy_world(tmp_path / "world")
    return set_exam(faces, limit=15, val_limit=5, paraphrases=2)


def _endpoint(server: ChatServer, folder: Path, **options: object) -> Endpoint:
    return Endpoint("expert", server.url, cache=folder / "cache", options=options, concurrency=8)


@pytest.mark.parametrize("options", [LETTERS, {}], ids=["letters", "words"])
def test_an_expert_behind_http_is_perfect(exam: Exam, tmp_path: Path, options: dict) -> None:
    with Expert(reply=_know) as server:
        analyst = EndpointAnalyst(_endpoint(server, tmp_path, **options))
        told = analyst.estimate(exam)
        given = ask("expert", analyst, exam, tmp_path)
        assert told.requests == len(server.books.charged) == 15 * 5 + 5 * 2
        assert set(server.books.charged.values()) == {1}
        assert analyst.estimate(exam).answered == told.requests
    data = {"analysts": score_all({"expert": given}, exam, {}, 10)["analysts"]}
    assert values(data, "expert", "DF-D")["AUC"] == values(data, "expert", "DF-C")["accuracy"] == 1
    assert values(data, "expert", "AD")["region F1"] == 1
    closed = [one for one in given if one.task is not Task.AD]
    assert all(set(one.options) == set(OPTIONS[one.task]) for one in closed)


def test_a_server_named_by_the_environment_is_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    for url in ("http://localhost:1/v1", "http://localhost:2/v1"):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        analyst = EndpointAnalyst(Endpoint("gpt", cache=tmp_path))
        assert analyst.place == url
        seen.add(analyst.fingerprint)
    assert len(seen) == 2, "answers of one server are not taken for those of the other"


def test_faults_and_a_new_run_cost_nothing_twice(exam: Exam, tmp_path: Path) -> None:
    with Expert(reply=_know, fault="503", share=0.3) as server:
        analyst = EndpointAnalyst(_endpoint(server, tmp_path, **LETTERS))
        first = ask("expert", analyst, exam, tmp_path / "one")
        asked = len(server.books.asked)
        again = ask("expert", analyst, exam, tmp_path / "two")  # the predictions were lost
        assert len(server.books.asked) == asked > len(server.books.charged)
        assert set(server.books.charged.values()) == {1}
    assert [one.text for one in first] == [one.text for one in again]


def test_a_refusal_is_no_answer_and_a_failure_is_asked_again(exam: Exam, tmp_path: Path) -> None:
    with Expert(reply=_know, fault="refusal") as server:
        analyst = EndpointAnalyst(_endpoint(server, tmp_path))
        given = ask("expert", analyst, exam, tmp_path)
        assert {one.answer for one in given} == {None}
        assert "cannot help" in given[0].text
    with Expert(reply=_know, key="another") as server:
        analyst = EndpointAnalyst(_endpoint(server, tmp_path / "locked"))
        with pytest.raises(DataError):
            ask("locked", analyst, exam, tmp_path)
        assert (tmp_path / "locked.jsonl").read_text() == ""


def test_letters_move_with_the_wording_and_a_missing_one_is_unlikely(tmp_path: Path) -> None:
    options = tuple(OPTIONS[Task.DF_C].values())
    asked = [Question(f"Wording {number}?", Task.DF_C, options) for number in range(12)]
    image = np.zeros((64, 64, 3), np.uint8)  # a bona fide face
    with Expert(reply=_know) as server:
        analyst = EndpointAnalyst(_endpoint(server, tmp_path, **LETTERS))
        (replies,) = analyst.reply([image], [asked])
        server.keep = True
        assert "".join(analyst.stream(image, [("Real?", "Yes.")], "Sure?"))
        assert server.received[0][2].count(b"image_url") == 2  # the part and its field: one picture
    assert {reply.text for reply in replies} == {options[0]}
    assert all(sorted(reply.logprobs) == [-3.0] * 4 + [-0.2] for reply in replies)
    assert len({analyst._text(one).split("\n")[1] for one in asked}) > 2


def test_a_letter_alone_is_read_where_log_probabilities_are_ignored(
    exam: Exam, tmp_path: Path
) -> None:
    """Some servers take the request for them and send none; "B." is an answer, "A face" is not."""
    with ChatServer(reply=_know) as server:  # its log-probabilities are of other words
        analyst = EndpointAnalyst(_endpoint(server, tmp_path, **LETTERS))
        given = ask("expert", analyst, exam, tmp_path)
    closed = [one for one in given if one.task is not Task.AD]
    assert all(one.answer == truth(exam.faces[one.face], one.task) for one in closed)
    with ChatServer(reply=lambda body: "A face.") as server:
        analyst = EndpointAnalyst(_endpoint(server, tmp_path / "vague", **LETTERS))
        given = ask("vague", analyst, exam, tmp_path)
    assert {one.answer for one in given} == {None}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_transformers_serve_answers_as_the_local_model_does(served: Served, tmp_path: Path) -> None:
    """The whole exam in words, over real HTTP and in this process: the same answers."""
    local = LocalAnalyst(RESCUE / "02_gpt")
    in_words = InWords(local)
    in_words.tasks = TASKS
    faces = FaceSet.read(RESCUE / "01_instruct")
    records = load_records(RESCUE / "01_instruct" / "instruct.jsonl")
    endpoint = Endpoint(served.model, served.url, cache=tmp_path / "cache", concurrency=2)
    analysts = {"local": in_words, "remote": EndpointAnalyst(endpoint, "remote", hint=False)}
    out = tmp_path / "bench"
    data = run_bench(analysts, faces, records, out, limit=10, val_limit=4, resamples=20).data
    look, free = faces.image(faces.faces[0]), "Describe the artifacts of this face."
    talks = ["".join(one.stream(look, (), free)) for one in (local, analysts["remote"])]
    assert talks[0].strip() == talks[1].strip() != ""
    said = [
        [(one.id[1:], one.text, one.answer) for one in read_jsonl(path, Prediction)]
        for path in (out / "predictions" / f"{name}.jsonl" for name in analysts)
    ]
    assert said[0] == said[1] and len(said[0]) == 10 * 3 + 4
    assert data["analysts"]["local"] == data["analysts"]["remote"]
