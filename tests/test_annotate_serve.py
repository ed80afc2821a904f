"""A second, real engine: ``transformers serve`` with the tuned nano model."""

from pathlib import Path

import pytest
from served import Served
from test_annotate_endpoint import some

from dfa_lib.endpoint import Endpoint
from dfa_lib.instruct.annotate import Unanswered, annotate
from dfa_lib.records import read_jsonl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_a_server_that_writes_no_json_is_told_so_once(served: Served, tmp_path: Path) -> None:
    """It refuses schemas by its own; nothing is made up in their place."""
    model, url = served
    ask = Endpoint(model, url, cache=tmp_path / "cache")
    faces = some(2)
    assert annotate(faces, "endpoint", tmp_path, endpoint=ask) == {}
    aside = list(read_jsonl(tmp_path / "annotations.unanswered.jsonl", Unanswered))
    assert [one.face for one in aside] == [face.id for face in faces]
    assert {one.kind for one in aside} <= {"invalid", "error"}
