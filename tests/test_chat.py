"""The chat session is pure and never raises; the view shows it and escapes all text."""

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pytest
from chat_server import ChatServer
from PIL import Image
from stand_in import Blunt, Broken, RedEye, Talker, gallery, portrait, red_patch, wall
from toy_bench import run_bench, toy_world

from dfa_lib.analysts import LONGEST_QUESTION
from dfa_lib.bench.calibration import calibration
from dfa_lib.bench.remote import EndpointAnalyst
from dfa_lib.chat.occlusion import occlusion_map, paint
from dfa_lib.chat.page import html
from dfa_lib.chat.parts import uploaded
from dfa_lib.chat.session import QUICK, ChatSession
from dfa_lib.chat.verdict import NO_SCOPE, Verdict, judge, percent
from dfa_lib.chat.view import ChatView
from dfa_lib.endpoint import Endpoint
from dfa_lib.instruct.wording import library
from dfa_lib.records import DataError
from dfa_lib.taxonomy import CLASSES, Artifact, Category, Region

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
    plain, red = judge(RedEye(), [portrait(128), red_patch()])
    logit = 40 / 64 - 1
    assert plain.forged == pytest.approx(1 / (1 + np.exp(1)))
    assert red.forged == pytest.approx(1 / (1 + np.exp(-logit)))
    assert sum(red.categories.values()) == pytest.approx(1)
    assert red.categories[Category.FE] > plain.categories[Category.FE]


def test_a_picture_without_a_face_is_shown_and_not_judged(session: ChatSession) -> None:
    assert session.upload(as_png(wall(200)), "wall.png")
    verdict = session.verdict()
    assert verdict.abstained.startswith("No face was found")
    assert (verdict.forged, verdict.label, verdict.category) == (None, None, None)
    assert list(session.ask("Forged?")) == [] and last(session) == ("note", verdict.abstained)
    assert session.evidence_map() is None and last(session) == ("note", verdict.abstained)
    shown = html("verdict", "x", verdict, {"other": verdict})
    assert verdict.abstained in shown and "%" not in shown and "dfa-bar" not in shown
    assert session.review(None, "Ada") is None, "there is nothing to agree with"


def test_words_that_contradict_the_numbers_are_told(session: ChatSession) -> None:
    verdict = Verdict(0.9, {Category.BONA_FIDE: 0.1, Category.FS: 0.6, Category.FE: 0.3})
    assert verdict.disagreement("This face is forged by face swapping.") == ""
    assert verdict.disagreement("Yes.", "Has it been forged?") == ""
    assert "say bona fide, the numbers say forged" in verdict.disagreement("It is genuine.")
    assert "say face editing, the numbers say face swapping" in verdict.disagreement(
        "It was made by face editing."
    )
    real = Verdict(0.1, {Category.BONA_FIDE: 0.9, Category.FS: 0.1})
    assert "words say forged" in real.disagreement("The eyes show blur.")
    assert Verdict(None, {}, abstained="No.").disagreement("This face is forged.") == ""
    session.analyst.stream = lambda image, history, text: iter(["This face is genuine."])
    session.pick("fs_0")
    session.analyst._red = lambda image: 1.0
    list(session.ask("Forged?"))
    assert last(session)[0] == "analyst", "no numbers are shown yet"
    session.verdict()
    assert "words say bona fide" in last(session)[1]
    list(session.ask("Forged?"))
    assert last(session)[0] == "note" and "words say bona fide" in last(session)[1]


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


