"""Audit of annotations: check every claim against the pixels.

What can be checked depends on the face.

- FS, FR, FE with their bona fide counterpart: whether the claimed region differs from it by
  clearly more than two shots of one camera do. The kind of artifact is not judged.
- Bona fide: nothing was altered, so the label alone contradicts every claim.
- EFS, and forgeries without a counterpart: there is no difference to measure. A claim of a grid,
  of missing detail or of asymmetry is held against bona fide faces, of which one in six would
  pass as well; any other claim stays unchecked.
"""

from collections import Counter
from collections.abc import Mapping
from itertools import product

from joblib import Parallel, delayed
from tqdm.auto import tqdm

from dfa_lib.instruct.artifact_rules import LEAST_Z_SINGLE, SINGLE_FIGURES, Normal, calibrate
from dfa_lib.instruct.card import Claims, claims_table, count_claims
from dfa_lib.instruct.evidence import BARE_SKIN, change_of_pair, measure_single
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import Annotation, Face
from dfa_lib.taxonomy import Artifact, Region


def audit(
    faces: FaceSet, notes: Mapping[str, Annotation], workers: int = 2
) -> dict[str, Annotation]:
    """Return ``notes`` with ``supported`` of every finding True, False, or None if unchecked.

    ``faces`` must hold the counterparts, and two bona fide faces or more that show what is
    normal; DataError otherwise.
    """
    normal = calibrate(faces)
    pool = Parallel(n_jobs=workers, prefer="threads", return_as="generator")
    done = pool(delayed(_audited)(faces[key], note, faces, normal) for key, note in notes.items())
    return {note.face: note for note in tqdm(done, "audit", total=len(notes))}


def _audited(face: Face, note: Annotation, faces: FaceSet, normal: Normal) -> Annotation:
    true = _checked(face, faces, normal) if note.findings else {}
    findings = []
    for claim in note.findings:
        # skin has no outline of its own: it passes if most regions of bare skin do
        parts = BARE_SKIN if claim.region is Region.SKIN else [claim.region]
        votes = [true[part, claim.artifact] for part in parts if (part, claim.artifact) in true]
        supported = sum(votes) > len(votes) / 2 if votes else None
        findings.append(claim.model_copy(update={"supported": supported}))
    return note.model_copy(update={"findings": tuple(findings), "audited": True})


def _checked(face: Face, faces: FaceSet, normal: Normal) -> dict[tuple[Region, Artifact], bool]:
    """Return of every claim about a face that can be checked whether it is true."""
    if not face.category.forged:
        return dict.fromkeys(product(Region, Artifact), False)
    source = faces[face.source] if face.source else None
    where = (source.landmarks if source else None) or face.landmarks
    if where is None:
        return {}
    if source:
        change = change_of_pair(faces.image(source), faces.image(face), where)
        altered = {region: normal.altered(region, value) for region, value in change.items()}
        return {(region, kind): altered[region] for region, kind in product(altered, Artifact)}
    single = measure_single(faces.image(face), where)
    return {
        (region, artifact): normal.oddness(region, artifact, figures) >= LEAST_Z_SINGLE
        for region, figures in single.items()
        for artifact in SINGLE_FIGURES
    }


def audit_table(faces: FaceSet, *audited: Mapping[str, Annotation]) -> str:
    """Tabulate one or several audits, per annotator and category, as Markdown."""
    claims = Claims(Counter)
    for note in (note for notes in audited for note in notes.values()):
        count_claims(claims, note, faces[note.face].category)
    return claims_table(claims)
