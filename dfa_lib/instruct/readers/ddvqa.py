"""DD-VQA (Zhang et al. 2024): what people wrote on faces of FaceForensics++."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from dfa_lib.instruct.readers.faceforensics import LICENCE, homes
from dfa_lib.instruct.readers.words import WORDS, method
from dfa_lib.instruct.rows import Item, Row, Skip, cast
from dfa_lib.photo import SUFFIXES
from dfa_lib.records import DataError, Finding
from dfa_lib.taxonomy import Category, Region, Split

_MADE_BY = ("Deepfakes", "Face2Face", "FaceShifter", "FaceSwap", "", "", "NeuralTextures")
_SPLITS = {"train_set": Split.TRAIN, "test_set": Split.TEST}
_SIGNS = WORDS["ddvqa"]
_CLIP = re.compile(r"([0-6])_(\d{3}(?:_\d{3})?)")


def ddvqa(root: Path) -> Iterator[Item]:
    """Read DQ_FF++/ and any pictures below ``root`` that are named after its clips (0_071_054).

    DD-VQA gives clips but no frame: only pictures that came with it show what was described,
    and counterparts show the same person, perhaps another moment. The first answer on the
    whole picture is the description; those on its parts become findings. How far people agree
    is read from what each said of the whole picture: asked about a part, they nearly always
    find it fake. Raises DataError where there is no DQ_FF++.
    """
    base = root / "DQ_FF++"
    if not base.is_dir():
        raise DataError(
            f"root={root}: no DQ_FF++; get it from"
            " https://github.com/Reality-Defender/Research-DD-VQA, and its pictures"
        )
    yield from homes(base / "split")
    shown = {
        path.stem: path.relative_to(root).as_posix()
        for path in sorted(root.rglob("*"), reverse=True)
        if path.suffix.lower() in SUFFIXES and _CLIP.fullmatch(path.stem)
    }
    for path in sorted(base.glob("*_set/*/*.json")):
        split = _SPLITS.get(path.parts[-3])
        try:
            clips = json.loads(path.read_text("utf-8-sig")).items()
        except (OSError, ValueError, AttributeError, RecursionError):
            yield Skip("not a readable JSON list", path.relative_to(root).as_posix())
            continue
        yield from (_clip(clip, answers, shown.get(clip), split) for clip, answers in clips)


def _clip(clip: str, answers: object, path: str | None, split: Split | None) -> Row | Skip:
    match = _CLIP.fullmatch(clip)
    said = _answers(answers)
    if match is None or not said:
        return Skip("not a clip of FaceForensics++ with answers", clip)
    if path is None:
        return Skip("a clip without its picture: DD-VQA does not say which frame", clip)
    category, name = method(_MADE_BY[int(match[1])]) or (Category.BONA_FIDE, None)
    people, scene = cast("ff", match[2])
    whole = next((texts for region, texts in said if region is None), said[0][1])
    several = whole if category.forged and len(whole) > 1 else ()
    return Row(
        path=path,
        dataset="ddvqa",
        category=category,
        method=name,
        people=people,
        scene=scene,
        listed=(split,) if split else (),
        licence=LICENCE,
        findings=_findings(said) if category.forged else (),
        voices=tuple(several),
        text=whole[0],
    )


def _answers(answers: object) -> list[tuple[Region | None, list[str]]]:
    """Return region (None: the whole picture) and answers by the question, not its number."""
    said = []
    entries = answers.values() if isinstance(answers, dict) else ()
    for entry in (one for one in entries if isinstance(one, dict)):
        asked = str(entry.get("question", "")).lower()
        region = next((region for region in Region if region.value in asked), None)
        given = entry.get("answer")
        given = given if isinstance(given, list) else [given or ""]
        lines = (" ".join(str(text).split()) for text in given)
        texts = [re.sub(r"(?:\s*\.)+", ".", line) for line in lines if line]
        said += [(region, texts)] if texts else []
    return said


def _findings(said: list[tuple[Region | None, list[str]]]) -> tuple[Finding, ...]:
    """Return each artifact of a region once, with the sentence of the first who saw it."""
    found: dict[tuple[Region, str], Finding] = {}
    for region, texts in said:
        for sentence in ". ".join(texts).split(". ") if region else ():
            for artifact in (name for name, sign in _SIGNS.items() if re.search(sign, sentence)):
                told = sentence.rstrip(".") + "."
                claim = Finding(region=region, artifact=artifact, evidence=told)
                found.setdefault((region, artifact), claim)
    return tuple(found.values())
