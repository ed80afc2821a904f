"""From text to findings and verdicts; every flattering bug of the field is a case here."""

import time

import pytest

from dfa_lib.findings import claims, findings, reading, regions, verdict
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.instruct.wording import describe
from dfa_lib.records import Finding
from dfa_lib.taxonomy import CLASSES, Artifact, Region, Task

R, A = Region, Artifact

DESCRIPTIONS = {
    # one claim, and lists of them
    "The nose is blurred.": {(R.NOSE, A.BLUR)},
    "The nose, the eyes and the mouth look blurred.": {
        (R.NOSE, A.BLUR),
        (R.EYES, A.BLUR),
        (R.MOUTH, A.BLUR),
    },
    "The chin and jawline show noise mismatch and texture loss.": {
        (R.CHIN, A.NOISE_MISMATCH),
        (R.CHIN, A.TEXTURE_LOSS),
        (R.JAWLINE, A.NOISE_MISMATCH),
        (R.JAWLINE, A.TEXTURE_LOSS),
    },
    # statements do not bleed into each other
    "The nose is blurred and the mouth shows a blending boundary.": {
        (R.NOSE, A.BLUR),
        (R.MOUTH, A.BLENDING_BOUNDARY),
    },
    "Blur on the nose and a colour mismatch at the mouth.": {
        (R.NOSE, A.BLUR),
        (R.MOUTH, A.COLOUR_MISMATCH),
    },
    "Blur is visible on the nose, and the mouth shows a color mismatch.": {
        (R.NOSE, A.BLUR),
        (R.MOUTH, A.COLOUR_MISMATCH),
    },
    "The nose shows a colour mismatch, the eyes a blur and the mouth a grid pattern.": {
        (R.NOSE, A.COLOUR_MISMATCH),
        (R.EYES, A.BLUR),
        (R.MOUTH, A.GRID_PATTERN),
    },
    "- Nose: blur\n- **Lips**: over-smoothing": {(R.NOSE, A.BLUR), (R.MOUTH, A.OVER_SMOOTHING)},
    # negation and reassurance
    "The nose looks natural.": set(),
    "There is no blur on the mouth.": set(),
    "No blur, colour mismatch or grid pattern on the nose.": set(),
    "The skin isn't blurred.": set(),
    "Neither the nose nor the mouth shows blur.": set(),
    "The nose is free of blur, but the chin is distorted.": {(R.CHIN, A.STRUCTURAL_DISTORTION)},
    "The nose is blurred and the mouth shows no artifacts.": {(R.NOSE, A.BLUR)},
    "The nose does not look natural and is blurred.": {(R.NOSE, A.BLUR)},
    "The mouth is not only blurred.": {(R.MOUTH, A.BLUR)},
    "The eyes are not aligned.": {(R.EYES, A.MISALIGNMENT)},
    "The nose isn\u2019t blurred.": set(),
    "The skin does not lack detail.": set(),
    "No artifact stands out: every region looks natural.": set(),
    # questions claim nothing, and words are whole
    "Is the nose blurred? The cheeks are over-smoothed.": {(R.CHEEKS, A.OVER_SMOOTHING)},
    "Nostalgia about the earth, a gridlock near Lipton.": set(),
    "": set(),
    "Die Nase ist unscharf.": set(),
    # wordings of other models
    "The skin texture around the cheeks appears overly smooth, lacking natural pores.": {
        (R.SKIN, A.OVER_SMOOTHING),
        (R.CHEEKS, A.OVER_SMOOTHING),
    },
    "Inconsistent lighting across the forehead; a visible seam along the jaw.": {
        (R.FOREHEAD, A.LIGHTING_MISMATCH),
        (R.JAWLINE, A.BLENDING_BOUNDARY),
    },
    "I see checkerboard artifacts in the hair and misaligned pupils.": {
        (R.HAIRLINE, A.GRID_PATTERN),
        (R.EYES, A.MISALIGNMENT),
    },
}


@pytest.mark.parametrize("text", DESCRIPTIONS)
def test_findings_of(text: str) -> None:
    assert findings(text) == DESCRIPTIONS[text]


def test_every_description_of_ours_reads_back() -> None:
    for artifact in Artifact:
        for region in Region:
            one = Finding(region=region, artifact=artifact, evidence="")
            assert findings(describe([one])) == {(region, artifact)}
    several = [
        Finding(region=r, artifact=a, evidence="")
        for r, a in zip(Region, [*Artifact, A.BLUR], strict=True)
    ]
    assert findings(describe(several)) == {(one.region, one.artifact) for one in several}


