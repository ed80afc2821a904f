"""Conversations by rule: what the data card says of their balance."""

import re

from dfa_lib.instruct.card import data_card
from dfa_lib.instruct.conversations import load_records
from dfa_lib.records import Annotator, InstructRecord
from dfa_lib.runtime import RESCUE
from dfa_lib.taxonomy import CLASSES, Split, Task

ROOT = RESCUE / "01_instruct"
RECORDS = load_records(ROOT / "instruct.jsonl")


def section(card: str, title: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    body = card.split(f"## {title}\n\n")[1].split("\n\n")[0]
    return [line.strip("| ").split(" | ") for line in body.splitlines()[2:]]


# --- balance ------------------------------------------------------------------------------


def test_the_card_gives_the_share_of_every_answer() -> None:
    card = section(data_card(RECORDS), "Balance of answers")
    shares = {(question, answer): per_split for question, answer, *per_split in card}
    test = [record for record in RECORDS if record.face.split is Split.TEST]
    forged = sum(record.face.category.forged for record in test) / len(test)
    assert shares["DF-D", "This face is forged."][2] == f"{forged:.0%}"
    assert len([key for key in shares if key[0] == "DF-C"]) == len(CLASSES)
    asked = [qa for r in test for qa in r.qa if qa.template.startswith("FC/region/")]
    yes = sum(qa.answer.startswith("Yes,") for qa in asked) / len(asked)
    assert shares["FC/region", "Yes"][2] == f"{yes:.0%}" and 0.2 < yes < 0.6
    assert shares["FC/region", "No"][2] == f"{1 - yes:.0%}"
    assert not any(question.startswith("AD") for question, _ in shares)


def test_the_card_names_who_wrote_what() -> None:
    def by_model(record: InstructRecord) -> InstructRecord:
        who = Annotator(name="endpoint", model="m-1", prompt_version="describe@1")
        claims = tuple(f.model_copy(update={"supported": None}) for f in record.annotation.findings)
        note = record.annotation.model_copy(update={"annotator": who, "findings": claims})
        turns = tuple(
            qa.model_copy(update={"template": "FC/endpoint/train/m-1@converse@1"})
            if qa.task is Task.FC
            else qa
            for qa in record.qa
        )
        return record.model_copy(update={"annotation": note, "qa": turns})

    plain, mixed = data_card(RECORDS), data_card([*map(by_model, RECORDS[:20]), *RECORDS[20:]])
    assert re.search(r"\| measuring · 2 \| FS \| \d+ \| .*%", plain)
    assert '"endpoint" was written' not in plain and "0 by a language model" in _flat(plain)
    assert re.search(r"\| endpoint · m-1 · describe@1 \| [\w ]+ \| \d+ \| \d+ \| 0 \| - \|", mixed)
    assert "80 by a language model" in _flat(mixed)
    assert '"measuring" names regions' in mixed and '"endpoint" was written' in mixed


def test_the_card_of_foreign_forgeries_does_not_call_them_ours() -> None:
    foreign = [
        r.model_copy(update={"face": r.face.model_copy(update={"method": "simswap"})})
        if r.face.category.forged
        else r
        for r in RECORDS
    ]
    assert "classical image operations" in data_card(RECORDS)
    assert "classical image operations" not in data_card(foreign)
    assert "same simulated camera" not in data_card(foreign)


def test_the_card_promises_no_split_by_people_where_nobody_is_named() -> None:
    of_nobody = {"frame": "1.png", "identities": ("1.png",)}
    first = RECORDS[0].model_copy(update={"face": RECORDS[0].face.model_copy(update=of_nobody)})
    promise = "no person is in two of them"
    assert promise in _flat(data_card(RECORDS))
    told = _flat(data_card([first, *RECORDS[1:]]))
    assert promise not in told and "For 1 nobody is" in told


def _flat(text: str) -> str:
    return " ".join(text.split())
