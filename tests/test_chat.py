"""The chat session is pure and never raises; the view shows it and escapes all text."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stand_in import Broken, RedEye, gallery, red_patch

from dfa_lib.chat import ChatSession, ChatView
from dfa_lib.chat.overlay import occlusion_map, paint
from dfa_lib.chat.session import LONGEST_QUESTION, QUICK
from dfa_lib.chat.verdict import judge
from dfa_lib.chat.view import uploaded
from dfa_lib.instruct.wording import library
from dfa_lib.taxonomy import Category

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def session(tmp_path: Path) -> ChatSession:
    return ChatSession(RedEye(), gallery(tmp_path / "faces"), tmp_path / "reviews.jsonl")


def as_png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def last(session: ChatSession) -> tuple[str, str]:
    return session.turns[-1].role, session.turns[-1].text


def test_quick_questions_are_wordings_the_model_was_tuned_on() -> None:
    for task, question in QUICK.items():
        assert question in library(task).questions["ask"].train


def test_verdict_follows_the_scores_and_sums_to_one() -> None:
    plain, red = judge(RedEye(), [np.zeros((64, 64, 3), np.uint8), red_patch()])
    logit = 40 / 64 - 1
    assert plain.forged == pytest.approx(1 / (1 + np.exp(1)))
    assert red.forged == pytest.approx(1 / (1 + np.exp(-logit)))
    assert sum(red.categories.values()) == pytest.approx(1)
    assert red.categories[Category.FE] > plain.categories[Category.FE]


def test_evidence_points_at_the_patch_that_moves_the_score() -> None:
    evidence = occlusion_map(RedEye(), red_patch())
    assert evidence.shape == (8, 8) and evidence[1, 1] == pytest.approx(40 / 64)
    assert evidence[1, 6] == -evidence[1, 1]  # the patch that gets the red one's mirror image
    assert np.count_nonzero(evidence) == 2
    painted = paint(red_patch(), evidence, 64)
    assert painted[12, 12, 0] > painted[12, 12, 2] and painted.shape == (64, 64, 3)


def test_conversation_streams_and_remembers(session: ChatSession) -> None:
    assert session.pick("fs_0")
    pieces = list(session.ask("Has this face been forged?"))
    assert len(pieces) > 3 and "".join(pieces).strip() == last(session)[1]
    assert "".join(session.ask("And the mouth?")).startswith("After 1 questions")
    session.pick("fr_0")  # a new picture starts a new conversation
    assert "".join(session.ask("And this one?")).startswith("After 0 questions")


def test_an_interrupted_answer_is_kept_as_far_as_it_came(session: ChatSession) -> None:
    session.pick("fs_0")
    answer = session.ask("Is it forged?")
    next(answer)
    answer.close()
    assert last(session) == ("analyst", "After")
    assert "".join(session.ask("Go on")).startswith("After 1")


@pytest.mark.parametrize(
    ("question", "sentence"),
    [("  ", "is empty"), ("x" * (LONGEST_QUESTION + 1), "at most 500 characters")],
)
def test_questions_that_cannot_be_asked(session: ChatSession, question: str, sentence: str) -> None:
    session.pick("fs_0")
    assert list(session.ask(question)) == [] and sentence in last(session)[1]


def test_silence_is_told(session: ChatSession) -> None:
    session.analyst.stream = lambda image, history, text: iter(["", " "])
    session.pick("fs_0")
    list(session.ask("Forged?"))
    assert last(session) == ("error", "The analyst gave no answer; ask in other words.")


def test_nothing_raises_without_a_picture(session: ChatSession) -> None:
    assert list(session.ask("Forged?")) == []
    assert last(session) == ("error", "Pick or upload a picture first.")
    assert session.verdict() is None and session.evidence_map() is None
    assert session.review(Category.FS, "Ada") is None


def test_faults_of_the_analyst_are_one_sentence(tmp_path: Path) -> None:
    session = ChatSession(Broken(), gallery(tmp_path))
    session.pick("fs_0")
    assert "".join(session.ask("Forged?")) == "Well"
    assert [turn.role for turn in session.turns] == ["picture", "person", "error", "analyst"]
    assert session.verdict() is None
    assert last(session)[1] == "The analyst failed (RuntimeError: out of memory); try again."


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "a.jpg: the file is empty"),
        (b"no picture", "known format"),
        (as_png(np.full((200, 200, 3), 90, np.uint8)), "a.jpg: no face was found"),
        (as_png(np.zeros((9, 9, 3), np.uint8)), "only 9x9 pixels"),
    ],
)
def test_bad_uploads_leave_the_table_as_it_was(
    session: ChatSession, content: bytes, sentence: str
) -> None:
    session.pick("fs_0")
    assert not session.upload(content, "a.jpg")
    assert session.face.id == "fs_0" and sentence in last(session)[1]


def test_truth_and_counterpart(session: ChatSession) -> None:
    session.pick("fe_1")
    session.reveal()
    assert last(session)[1].startswith("The truth: face editing, made by patch. Left its bona")
    pair = session.turns[-1].image
    assert pair.shape == (128, 256, 3) and np.array_equal(pair[:, 128:], session.image)
    assert np.all(pair[:100, :128] == 128)
    session.upload(as_png(red_patch()), "mine.png", aligned=True)
    session.reveal()
    assert "Nobody knows" in last(session)[1]


def test_samples_show_every_category_without_telling(session: ChatSession) -> None:
    shown = session.samples(10)
    assert {face.category for face in shown} == set(Category) and len(shown) == 10
    assert [face.sha256 for face in shown] == sorted(face.sha256 for face in shown)
    assert {face.identities for face in session.samples(2)} == {("0",), ("1",)}  # two people


def test_reviews_are_kept_with_who_and_when(session: ChatSession) -> None:
    session.pick("fs_0")
    assert session.review(Category.FR, " ", "no name") is None
    session.review(Category.FR, "Ada", "the mouth moved")
    session.upload(as_png(red_patch()), "mine.png", aligned=True)
    session.review(Category.BONA_FIDE, "Ben")
    first, second = map(json.loads, session.reviews.read_text("utf-8").splitlines())
    assert (first["face"], first["category"], first["person"]) == ("fs_0", "FR", "Ada")
    assert first["words"] == "the mouth moved" and first["when"].endswith("Z")
    assert second["face"] is None and len(second["sha256"]) == 64


def test_report_is_self_contained_and_escaped(session: ChatSession, tmp_path: Path) -> None:
    session.upload(as_png(red_patch()), EVIL, aligned=True)
    list(session.ask(EVIL))
    session.verdict()
    session.evidence_map()
    page = session.export_html(tmp_path / "deep" / "report.html").read_text("utf-8")
    assert "<script" not in page and "<img src=x" not in page and "&lt;script&gt;" in page
    assert all(src.startswith("data:") for src in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert "default-src 'none'" in page and "no evidence about a real person" in page
    assert page.count("<img") == page.count("alt=")
    assert session.export_html(tmp_path) is None and last(session)[0] == "error"


@pytest.fixture
def view(session: ChatSession, tmp_path: Path) -> ChatView:
    return ChatView(session, samples=4, report=tmp_path / "report.html")


def test_view_runs_a_whole_visit(view: ChatView, tmp_path: Path) -> None:
    view.on_pick("fs_0")
    assert "P(forged)" in view.verdict.value and "<img" in view.picture.value
    for task in QUICK:
        view.ask(QUICK[task])
    view.text.value = "And the mouth?"
    view.on_send()
    assert "After 3 questions you asked: And the mouth?" in view.log.value
    assert view.text.value == "" and view.live.value == ""
    view.on_evidence()
    assert "not a map of what was altered" in view.evidence.value
    view.person.value = "Ada"
    view.on_review()
    view.on_reveal()
    view.on_export()
    assert (tmp_path / "report.html").exists()


def test_view_streams_from_the_main_thread(view: ChatView) -> None:
    view.on_pick("fs_0")
    seen: list[tuple[str, bool]] = []
    view.live.observe(
        lambda change: seen.append((change["new"], view.buttons[0].disabled)), "value"
    )
    view.ask("Forged?")
    growing = [len(text) for text, _ in seen if "After" in text]
    assert len(growing) == 6 and growing == sorted(set(growing))
    assert all(disabled for text, disabled in seen if "After" in text)
    assert not view.buttons[0].disabled


def test_view_escapes_what_anyone_writes(view: ChatView) -> None:
    view.on_upload({"new": ({"name": EVIL, "content": memoryview(as_png(red_patch()))},)})
    view.on_pick("fs_0")
    view.ask(EVIL)
    assert "<script" not in view.log.value and "onerror=alert" in view.log.value
    assert "<img src=x" not in view.log.value


def test_uploads_of_both_widget_generations() -> None:
    assert uploaded({}) is None and uploaded(()) is None
    seven = {"a.png": {"metadata": {}, "content": b"12"}}
    assert uploaded(seven) == uploaded(({"name": "a.png", "content": memoryview(b"12")},))
