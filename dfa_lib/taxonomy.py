"""The vocabulary of the project as enums, and nothing else.

Forgery categories follow section II of "Towards Interactive Deepfake Analysis"
(arXiv 2501.01164); the closed lists of regions and artifacts are ours.
"""

from enum import StrEnum


class Category(StrEnum):
    """What happened to a face: the five classes of DF-C, and a forgery of unknown kind."""

    BONA_FIDE = "bona fide"
    FS = "FS"
    FR = "FR"
    FE = "FE"
    EFS = "EFS"
    FORGED = "forged"

    @property
    def phrase(self) -> str:
        """The category in words, as questions and answers write it."""
        return _PHRASES[self]

    @property
    def forged(self) -> bool:
        """True for every category but bona fide."""
        return self is not Category.BONA_FIDE


_PHRASES = {
    Category.BONA_FIDE: "bona fide",
    Category.FS: "face swapping",
    Category.FR: "face reenactment",
    Category.FE: "face editing",
    Category.EFS: "entire face synthesis",
    Category.FORGED: "forged, kind unknown",
}
CLASSES = tuple(category for category in Category if category is not Category.FORGED)
"""The classes of DF-C: bona fide and the four kinds of forgery."""


class Task(StrEnum):
    """What an analyst is asked: the three benchmark tasks and free conversation."""

    DF_D = "DF-D"
    DF_C = "DF-C"
    AD = "AD"
    FC = "FC"


class Split(StrEnum):
    """Parts of a data set; no identity is in two of them."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class Region(StrEnum):
    """Where on the picture an artifact is."""

    HAIRLINE = "hairline"
    FOREHEAD = "forehead"
    EYEBROWS = "eyebrows"
    EYES = "eyes"
    NOSE = "nose"
    CHEEKS = "cheeks"
    MOUTH = "mouth"
    CHIN = "chin"
    JAWLINE = "jawline"
    EARS = "ears"
    SKIN = "skin"
    BACKGROUND = "background"


class Artifact(StrEnum):
    """What looks wrong there."""

    BLUR = "blur"
    OVER_SMOOTHING = "over-smoothing"
    BLENDING_BOUNDARY = "blending boundary"
    COLOUR_MISMATCH = "colour mismatch"
    LIGHTING_MISMATCH = "lighting mismatch"
    TEXTURE_LOSS = "texture loss"
    NOISE_MISMATCH = "noise mismatch"
    MISALIGNMENT = "misalignment"
    ASYMMETRY = "asymmetry"
    GRID_PATTERN = "grid pattern"
    STRUCTURAL_DISTORTION = "structural distortion"
