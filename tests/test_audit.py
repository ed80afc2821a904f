"""The audit: planted lies are found, and what cannot be checked is not judged."""

import pytest

from dfa_lib.instruct.audit import audit, audit_table
from dfa_lib.instruct.evidence import BARE_SKIN
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.sources import load_faces
from dfa_lib.records import Annotation, Annotator, DataError, Face, Finding
from dfa_lib.taxonomy import Artifact, Category, Region

PAIRED = (Category.FS, Category.FR, Category.FE)
LIAR = Annotator(name="liar", model="m", prompt_version="p@1")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    return load_faces("procedural", tmp_path_factory.mktemp("world"), n=72, seed=3, workers=1)


def note_on(face: Face, *claims: tuple[Region, Artifact], text: str = "") -> Annotation:
    findings = tuple(Finding(region=r, artifact=a, evidence="e") for r, a in claims)
    return Annotation(face=face.id, findings=findings, text=text, annotator=LIAR)


def verdicts(faces: FaceSet, note: Annotation) -> list[bool | None]:
    audited = audit(faces, {note.face: note}, workers=1)[note.face]
    assert audited.audited and not note.audited
    return [finding.supported for finding in audited.findings]


def test_false_regions_are_found_and_true_ones_pass(faces: FaceSet) -> None:
    """Every region of every pair is claimed; ``altered_regions`` say which claims are true."""
    regions = [region for region in Region if region is not Region.SKIN]
    paired = [face for face in faces if face.category in PAIRED]
    notes = {f.id: note_on(f, *((r, Artifact.BLUR) for r in regions)) for f in paired}
    right = {True: [], False: []}
    for note in audit(faces, notes, workers=2).values():
        true = faces[note.face].altered_regions
        for claim in note.findings:
            right[claim.region in true].append(claim.supported is (claim.region in true))
    assert min(map(len, right.values())) > 60
    assert sum(right[True]) / len(right[True]) >= 0.95
    assert sum(right[False]) / len(right[False]) >= 0.95


def test_the_label_contradicts_claims_on_a_bona_fide_face(faces: FaceSet) -> None:
    face = next(face for face in faces if not face.category.forged)
    claims = [(Region.EYES, Artifact.BLUR), (Region.SKIN, Artifact.ASYMMETRY)]
    assert verdicts(faces, note_on(face, *claims)) == [False, False]
    assert verdicts(faces, note_on(face)) == []


def test_without_a_counterpart_what_shows_in_one_picture_is_judged(faces: FaceSet) -> None:
    """Grids, detail and asymmetry are held against bona fide faces; a colour has no judge."""
    drawn = [face for face in faces if face.category is Category.EFS]
    regions = (Region.HAIRLINE, Region.EYES, Region.NOSE, Region.CHEEKS)
    kinds = (Artifact.GRID_PATTERN, Artifact.OVER_SMOOTHING, Artifact.ASYMMETRY)
    for kind in kinds:
        notes = {face.id: note_on(face, *((region, kind) for region in regions)) for face in drawn}
        said = [f.supported for note in audit(faces, notes).values() for f in note.findings]
        assert set(said) == {True, False}, kind
    assert verdicts(faces, note_on(drawn[0], (Region.NOSE, Artifact.COLOUR_MISMATCH))) == [None]


def test_skin_passes_if_most_of_it_was_altered(faces: FaceSet) -> None:
    parts = [(region, Artifact.BLUR) for region in (*sorted(BARE_SKIN), Region.SKIN)]
    notes = {face.id: note_on(face, *parts) for face in faces if face.category in PAIRED}
    seen = set()
    for note in audit(faces, notes).values():
        *each, skin = (claim.supported for claim in note.findings)
        assert skin is (sum(each) > 2.5)
        seen.add(skin)
    assert seen == {True, False}


def test_a_forgery_without_landmarks_is_left_unchecked(faces: FaceSet) -> None:
    blind = [face.model_copy(update={"landmarks": None}) for face in faces if face.category == "FS"]
    world = FaceSet(faces.root, [*faces, blind[0].model_copy(update={"id": "b", "source": None})])
    assert verdicts(world, note_on(world["b"], (Region.NOSE, Artifact.GRID_PATTERN))) == [None]


def test_a_missing_counterpart_is_named(faces: FaceSet) -> None:
    face = next(face for face in faces if face.category == "FS")
    alone = FaceSet(faces.root, [f for f in faces if f.id != face.source])
    with pytest.raises(DataError, match=f"face '{face.source}'"):
        audit(alone, {face.id: note_on(face, (Region.NOSE, Artifact.BLUR))})


def test_the_table_counts_per_annotator_and_category(faces: FaceSet) -> None:
    swap = next(face for face in faces if face.category == "FS" and "nose" in face.altered_regions)
    lie = next(r for r in Region if r not in swap.altered_regions and r is not Region.SKIN)
    plain = next(face for face in faces if not face.category.forged)
    notes = {
        swap.id: note_on(swap, ("nose", "blur"), (lie, "blur"), text="one two three"),
        plain.id: note_on(plain, text="one"),
    }
    told = Annotator(name="other")
    others = {swap.id: notes[swap.id].model_copy(update={"annotator": told, "findings": ()})}
    table = audit_table(faces, audit(faces, notes), audit(faces, others))
    assert table.splitlines()[2:] == [
        "| liar · m · p@1 | bona fide | 1 | 0 | 0 | - | 0 | 1.0 |",
        "| liar · m · p@1 | FS | 1 | 2 | 2 | 50% | 1 | 3.0 |",
        "| other | FS | 1 | 0 | 0 | - | 0 | 3.0 |",
    ]
