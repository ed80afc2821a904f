"""Who a procedural face is and how it is seen: parameters, sampling and words for them.

Shape parameters are standard scores (0 is the mean face, +-2 is rare) unless a
comment says otherwise; angles are radians.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

# sRGB in [0, 1]; a skin is interpolated along SKIN by Identity.melanin.
SKIN = np.float32(
    [
        [0.93, 0.76, 0.68],
        [0.89, 0.69, 0.57],
        [0.79, 0.58, 0.45],
        [0.64, 0.45, 0.33],
        [0.47, 0.32, 0.235],
        [0.335, 0.225, 0.165],
    ]
)
SKIN_TONES = ("fair", "light", "medium", "tan", "brown", "dark")
HAIR: dict[str, tuple[float, float, float]] = {
    "black": (0.11, 0.09, 0.085),
    "dark brown": (0.22, 0.145, 0.105),
    "brown": (0.37, 0.25, 0.165),
    "auburn": (0.46, 0.22, 0.12),
    "blonde": (0.66, 0.53, 0.37),
    "grey": (0.56, 0.55, 0.54),
    "white": (0.83, 0.82, 0.80),
}
EYES: dict[str, tuple[float, float, float]] = {
    "brown": (0.30, 0.17, 0.09),
    "hazel": (0.44, 0.33, 0.15),
    "green": (0.36, 0.46, 0.30),
    "blue": (0.32, 0.47, 0.63),
    "grey": (0.47, 0.52, 0.55),
}
HAIR_LENGTHS = {
    "bald": "no hair",
    "cropped": "very short hair",
    "short": "short hair",
    "swept": "short hair",
    "curly": "curly hair",
    "tied": "tied-back hair",
    "bun": "hair in a bun",
    "bob": "chin-length hair",
    "long": "long hair",
    "wavy": "long wavy hair",
}
BEARDS = ("none", "stubble", "moustache", "goatee", "full beard")
BACKGROUNDS = ("studio", "wall", "bokeh", "window", "foliage")


@dataclass(frozen=True)
class Identity:
    """What stays with a person: head shape, colours, hair and skin marks."""

    seed: int
    masculine: float  # 0 to 1
    age: float  # 0 (twenty) to 1 (seventy)
    face_width: float
    jaw_width: float
    chin: float
    forehead: float
    cheekbones: float
    eye_size: float
    eye_spacing: float
    eye_tilt: float
    brow_height: float
    brow_weight: float
    brow_arch: float
    nose_length: float
    nose_width: float
    nose_relief: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    ear_size: float
    asymmetry: float
    melanin: float  # 0 (fair) to 1 (dark)
    ruddiness: float
    hair_style: str
    hair_colour: str
    hair_volume: float
    fringe: float  # 0 (forehead free) to 1 (halfway to the brows)
    parting: float  # -1 image left to 1 image right
    eye_colour: str
    beard: str
    freckles: float  # 0 to 1
    lipstick: float  # 0 to 1


@dataclass(frozen=True)
class Pose:
    """What changes from picture to picture: expression, view, light and surroundings."""

    seed: int
    smile: float  # 0 to 1, as the three below
    mouth_open: float
    eyes_closed: float
    brow_raise: float
    yaw: float  # positive turns the face to image right
    pitch: float  # positive looks down
    roll: float
    gaze: tuple[float, float]  # in iris radii
    zoom: float
    shift: tuple[float, float]  # as a fraction of the picture
    light_side: float  # azimuth: positive comes from image right
    light_height: float  # elevation
    light_key: float  # share of directed light, 0 to 1
    warmth: float  # -1 cold to 1 warm
    exposure: float
    background: str


def sample_identity(rng: Generator) -> Identity:
    """Draw a person; the same generator state gives the same person."""
    masculine = float(np.clip(rng.choice([0.15, 0.85]) + 0.12 * rng.normal(), 0, 1))
    age = float(rng.beta(1.3, 1.8))
    melanin = float(np.clip(rng.beta(1.1, 1.5), 0, 1))
    names = [name for name in Identity.__annotations__ if Identity.__annotations__[name] is float]
    given = {"masculine": masculine, "age": age, "melanin": melanin}
    scores = {name: float(np.clip(rng.normal(), -2.2, 2.2)) for name in names if name not in given}
    scores["parting"] = float(rng.choice([-0.45, 0.0, 0.45]) + 0.08 * rng.normal())
    scores["fringe"] = float(rng.random() < 0.4) * float(rng.uniform(0.4, 1))
    scores["freckles"] = float(rng.random() < 0.3 * (1 - melanin)) * float(rng.uniform(0.3, 1))
    scores["lipstick"] = float(masculine < 0.5 and rng.random() < 0.5) * float(rng.uniform(0.2, 1))
    return Identity(
        seed=int(rng.integers(2**31)),
        hair_style=_hair_style(rng, masculine, age),
        hair_colour=_hair_colour(rng, melanin, age),
        eye_colour=_eye_colour(rng, melanin),
        beard=_beard(rng, masculine),
        **given,
        **scores,
    )


def sample_pose(rng: Generator) -> Pose:
    """Draw a picture-taking situation: about a third neutral, the rest with an expression."""
    kinds = ["neutral", "smile", "open", "closed", "raise"]
    kind = rng.choice(kinds, p=[0.34, 0.32, 0.16, 0.08, 0.1])
    faint = 0.12 * rng.random(3)
    strong = float(rng.uniform(0.6, 1))
    return Pose(
        seed=int(rng.integers(2**31)),
        smile=strong if kind == "smile" else float(faint[0]),
        mouth_open=strong if kind == "open" else 0.0,
        eyes_closed=1.0 if kind == "closed" else float(faint[1]),
        brow_raise=strong if kind == "raise" else float(faint[2]),
        yaw=float(np.clip(0.13 * rng.normal(), -0.3, 0.3)),
        pitch=float(np.clip(0.06 * rng.normal(), -0.15, 0.15)),
        roll=float(np.clip(0.04 * rng.normal(), -0.12, 0.12)),
        gaze=(float(0.2 * rng.normal()), float(0.1 * rng.normal())),
        zoom=float(rng.uniform(1.05, 1.14)),
        shift=(float(rng.uniform(-0.02, 0.02)), float(rng.uniform(-0.02, 0.02))),
        light_side=float(np.clip(0.6 * rng.normal(), -1.1, 1.1)),
        light_height=float(rng.uniform(0.25, 0.9)),
        light_key=float(rng.uniform(0.55, 0.9)),
        warmth=float(np.clip(0.3 * rng.normal(), -1, 1)),
        exposure=float(rng.uniform(0.82, 1.05)),
        background=str(rng.choice(BACKGROUNDS)),
    )


def describe(identity: Identity) -> dict[str, str]:
    """Say in words what a viewer can see of a person; keys are attributes, values phrases."""
    bald = identity.hair_style == "bald"
    return {
        "hair colour": "none" if bald else identity.hair_colour,
        "hair length": HAIR_LENGTHS[identity.hair_style],
        "eye colour": identity.eye_colour,
        "skin tone": SKIN_TONES[min(int(identity.melanin * len(SKIN_TONES)), len(SKIN_TONES) - 1)],
        "beard": "no beard" if identity.beard == "none" else identity.beard,
        "brows": "thick brows" if identity.brow_weight > 0.4 else "thin brows",
        "wrinkles": "wrinkled skin" if identity.age > 0.55 else "smooth skin",
        "freckles": "freckles" if identity.freckles > 0 else "no freckles",
    }


def expression_name(pose: Pose) -> str:
    """Name the leading expression: neutral, smiling, mouth open, eyes closed or brows raised."""
    degrees = {
        "smiling": pose.smile,
        "mouth open": pose.mouth_open,
        "eyes closed": pose.eyes_closed,
        "brows raised": pose.brow_raise,
    }
    leading = max(degrees, key=lambda name: degrees[name])
    return leading if degrees[leading] > 0.4 else "neutral"


def _hair_style(rng: Generator, masculine: float, age: float) -> str:
    if masculine > 0.5:
        if rng.random() < 0.25 * age:
            return "bald"
        styles = ["cropped", "short", "swept", "curly", "bob"]
        return str(rng.choice(styles, p=[0.22, 0.3, 0.3, 0.13, 0.05]))
    styles = ["long", "wavy", "bob", "tied", "bun", "curly", "short"]
    return str(rng.choice(styles, p=[0.24, 0.22, 0.2, 0.08, 0.09, 0.1, 0.07]))


def _hair_colour(rng: Generator, melanin: float, age: float) -> str:
    if rng.random() < (age - 0.55) * 2:
        return "white" if rng.random() < age - 0.4 else "grey"
    if melanin > 0.55:
        return str(rng.choice(["black", "dark brown"], p=[0.7, 0.3]))
    weights = np.array([0.16, 0.26, 0.24, 0.12, 0.22])
    return str(rng.choice(["black", "dark brown", "brown", "auburn", "blonde"], p=weights))


def _eye_colour(rng: Generator, melanin: float) -> str:
    if melanin > 0.5:
        return str(rng.choice(["brown", "hazel"], p=[0.9, 0.1]))
    return str(rng.choice(list(EYES), p=[0.32, 0.16, 0.14, 0.26, 0.12]))


def _beard(rng: Generator, masculine: float) -> str:
    if masculine < 0.5:
        return "none"
    return str(rng.choice(BEARDS, p=[0.42, 0.24, 0.08, 0.1, 0.16]))