def test_a_region_may_be_called_altered_without_a_reason() -> None:
    assert claims("The eyes look unnatural.") == {(R.EYES, None)}
    assert regions("The mouth was manipulated. The nose is blurred.") == {R.MOUTH, R.NOSE}
    assert findings("The eyes look wrong.") == set()


def test_a_description_is_read_or_it_is_not() -> None:
    assert reading("The nose and eyes show blur.") == "eyes, nose"
    assert reading("No artifact stands out: every region looks natural.") == ""
    assert reading("I see nothing unusual.") == reading("The skin is not blurred.") == ""
    for silence in (
        "",
        "blah blah",
        "12345",
        "I'm sorry, but I cannot help with that.",
        "I won't describe people.",
        "I can't tell whether the nose is natural.",
    ):
        assert reading(silence) is None, silence


VERDICTS = {
    "This face is forged.": "forged",
    "This face is bona fide.": "bona fide",
    "not real": "forged",
    "It isn't real.": "forged",
    "This is not a fake.": "bona fide",
    "I think the picture was manipulated": "forged",
    "Is it real? It is fake.": "forged",
    "unrealistic": None,
    "really": None,
    "surreal": None,
    "": None,
    "   \n": None,
    "real and fake": None,
    "It is real. It is fake.": None,
    "I cannot tell whether it is real.": None,
    "As an AI, I am unable to judge faces.": None,
    "Das Gesicht ist gefälscht.": None,
    "这张脸是假的": None,
    "Yes.": None,
    # typography, and negators that stand far off, are rare, or come in pairs
    "It isn\u2019t real.": "forged",
    "This cannot be real.": "forged",
    "a non-authentic picture": "forged",
    "anything but real": "forged",
    "This face is no longer authentic.": "forged",
    "I doubt that it is real": "forged",
    "There is no sign that the face is real.": "forged",
    "It is neither fake nor manipulated.": "bona fide",
    "No evidence that this was manipulated or generated by AI.": "bona fide",
    "I see no artifacts and the face is real.": "bona fide",
    "It does not look at all like a real face.": None,
    "With no visible artifacts this is a real face.": None,
    # words that hold a verdict and are none
    "A real-looking picture": None,
    "inauthentic": None,
    "This face is": None,
    # other languages: their "not" is not known, so nothing is read
    "Das Gesicht ist nicht real.": None,
    "No es real.": None,
    "Ce visage n'est pas un fake.": None,
    "N\u00e3o \u00e9 real": None,
    "\u8fd9\u5f20\u8138\u662f real": None,
}


@pytest.mark.parametrize("text", VERDICTS)
def test_detection_verdict_of(text: str) -> None:
    assert verdict(text, Task.DF_D) == VERDICTS[text]


def test_yes_and_no_are_read_by_the_question() -> None:
    assert verdict("Yes.", Task.DF_D, "Has this face been forged?") == "forged"
    assert verdict("No, not at all", Task.DF_D, "Has this face been forged?") == "bona fide"
    assert verdict("No", Task.DF_D, "Is this a real face?") == "forged"
    assert verdict("Yes", Task.DF_D, "Is this face real or fake?") is None


CATEGORIES = {
    "FS": "FS",
    "It is face-swapping.": "FS",
    "Not face swapping but face reenactment.": "FR",
    "An entirely synthetic image": "EFS",
    "This is a real photograph.": "bona fide",
    "face swapping or face editing": None,
    "It is forged.": None,
    "bona fide, or face swapping": None,
    "": None,
}


@pytest.mark.parametrize("text", CATEGORIES)
def test_category_of(text: str) -> None:
    assert verdict(text, Task.DF_C) == CATEGORIES[text]


@pytest.mark.parametrize("task", [Task.DF_D, Task.DF_C])
def test_every_option_reads_back(task: Task) -> None:
    assert {verdict(text, task): text for text in OPTIONS[task].values()} == OPTIONS[task]
    assert set(OPTIONS[Task.DF_C]) == {category.value for category in CLASSES}


def test_ten_thousand_words_are_read_in_a_moment() -> None:
    begin = time.process_time()
    for text in ("the nose shows blur and " * 2500, "not real " * 5000, "a" * 99_999, "no " * 9999):
        claims(text), verdict(text, Task.DF_D), verdict(text, Task.DF_C)
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("task", [Task.AD, Task.FC])
def test_only_closed_tasks_have_a_verdict(task: Task) -> None:
    assert verdict("This is a face swap.", task) is None
