"""DFA-Instruct: the plan, the files, what is measured, and what is said about it."""

import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from dfa_lib.face.geometry import EYE_LEFT, EYE_RIGHT, Portrait, mirrored, region_masks
from dfa_lib.findings import claims, verdict
from dfa_lib.instruct.annotate import Measuring, Unanswered, annotate
from dfa_lib.instruct.artifact_rules import LEAST_CHANGE
from dfa_lib.instruct.conversations import OPTIONS, build_conversations, converse, load_records
from dfa_lib.instruct.evidence import in_tones_of, measure_pair
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.making import Outcome
from dfa_lib.instruct.sources import load_faces
from dfa_lib.instruct.wording import describe, wordings
from dfa_lib.records import (
    Annotation,
    Annotator,
    DataError,
    Face,
    Finding,
    read_jsonl,
)
from dfa_lib.taxonomy import CLASSES, Artifact, Category, Region, Split, Task
from facesim.camera import shoot
from facesim.forge import METHODS, register
from facesim.plan import plan
from facesim.populations import London, Procedural, london_split

LONDON = Path(__file__).parents[2] / "shared" / "data" / "london"
needs_london = pytest.mark.skipif(not LONDON.is_dir(), reason=f"no London Set in {LONDON}")
N = 72


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    return load_faces("procedural", tmp_path_factory.mktemp("world"), n=N, workers=1)


@pytest.fixture(scope="module")
def notes(faces: FaceSet) -> dict[str, Annotation]:
    return annotate(faces, workers=1)


def a_face(category: str = "FS", split: str = "train", **more: object) -> Face:
    return Face(
        id="x1",
        image="images/x1.png",
        sha256="",
        category=category,
        dataset="d",
        identities=("p",),
        split=split,
        licence="l",
        **more,
    )


def a_finding(region: Region, artifact: Artifact = Artifact.BLUR, z: float = 20.0) -> Finding:
    return Finding(region=region, artifact=artifact, evidence="", figures={"z": z})


def a_note(*findings: Finding) -> Annotation:
    text = describe(findings)
    return Annotation(face="x1", findings=findings, text=text, annotator=Annotator(name="hand"))


# --- the plan -----------------------------------------------------------------------------


def test_plan_quotas() -> None:
    jobs = plan(Procedural(), 5100, 0)
    count = Counter((job.split, job.category) for job in jobs)
    assert len(jobs) == len({job.id for job in jobs}) == 5100
    assert sum(count[Split.TEST, category] for category in CLASSES) >= 1000
    for split in Split:
        sixth = sum(count[split, category] for category in CLASSES) / 6
        assert abs(count[split, Category.BONA_FIDE] - 2 * sixth) <= 2
        assert all(abs(count[split, c] - sixth) <= 2 for c in CLASSES if c.forged)


def test_plan_balances_methods_within_a_category() -> None:
    count = Counter(job.method and job.method.name for job in plan(Procedural(), 5100, 0))
    for category in CLASSES:
        used = [count[name] for name, method in METHODS.items() if method.category is category]
        assert not used or max(used) - min(used) <= 3


def test_a_method_of_ones_own_reaches_every_worker(tmp_path: Path) -> None:
    """A student registers it in a notebook, which the worker processes know nothing of."""

    def inverted(
        rng: np.random.Generator, strength: float, target: Portrait
    ) -> tuple[Portrait, np.ndarray]:
        """Invert the picture."""
        whole = np.ones(target.image.shape[:2], np.float32)
        return Portrait(255 - target.image, target.landmarks), whole

    try:
        register(Category.FE)(inverted)
        made = load_faces("procedural", tmp_path, n=90, workers=2)
    finally:
        METHODS.pop("inverted", None)
    assert "inverted" in {face.method for face in made}


def test_where_a_method_leaves_no_trace_another_of_its_category_does(tmp_path: Path) -> None:
    def idle(
        rng: np.random.Generator, strength: float, target: Portrait
    ) -> tuple[Portrait, np.ndarray]:
        """Change nothing."""
        return target, np.zeros(target.image.shape[:2], np.float32)

    try:
        register(Category.FE)(idle)
        made = load_faces("procedural", tmp_path, n=90, workers=2)
    finally:
        METHODS.pop("idle", None)
    edited = [face for face in made if face.category is Category.FE]
    assert len(edited) > 10 and all(face.altered_regions for face in edited)
    assert "idle" not in {face.method for face in edited}


