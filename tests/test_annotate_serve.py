"""A second, real engine: ``transformers serve`` with the tuned nano model, step 2 to step 3."""

from pathlib import Path

import pytest
from served import Served
from test_annotate_endpoint import some

from dfa_lib.endpoint import Endpoint
from dfa_lib.instruct.annotate import annotate
from dfa_lib.instruct.answers import Unanswered
from dfa_lib.instruct.audit import audit, audit_table
from dfa_lib.instruct.conversations import build_conversations
from dfa_lib.instruct.looking import Looking
from dfa_lib.instruct.talking import Talking
from dfa_lib.records import read_jsonl
from dfa_lib.taxonomy import Task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_annotation_audit_and_conversation_run_end_to_end(served: Served, tmp_path: Path) -> None:
    model, url = served
    ask, faces = Endpoint(model, url, cache=tmp_path / "cache", concurrency=4), some(2)
    notes = annotate(faces, Looking(ask, "describe_plain"), tmp_path)
    talks = Talking(ask, "converse_plain").talk(faces, notes, tmp_path)
    records = build_conversations(faces, notes, tmp_path, talks=talks)

    assert len(notes) == len(faces), "the tuned model describes every face in words we can read"
    (who,) = {note.annotator for note in notes.values()}
    assert (who.name, who.prompt_version) == ("endpoint at 127.0.0.1", "describe_plain@1")
    assert who.model == Path(model).name, "no path of this machine in a record"
    assert sum(row.claims for row in audit_table(faces, audit(faces, notes))) > 0
    aside = tmp_path / "talks.unanswered.jsonl"
    failed = {one.face for one in read_jsonl(aside, Unanswered)} if aside.exists() else set()
    assert talks and set(talks) | failed == set(notes)
    for record in records:
        spoken = [qa for qa in record.qa if qa.task is Task.FC]
        by_model = {qa.template.startswith("FC/endpoint/") for qa in spoken}
        assert by_model == {record.id in talks} and len(record.qa) == 7


def test_a_server_that_writes_no_json_is_told_so_once(served: Served, tmp_path: Path) -> None:
    """It refuses schemas by its own; nothing is made up in their place."""
    model, url = served
    ask = Endpoint(model, url, cache=tmp_path / "cache")
    faces = some(2)
    assert annotate(faces, "endpoint", tmp_path, endpoint=ask) == {}
    aside = list(read_jsonl(tmp_path / "annotations.unanswered.jsonl", Unanswered))
    assert [one.face for one in aside] == [face.id for face in faces]
    assert {one.kind for one in aside} <= {"invalid", "error"}
