"""Our own nano model behind ``transformers serve``: the endpoint against a second engine."""

from pathlib import Path

import pytest
from served import ROOT, Served

from dfa_lib.endpoint import Answer, Endpoint, Request
from dfa_lib.files import png
from dfa_lib.photo import open_photo
from dfa_lib.runtime import RESCUE
from dfa_lib.serve import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
QUESTION = "Has this face been forged?"
PHOTOS = sorted((ROOT / "dfa_lib/rescue/01_instruct/images").iterdir())[:3]


def ask(served: Served, cache: Path, **options: object) -> list[Answer]:
    """One question about each of three faces."""
    endpoint = Endpoint(*served, cache=cache, options=options)
    asked = (
        Request(id=p.name, text=QUESTION, images=(png(open_photo(p)),), max_tokens=24)
        for p in PHOTOS
    )
    return sorted(endpoint.ask(asked), key=lambda answer: answer.id)


def test_served_and_local_say_the_same_by_the_recipe_of_the_docs(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = (ROOT / "docs/training.md").read_text("utf-8").split("```python\n")[-1].split("```")[0]
    for here, there in {
        "work/01_instruct": RESCUE / "01_instruct", "work/02_gpt": RESCUE / "02_gpt",
        "work/cache": tmp_path, "dfa-gpt": served.model, "http://localhost:8000/v1": served.url,
        "[:20]": "[:4]",
    }.items():  # fmt: skip
        assert here in recipe
        recipe = recipe.replace(here, str(there))
    exec(recipe, {})
    assert capsys.readouterr().out == "4 of 4 answers are the same\n"


def test_answers_are_counted_and_kept(served: Served, tmp_path: Path) -> None:
    answers = ask(served, tmp_path)
    assert all(answer.tokens_in > 64 and 0 < answer.tokens_out <= 24 for answer in answers)
    assert all(answer.cached for answer in ask(served, tmp_path))


def test_it_gives_no_probabilities_and_no_other_model(served: Served, tmp_path: Path) -> None:
    assert all(a.text and a.first is None for a in ask(served, tmp_path, logprobs=True))
    other = ask(Served("another", served.url), tmp_path)
    assert all(answer.failed and "HTTP 400" in answer.error for answer in other)
    assert all("pinned" in answer.error for answer in other)


def test_a_folder_without_a_model_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    assert "no tuned model here" in capsys.readouterr().err