def test_plan_forges_inside_a_split_and_names_a_counterpart() -> None:
    jobs = plan(Procedural(), 1200, 3)
    split_of = {job.id: job.split for job in jobs}
    owner: dict[str, Split] = {}
    for job in jobs:
        for take in filter(None, (job.target, job.donor)):
            assert owner.setdefault(take.person, job.split) is job.split
        if job.target:
            assert split_of[job.target.face] is job.split
        if job.donor:
            assert job.donor.person != job.target.person


def test_plan_uses_every_face_before_any_twice() -> None:
    jobs = plan(Procedural(), 1200, 0)
    targets = Counter(j.target.face for j in jobs if j.category is Category.FS)
    assert set(targets.values()) == {1}


def test_plan_refuses_a_handful() -> None:
    with pytest.raises(DataError, match="n=12: too few"):
        plan(Procedural(), 12, 0)


# --- people -------------------------------------------------------------------------------


def test_london_split_never_changes() -> None:
    """The committed base was trained on these people: moving one leaks a test identity."""
    held_out = [p for p in ("001", "005", "017", "042", "099", "173") if london_split(p) != "train"]
    assert [london_split(person).value for person in ("001", "002", "003", "004")] == [
        "train",
        "test",
        "train",
        "train",
    ]
    assert held_out == ["005", "099", "173"]


@needs_london
def test_london_has_all_its_people_in_three_splits() -> None:
    world = London(LONDON)
    people = {split: set(world.people(split, 1000)) for split in Split}
    assert [len(people[split]) for split in Split] == [66, 8, 28]
    assert len(set.union(*people.values())) == 102


@needs_london
def test_london_portraits_are_repeatable_and_vary_by_take() -> None:
    world = London(LONDON)
    first, again, other = (world.portrait("006", take) for take in (4, 4, 6))
    assert np.array_equal(first.image, again.image)
    assert np.abs(first.image.astype(int) - other.image).mean() > 2
    assert set(world.subgroup("006")) == {"age", "gender", "ethnicity"}


def test_london_says_where_it_is_had(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"DeBruine & Jones.*figshare") as caught:
        load_faces("london", tmp_path / "out", root=tmp_path / "nowhere", n=60)
    assert "\n" not in str(caught.value)


def test_mirroring_twice_changes_nothing() -> None:
    portrait = Procedural().portrait("p0-train-0000", 0)
    once = mirrored(portrait)
    assert once.landmarks[EYE_LEFT, 0].mean() < once.landmarks[EYE_RIGHT, 0].mean()
    assert np.array_equal(mirrored(once).image, portrait.image)
    assert np.allclose(mirrored(once).landmarks, portrait.landmarks, atol=1e-3)


# --- the files ----------------------------------------------------------------------------


def test_faces_tell_the_truth(faces: FaceSet) -> None:
    assert len(faces) == N
    for face in faces:
        assert faces.image(face).shape == (128, 128, 3)
        assert len(face.landmarks) == 81
        assert (face.mask is not None) == face.category.forged == bool(face.altered_regions)
        if face.category in (Category.FS, Category.FR, Category.FE):
            source = faces[face.source]
            assert source.category is Category.BONA_FIDE and source.split is face.split
            assert source.identities[0] == face.identities[0]
        assert len(face.identities) == (2 if face.category is Category.FS else 1)


def test_no_identity_is_in_two_splits(faces: FaceSet) -> None:
    people = [{who for face in faces.split(s) for who in face.identities} for s in Split]
    assert not any(one & other for one, other in combinations(people, 2))