@pytest.mark.parametrize("question", ["  ", "x" * (LONGEST_QUESTION + 1)])
def test_questions_that_cannot_be_asked(session: ChatSession, question: str) -> None:
    session.pick("fs_0")
    assert list(session.ask(question)) == [] and "in 1 to 500 characters" in last(session)[1]


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
    assert [turn.role for turn in session.turns] == ["picture", "person", "analyst", "error"]
    assert session.verdict() is None
    assert last(session)[1] == "The analyst failed (RuntimeError: out of memory); try again."


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "a.jpg: arrived empty"),
        (b"no picture", "known format"),
        (b"<svg><script>alert(1)</script></svg>", "SVG; save it as JPEG"),
        (as_png(np.zeros((9, 9, 3), np.uint8)), "only 9x9 pixels"),
        (as_png(portrait())[:9000], "damaged or cut off"),
    ],
)
def test_bad_uploads_leave_the_table_as_it_was(
    session: ChatSession, content: bytes, sentence: str
) -> None:
    session.pick("fs_0")
    assert not session.upload(content, "a.jpg")
    assert session.face.id == "fs_0" and last(session)[0] == "error"
    assert sentence in last(session)[1]


def test_of_several_people_the_largest_is_judged_and_said(session: ChatSession) -> None:
    sheet, face = wall(900)[:400].copy(), portrait()
    sheet[50:306, 50:306], sheet[50:306, 450:706] = face, face[:, ::-1]
    assert session.upload(as_png(sheet), "a.png")
    told = "2 faces were found; this is about the largest one; crop for another."
    assert last(session) == ("note", told)


def test_analysts_take_turns(tmp_path: Path) -> None:
    tuned, untuned = RedEye(), Blunt()
    session = ChatSession({"tuned": tuned, "untuned": untuned}, gallery(tmp_path / "faces"))
    session.pick("fs_0")
    list(session.ask("Forged?"))
    first = session.verdict()
    session.switch("untuned")
    assert "".join(session.ask("Forged?")).startswith("After 0 questions"), "heard nothing yet"
    assert session.verdict().forged != first.forged
    assert [turn.who for turn in session.turns if turn.role == "analyst"] == ["tuned", "untuned"]
    session.switch("tuned")
    assert session.verdict() is first and len(session.heard.history) == 1
    assert session.review(None, "Ada").analyst == "tuned"
    page = session.export_html(tmp_path / "report.html").read_text("utf-8")
    assert "Analysts: tuned, untuned" in page and page.count("<h3>") == 2


def test_votes_stand_in_for_probabilities() -> None:
    (verdict,) = judge(Talker(), [red_patch()])
    assert verdict.forged == pytest.approx(4.5 / 5) and verdict.category is Category.FR
    with pytest.raises(DataError, match="talker: gives no probabilities"):
        occlusion_map(Talker(), red_patch())


def test_probabilities_are_calibrated_where_this_analyst_has_a_report(tmp_path: Path) -> None:
    """The chat's P(forged) has the temperature of the report's reliability curve."""
    faces, records = toy_world(tmp_path / "world")
    analyst = RedEye()
    analyst.fingerprint = "these weights"
    report = run_bench({"red": analyst}, faces, records, tmp_path / "bench", resamples=10)
    warmth = report.data["details"]["red"]["DF-D"]["temperature"]
    session = ChatSession(analyst, gallery(tmp_path / "faces"), report=tmp_path / "bench")
    session.pick("fs_0")
    verdict = session.verdict()
    assert verdict.forged == pytest.approx(1 / (1 + np.exp(-(40 / 64 - 1) / warmth)))
    assert sum(verdict.categories.values()) == pytest.approx(1)
    assert verdict.categories[Category.BONA_FIDE] == pytest.approx(1 - verdict.forged)
    assert verdict.calibrated == 20 and verdict.origin == f"P(forged) is calibrated; {NO_SCOPE}"
    analyst.fingerprint = "other weights"
    assert calibration(analyst, tmp_path / "bench") is None
    assert "not calibrated" in judge(analyst, [red_patch()])[0].origin


def test_nobody_is_shown_a_certainty() -> None:
    """Rounded to "100%", a probability of .9996 would read as proof."""
    shares = (0.0, 0.004, 0.006, 0.5, 0.994, 0.9996, 1.0)
    assert [*map(percent, shares)] == ["<1%", "<1%", "1%", "50%", "99%", ">99%", ">99%"]
    shown = html("verdict", "x", Verdict(1.0, {Category.BONA_FIDE: 0.0}))
    assert "100%</span>" not in shown and "&gt;99%" in shown and "&lt;1%" in shown


