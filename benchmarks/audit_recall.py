"""Does the audit find planted lies? One false region in each of 500 descriptions.

Run from the repository root: ``python -m benchmarks.audit_recall`` (under 2 minutes on 2 cores).
Faces are made anew, of middling difficulty, from a seed that no threshold was chosen on. Each
description names the regions that a forgery truly altered (``Face.altered_regions``, measured
before the camera) and one more that it did not, drawn at random. A lie is found if the audit
calls it unsupported, a false flag is a true claim that it calls so. The lines "mask" say where
the lies lie: where the method laid nothing at all, or where it worked but changed 5 grey levels
or less. Bona fide and EFS faces have no counterpart and are not in the numbers; their lines show
what the audit can still say. Last line: one JSON object {"records", "recall", "false_flags"}.
"""

import json
import tempfile
from collections import defaultdict
from pathlib import Path
from random import Random

import numpy as np

from dfa_lib.face.geometry import region_masks
from dfa_lib.instruct.audit import audit
from dfa_lib.instruct.card import markdown_table
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.sources import load_faces
from dfa_lib.records import Annotation, Annotator, Face, Finding
from dfa_lib.taxonomy import Artifact, Category, Region

RECORDS, FACES, SEED, DIFFICULTY = 500, 1_020, 2_026, 0.5
PLANTED = "planted"


def described(face: Face, dice: Random) -> Annotation:
    """The truth about a face and, where there is room for it, one lie."""
    true = set(face.altered_regions)
    false = [r for r in Region if r not in true and r is not Region.SKIN]
    claims = [_claim(region, dice, "true") for region in true]
    claims += [_claim(dice.choice(false), dice, PLANTED)] if false else []
    text = " ".join(f"The {claim.region} show {claim.artifact}." for claim in claims)
    who = Annotator(name="truth and one lie")
    return Annotation(face=face.id, findings=tuple(claims), text=text, annotator=who)


def _claim(region: Region, dice: Random, evidence: str) -> Finding:
    return Finding(region=region, artifact=dice.choice(list(Artifact)), evidence=evidence)


def laid_on(faces: FaceSet, face: Face, region: Region) -> bool:
    """True if the method laid something on more than a hundredth of a region."""
    where = region_masks(np.float32(faces[face.source].landmarks), len(faces.image(face)))
    return bool((faces.mask(face)[where[region]] > 127).mean() > 0.01)


def main() -> None:
    """Plant, audit, count."""
    with tempfile.TemporaryDirectory() as folder:
        faces = load_faces("procedural", Path(folder), n=FACES, seed=SEED, difficulty=DIFFICULTY)
        notes = {face.id: described(face, Random(f"{SEED}/{face.id}")) for face in faces}
        paired = Random(SEED).sample([face for face in faces if face.source], RECORDS)
        checked = audit(faces, notes)
        table: dict[str, list[tuple[bool, bool | None]]] = defaultdict(list)
        for face in faces:
            counted = ["all"] if face in paired else []
            for claim in checked[face.id].findings:
                lie = claim.evidence == PLANTED
                lines = [face.category.value, *counted]
                if lie and counted:
                    lines += ["mask on it" if laid_on(faces, face, claim.region) else "mask off"]
                for line in lines:
                    table[line].append((lie, claim.supported))
    report(table)


def report(table: dict[str, list[tuple[bool, bool | None]]]) -> None:
    """Print shares by line, then the JSON object."""
    rows = [["claims", "lies", "found", "unchecked", "true", "falsely flagged", "unchecked"]]
    for line in (*Category, "mask off", "mask on it", "all"):
        lies = [verdict for lie, verdict in table[line] if lie]
        true = [verdict for lie, verdict in table[line] if not lie]
        rows.append([line])
        for verdicts in (lies, true):
            shares = (_share(verdicts, False), _share(verdicts, None))
            rows[-1] += [f"{len(verdicts):,}", *shares]
    print(markdown_table(rows))
    lies = [verdict for lie, verdict in table["all"] if lie]
    true = [verdict for lie, verdict in table["all"] if not lie]
    numbers = {
        "records": RECORDS,
        "recall": round(lies.count(False) / len(lies), 4),
        "false_flags": round(true.count(False) / len(true), 4),
    }
    print(json.dumps(numbers))


def _share(verdicts: list[bool | None], value: bool | None) -> str:
    return f"{sum(v is value for v in verdicts) / len(verdicts):.1%}" if verdicts else "-"


if __name__ == "__main__":
    main()