def test_workers_and_interruption_do_not_show(faces: FaceSet, tmp_path: Path) -> None:
    """A run killed half-way, then finished by two workers, equals the run by one."""
    shutil.copytree(faces.root, tmp_path / "again")
    again = tmp_path / "again"
    made = [Outcome(job=face.id, face=face).model_dump_json() for face in faces.faces[:21]]
    (again / "faces.part.jsonl").write_text("\n".join([*made[:20], made[20][:50]]))
    (again / "faces.jsonl").unlink()
    for face in faces.faces[20:]:
        (again / face.image).unlink()
    load_faces("procedural", again, n=N, workers=2)
    for path in [Path("faces.jsonl"), *(Path(face.image) for face in faces)]:
        assert (again / path).read_bytes() == (faces.root / path).read_bytes()
    assert not (again / "faces.part.jsonl").exists()


def test_faces_are_read_back_not_made_anew(faces: FaceSet) -> None:
    picture = faces.root / faces.faces[0].image
    before = picture.stat().st_mtime_ns
    assert load_faces("procedural", faces.root, n=N).faces == faces.faces
    assert picture.stat().st_mtime_ns == before


def test_a_folder_with_other_faces_is_refused(faces: FaceSet) -> None:
    with pytest.raises(DataError, match=r"holds faces made with seed=0; remove it"):
        load_faces("procedural", faces.root, n=N, seed=1)


@pytest.mark.parametrize("name", ["images", "masks", "photographs"])
def test_a_folder_with_pictures_of_others_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    theirs = tmp_path / name / "mine.jpg"
    theirs.parent.mkdir()
    theirs.touch()
    with pytest.raises(DataError, match=f"its {name} were not made here; give another folder"):
        load_faces("folder", tmp_path, root=theirs.parent, n=60, size=64, workers=1)
    assert [*tmp_path.rglob("*.*")] == [theirs]


def test_unknown_source_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="procedural, london"):
        load_faces("celeba", tmp_path)