def test_an_endpoint_is_an_analyst_too(tmp_path: Path) -> None:
    with ChatServer(reply=lambda body: "This face is forged.") as server:
        endpoint = Endpoint("gpt", server.url, cache=tmp_path / "c", retries=0, timeout=5.0)
        analysts = {"here": RedEye(), "remote": EndpointAnalyst(endpoint)}
        session = ChatSession(analysts, gallery(tmp_path / "faces"))
        view = ChatView(session)
        view.pick("fs_0")
        view.who.value = "remote"
        assert last(session)[1].endswith(f"Pictures and questions are sent to {server.url}.")
        assert not server.books.asked, "nothing is sent before a person asks"
        assert len(list(session.ask("Forged?"))) == 4, "word by word"
        assert session.verdict().forged == pytest.approx(0.9)
    list(session.ask("Why?"))
    assert last(session) == ("error", session.turns[-1].text)
    assert last(session)[1].startswith("gpt: no server answers at 127.0.0.1; start it")
    session.pick("efs_0")
    assert session.verdict() is None and "no server answers" in last(session)[1]
    assert session.review(None, "Ada") is None and "no verdict to confirm" in last(session)[1]
    assert session.review(Category.FR, "Ada").forged is None, "a person needs no analyst"


def test_findings_belong_to_the_face_and_to_a_forgery(session: ChatSession) -> None:
    assert not session.add_finding(Region.EYES, Artifact.BLUR)
    session.pick("fs_0")
    session.add_finding(Region.EYES, Artifact.BLUR, "left")
    session.add_finding(Region.EYES, Artifact.BLUR, "right")
    assert [finding.evidence for finding in session.findings] == ["right"]
    assert session.review(Category.BONA_FIDE, "Ada") is None
    assert "has no findings" in last(session)[1]
    assert session.review(Category.FS, "Ada").findings and session.findings == ()
    assert last(session)[1] == "Ada says: face swapping. eyes: blur (right)."
    session.add_finding(Region.EYES, Artifact.BLUR)
    session.pick("fs_1")
    assert session.findings == ()


def test_truth_and_counterpart(session: ChatSession) -> None:
    session.pick("fe_1")
    session.reveal()
    assert last(session)[1].startswith("The truth: face editing, made by patch. Left its bona")
    pair = session.turns[-1].image
    assert pair.shape == (128, 256, 3) and np.array_equal(pair[:, 128:], session.image)
    assert np.array_equal(pair[:100, :128], portrait(128)[:100])
    session.upload(as_png(red_patch()), "mine.png", aligned=True)
    session.reveal()
    assert "Nobody knows" in last(session)[1]


def test_samples_show_every_category_without_telling(session: ChatSession) -> None:
    shown = session.samples(10)
    assert {face.category for face in shown} == set(CLASSES) and len(shown) == 10
    assert [face.sha256 for face in shown] == sorted(face.sha256 for face in shown)
    assert {face.identities for face in session.samples(2)} == {("0",), ("1",)}  # two people


def test_reviews_are_kept_with_who_and_when(session: ChatSession, tmp_path: Path) -> None:
    session.pick("fs_0")
    assert session.review(Category.FR, " ", "no name") is None
    session.review(Category.FR, "Ada", "the mouth moved")
    session.upload(as_png(red_patch()), "mine.png", aligned=True)
    session.review(Category.BONA_FIDE, "Ben")
    first, second = map(json.loads, session.reviews.read_text("utf-8").splitlines())
    assert (first["face"], first["category"], first["person"]) == ("fs_0", "FR", "Ada")
    assert first["words"] == "the mouth moved" and first["when"].endswith("Z")
    assert second["face"] is None and len(second["sha256"]) == 64
    assert [path.name for path in tmp_path.glob("*.*")] == ["reviews.jsonl"], "no upload is kept"


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
    view.pick("fs_0")
    assert "P(forged)" in view.verdict.value and "<img" in view.picture.value
    for task in QUICK:
        view.ask(QUICK[task])
    view.text.value = "And the mouth?"
    view.on_send()
    assert "After 3 questions you asked: And the mouth?" in view.log.value
    assert view.text.value == "" and view.live.value == ""
    view.buttons["Show evidence"].click()
    assert "not a map of what was altered" in view.evidence.value
    view.person.value, view.region.value = "<b>Ada</b>", "nose"
    view.buttons["Add finding"].click()
    assert "nose: blur" in view.found.value
    view.buttons["Clear findings"].click()
    assert view.found.value == ""
    view.buttons["I agree with the analyst"].click()
    assert "&lt;b&gt;Ada&lt;/b&gt; confirms: " in view.log.value
    view.buttons["Keep my verdict"].click()
    view.buttons["Reveal the truth"].click()
    view.buttons["Export report"].click()
    assert (tmp_path / "report.html").exists()


