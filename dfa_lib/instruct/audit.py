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
from collections.abc import Callable, Mapping
from functools import partial

from joblib import Parallel, delayed
from tqdm.auto import tqdm

from dfa_lib.instruct.artifact_rules import LEAST_Z_SINGLE, SINGLE_FIGURES, Normal, calibrate
from dfa_lib.instruct.card import Claims, claims_table, count_claims
from dfa_lib.instruct.evidence import BARE_SKIN, Figures, change_of_pair, measure_single
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import Annotation, Face
from dfa_lib.taxonomy import Artifact, Region

Check = Callable[[Region, Artifact], bool | None]


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
    check = _check(face, faces, normal) if note.findings else None
    findings = tuple(
        claim.model_copy(update={"supported": _judge(check, claim.region, claim.artifact)})
        for claim in note.findings
    )
    return note.model_copy(update={"findings": findings, "audited": True})


def _check(face: Face, faces: FaceSet, normal: Normal) -> Check:
    """Measure what there is to measure, once for all claims on a face."""
    if not face.category.forged:
        return lambda region, artifact: False
    source = faces[face.source] if face.source else None
    where = (source.landmarks if source else None) or face.landmarks
    if where is None:
        return lambda region, artifact: None
    if source is None:
        return partial(_off_normal, measure_single(faces.image(face), where), normal)
    change = change_of_pair(faces.image(source), faces.image(face), where)
    return lambda region, _: normal.altered(region, change[region]) if region in change else None


def _off_normal(
    single: Mapping[Region, Figures], normal: Normal, region: Region, artifact: Artifact
) -> bool | None:
    if region not in single or artifact not in SINGLE_FIGURES:
        return None
    return normal.oddness(region, artifact, single[region]) >= LEAST_Z_SINGLE


def _judge(check: Check, region: Region, artifact: Artifact) -> bool | None:
    """Skin has no outline of its own: it passes if most regions of bare skin do."""
    if region is not Region.SKIN:
        return check(region, artifact)
    votes = [vote for part in BARE_SKIN if (vote := check(part, artifact)) is not None]
    return sum(votes) > len(votes) / 2 if votes else None


def audit_table(faces: FaceSet, *audited: Mapping[str, Annotation]) -> str:
    """Tabulate one or several audits, per annotator and category, as Markdown."""
    claims = Claims(Counter)
    for note in (note for notes in audited for note in notes.values()):
        count_claims(claims, note, faces[note.face].category)
    return claims_table(claims)