def test_notes_know_the_rule_and_the_pictures_they_rest_on(
    faces: FaceSet, notes: dict[str, Annotation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = FaceSet(faces.root, faces.faces[:20])
    asked: list[str] = []
    real = Measuring.describe

    def counted(self: Measuring, among: FaceSet, todo: list[Face]) -> object:
        asked.extend(face.id for face in todo)
        return real(self, among, todo)

    monkeypatch.setattr(Measuring, "describe", counted)
    annotate(few, out=tmp_path, workers=1)
    assert len(asked) == 20
    annotate(few, out=tmp_path, workers=1)
    assert len(asked) == 20
    paired = next(face for face in few if face.source)
    other = paired.model_copy(update={"sha256": "0" * 64})
    changed = FaceSet(faces.root, [other if face is paired else face for face in few])
    annotate(changed, out=tmp_path, workers=1)
    assert asked[20:] == [paired.id]
    monkeypatch.setattr(Measuring, "describe", lambda self, among, todo: counted(self, among, todo))
    annotate(changed, out=tmp_path, workers=1)
    assert len(asked) == 41


@pytest.mark.parametrize("content", [b'{"bf_0000": "1', b"[]", b"\xff\xd8"])
def test_torn_notes_beside_the_faces_are_named(
    faces: FaceSet, tmp_path: Path, content: bytes
) -> None:
    for name in ("annotations.made.json", "recipe.json"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"annotations\.made\.json: damaged; remove it"):
        annotate(FaceSet(faces.root, faces.faces[:2]), out=tmp_path, workers=1)
    with pytest.raises(DataError, match=r"recipe\.json: damaged; remove it"):
        load_faces("procedural", tmp_path, n=N)
    (tmp_path / "faces.jsonl").write_bytes((faces.root / "faces.jsonl").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"faces\.jsonl: cut off at the end; remove it"):
        FaceSet.read(tmp_path)


# --- what is measured ---------------------------------------------------------------------


def test_tones_of_another_shot_are_matched() -> None:
    image = Procedural().portrait("p0-train-0001", 0).image
    darker = np.clip(255 * (image / 255.0) ** 1.2 * [0.8, 0.85, 0.9], 0, 255).astype(np.uint8)
    darker[50:70, 50:70] = 255 - darker[50:70, 50:70]
    rest = np.ones((128, 128), bool)
    rest[45:75, 45:75] = False
    assert np.abs(in_tones_of(image, darker).astype(int) - darker)[rest].mean() < 1.5


def test_planted_change_is_found_and_two_shots_are_not() -> None:
    portrait = Procedural().portrait("p0-train-0002", 1)
    masks, rng = region_masks(portrait.landmarks, 128), np.random.default_rng(0)
    painted = portrait.image.copy()
    painted[masks[Region.MOUTH]] = painted[masks[Region.MOUTH]] * 0.5 + np.uint8([60, 10, 60])
    bona_fide = shoot(portrait.image, rng)
    clean = measure_pair(bona_fide, shoot(portrait.image, rng), portrait.landmarks)
    forged = measure_pair(bona_fide, shoot(painted, rng), portrait.landmarks)
    assert max(figures["change"] for figures in clean.values()) < LEAST_CHANGE
    assert {r for r in forged if forged[r]["change"] >= LEAST_CHANGE} == {Region.MOUTH}
    assert forged[Region.MOUTH]["colour"] > 4


def test_measured_regions_agree_with_the_truth(
    faces: FaceSet, notes: dict[str, Annotation]
) -> None:
    found, true = set(), set()
    for face in faces:
        if face.source:
            found |= {(face.id, finding.region) for finding in notes[face.id].findings}
            true |= {(face.id, region) for region in face.altered_regions}
    assert len(found & true) / len(found) >= 0.85
    assert len(found & true) / len(true) >= 0.85


def test_annotations_say_what_was_measured(faces: FaceSet, notes: dict[str, Annotation]) -> None:
    for face in faces:
        note = notes[face.id]
        assert note.annotator.name == "measuring"
        assert bool(note.findings) == face.category.forged
        for finding in note.findings:
            assert finding.region.value in finding.evidence and finding.figures["z"] is not None
            assert any(sign.isdigit() for sign in finding.evidence)
        assert not any(sign.isdigit() for sign in note.text)


def test_annotation_goes_on_where_it_stopped(
    faces: FaceSet, notes: dict[str, Annotation], tmp_path: Path
) -> None:
    whole = (faces.root / "annotations.jsonl").read_bytes()
    (tmp_path / "annotations.jsonl").write_bytes(whole[: len(whole) // 2])
    assert annotate(faces, out=tmp_path, workers=1) == notes
    assert (tmp_path / "annotations.jsonl").read_bytes() == whole


def test_a_face_that_cannot_be_measured_is_set_aside(faces: FaceSet, tmp_path: Path) -> None:
    blind = next(face for face in faces if face.category == "FS")
    changed = {blind.id: blind.model_copy(update={"landmarks": None})}
    world = FaceSet(faces.root, [changed.get(face.id, face) for face in faces])
    assert set(annotate(world, out=tmp_path, workers=1)) == {f.id for f in faces} - {blind.id}
    (aside,) = read_jsonl(tmp_path / "annotations.unanswered.jsonl", Unanswered)
    assert (aside.face, aside.kind) == (blind.id, "error") and "landmarks: missing" in aside.reason


def test_unknown_annotator_is_refused(faces: FaceSet) -> None:
    with pytest.raises(DataError, match="annotator='oracle': unknown"):
        annotate(faces, "oracle")


# --- what is said -------------------------------------------------------------------------


def test_one_answer_whatever_the_polarity() -> None:
    asked, note = set(), a_note(a_finding(Region.NOSE))
    for seed in range(200):
        qa = converse(a_face(), note, seed).qa[0]
        asked.add(qa.question)
        assert qa.answer == "This face is forged."
    assert {"Is this face real?", "Has this face been forged?"} <= asked
    assert list(OPTIONS[Task.DF_C]) == [category.value for category in CLASSES]


@pytest.mark.parametrize("split", Split)
def test_seven_qa_in_the_wordings_of_the_split(split: Split) -> None:
    held_out = split is not Split.TRAIN
    for seed in range(50):
        record = converse(a_face(split=split), a_note(a_finding(Region.EYES)), seed)
        assert Counter(qa.task for qa in record.qa) == {
            Task.DF_D: 1,
            Task.DF_C: 1,
            Task.AD: 1,
            Task.FC: 4,
        }
        assert all(("/test/" in qa.template) == held_out for qa in record.qa)
        assert record.qa[0].question in wordings(Task.DF_D, split)
        assert not any("{" in qa.question + qa.answer for qa in record.qa)


def test_free_conversation_follows_the_findings() -> None:
    note = a_note(a_finding(Region.NOSE), a_finding(Region.EYES, Artifact.GRID_PATTERN, z=4))
    said = set()
    for seed in range(300):
        for qa in converse(a_face(), note, seed).qa[3:]:
            said.add((qa.template.split("/")[1], qa.answer))
    by_kind = {kind: {answer for k, answer in said if k == kind} for kind, _ in said}
    assert {"Yes, the nose shows blur.", "Yes, the eyes show a grid pattern."} <= by_kind["region"]
    assert "No, the nose looks natural." not in by_kind["region"]
    assert "No, the cheeks look natural." in by_kind["region"]
    assert by_kind["suspect"] == {"The nose looks most suspicious."}
    assert by_kind["besides"] == {"Yes, the eyes show a grid pattern."}
    assert by_kind["category"] == {
        "Yes, this face was made by face swapping.",
        "No, this face was made by face swapping.",
    }
    assert by_kind["sure"] == {"Very sure: the signs are strong."}


def test_bona_fide_faces_are_never_accused() -> None:
    for seed in range(200):
        record = converse(a_face("bona fide"), a_note(), seed)
        assert record.qa[2].answer == "No artifact stands out: every region looks natural."
        assert not any(qa.answer.startswith("Yes") for qa in record.qa)


def test_of_a_forgery_of_unknown_place_nothing_is_claimed(faces: FaceSet, tmp_path: Path) -> None:
    """Neither counterpart nor mask: some region is always the oddest, and it says nothing."""
    unknown = {"source": None, "mask": None, "altered_regions": None}
    some = [face for face in faces if face.category == "FS"][:3]
    alone = [face.model_copy(update=unknown) for face in some]
    world = FaceSet(faces.root, (*alone, *(face for face in faces if not face.category.forged)))
    records = build_conversations(world, annotate(world, out=tmp_path, workers=1), tmp_path)
    for record in [*records][:3]:
        assert record.annotation.findings == () and not claims(record.annotation.text)
        assert record.qa[2].answer.endswith("which regions were altered is not known.")
        assert verdict(record.qa[2].answer, Task.DF_D) == "forged"
        assert [qa.task for qa in record.qa] == [Task.DF_D, Task.DF_C, Task.AD, Task.FC]
        assert record.qa[3].template.split("/")[1] in ("category", "meaning")
    assert len(records[3].qa) == 7


def test_description_keeps_the_order_of_regions() -> None:
    findings = [
        a_finding(Region.MOUTH, Artifact.COLOUR_MISMATCH),
        a_finding(Region.NOSE),
        a_finding(Region.EYES),
    ]
    expected = "The eyes and nose show blur. The mouth shows a colour mismatch."
    assert describe(findings) == expected + " The rest looks natural."


def test_conversations_are_the_same_alone_and_together(
    faces: FaceSet, notes: dict[str, Annotation], tmp_path: Path
) -> None:
    together = build_conversations(faces, notes, tmp_path / "all", seed=1)
    alone = build_conversations(faces.split("test"), notes, tmp_path / "test", seed=1)
    assert [r for r in together if r.face.split is Split.TEST] == list(alone)
    assert load_records(tmp_path / "all" / "instruct.jsonl") == list(together)
    card = (tmp_path / "all" / "DATA_CARD.md").read_text("utf-8")
    assert (
        f"{N} images, {7 * N} QA" in card
        and "model of the Face Research Lab London Set" in card
        and "## Limits" in card
    )


def test_a_face_without_annotation_is_left_out(
    faces: FaceSet, notes: dict[str, Annotation], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = {face: note for face, note in notes.items() if face != "bf_0000"}
    records = build_conversations(faces, some, tmp_path)
    assert [record.id for record in records] == [face.id for face in faces if face.id in some]
    assert "1 faces without a description are left out" in capsys.readouterr().out


def test_without_any_annotation_nothing_is_written(faces: FaceSet, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no face has an annotation; run annotate"):
        build_conversations(faces, {}, tmp_path)
    assert not (tmp_path / "instruct.jsonl").exists()