def test_view_streams_from_the_main_thread(view: ChatView) -> None:
    view.pick("fs_0")
    seen: list[tuple[str, bool]] = []
    view.live.observe(lambda change: seen.append((change["new"], view.text.disabled)), "value")
    view.ask("Forged?")
    growing = [len(text) for text, _ in seen if "After" in text]
    assert len(growing) == 6 and growing == sorted(set(growing))
    assert all(disabled for text, disabled in seen if "After" in text)
    assert not any(button.disabled for button in view.buttons.values())


def test_view_escapes_what_anyone_writes(view: ChatView) -> None:
    view.on_upload({"new": ({"name": EVIL, "content": memoryview(as_png(red_patch()))},)})
    view.pick("fs_0")
    view.ask(EVIL)
    assert "<script" not in view.log.value and "onerror=alert" in view.log.value
    assert "<img src=x" not in view.log.value


def test_view_switches_and_shows_both_verdicts(tmp_path: Path) -> None:
    session = ChatSession({"tuned": RedEye(), "<i>": Blunt()}, gallery(tmp_path / "faces"))
    view = ChatView(session, samples=2)
    view.pick("fs_0")
    view.who.value = "<i>"
    assert "<h3>&lt;i&gt;</h3>" in view.verdict.value and "tuned: P(forged)" in view.verdict.value
    assert not view.who.disabled and session.who == "<i>"


def test_the_same_file_may_come_again(view: ChatView) -> None:
    for _ in range(2):
        value = view.file.value
        new = {"name": "a.png", "content": b"no picture", "type": "", "size": 1, "last_modified": 0}
        new = {**new, "last_modified": datetime.now(UTC)}
        view.file.set_trait("value", (new,) if isinstance(value, tuple) else {"a.png": new})
    assert [turn.role for turn in view.session.turns] == ["error", "error"]


def test_an_upload_that_arrives_empty_or_in_part_points_to_the_path(
    view: ChatView, tmp_path: Path
) -> None:
    whole = as_png(red_patch())
    for content, size in ((None, 9), (b"", 0), (whole[:99], len(whole))):
        view.on_upload({"new": ({"name": "a.png", "content": content, "size": size},)})
        role, text = last(view.session)
        assert role == "error" and text.startswith("a.png: arrived empty, ") and "path" in text
    photo = tmp_path / "a photo.png"
    photo.write_bytes(whole)
    view.path.value = f' "{photo}" '
    view.on_path()
    assert view.session.image is not None and view.path.value == ""
    view.path.value = "none.png"
    view.on_path()
    assert last(view.session) == ("error", "none.png: no such file; check the path")


def test_a_new_view_closes_the_one_before(session: ChatSession) -> None:
    def alive() -> int:
        return len(getattr(widgets.widget, "_instances", widgets.Widget.widgets))

    ChatView(session)
    before = alive()
    for _ in range(3):
        ChatView(session)
    assert alive() == before


def test_uploads_of_both_widget_generations() -> None:
    assert uploaded({}) is None and uploaded(()) is None
    seven = {"a.png": {"metadata": {}, "content": b"12"}}
    assert uploaded(seven) == uploaded(({"name": "a.png", "content": memoryview(b"12")},))
