"""Procedural faces: exact landmarks, repeatability, expressions, texture, words and speed."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from dfa_lib.face.geometry import (
    BROW_LEFT,
    EYE_LEFT,
    EYE_RIGHT,
    HAIRLINE,
    JAW,
    LIP_INNER,
    LIP_OUTER,
    Portrait,
    align,
)
from facesim.identity import BACKGROUNDS, BEARDS, EYES, HAIR, HAIR_LENGTHS, SKIN_TONES
from facesim.render import (
    Identity,
    Pose,
    describe,
    expression_name,
    render,
    sample_identity,
    sample_pose,
)


@pytest.fixture(scope="module")
def people() -> list[tuple[Identity, Pose]]:
    rng = np.random.default_rng(7)
    return [(sample_identity(rng), sample_pose(rng)) for _ in range(12)]


@pytest.fixture(scope="module")
def portraits(people: list[tuple[Identity, Pose]]) -> list[Portrait]:
    return [render(who, pose) for who, pose in people]


@pytest.fixture
def calm() -> tuple[Identity, Pose]:
    """A fair, hairless-chinned person seen from the front in even light."""
    rng = np.random.default_rng(3)
    who = replace(sample_identity(rng), melanin=0.2, beard="none", lipstick=0.0, age=0.2)
    still = dict(smile=0.0, mouth_open=0.0, eyes_closed=0.0, brow_raise=0.0)
    front = dict(yaw=0.0, pitch=0.0, roll=0.0, light_side=0.0)
    return replace(who, hair_style="short", fringe=0.0), replace(sample_pose(rng), **still, **front)


def inside(portrait: Portrait, outline: slice) -> np.ndarray:
    """Pixels (n, 3) within the polygon of some landmarks."""
    mask = np.zeros(portrait.image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(portrait.landmarks[outline]).astype(np.int32)], 1)
    return portrait.image[mask > 0].astype(float)


def cheek(portrait: Portrait) -> np.ndarray:
    """A patch (12, 12, 3) of bare skin beside the nose, image left."""
    x, y = np.round(portrait.landmarks[[3, 31, 36]].mean(0)).astype(int)
    return portrait.image[y - 6 : y + 6, x - 6 : x + 6].astype(np.float32)


def test_a_portrait_is_a_picture_with_its_landmarks_inside(portraits: list[Portrait]) -> None:
    for portrait in portraits:
        assert portrait.image.shape == (160, 160, 3) and portrait.image.dtype == np.uint8
        assert portrait.landmarks.shape == (81, 2) and portrait.landmarks.dtype == np.float32
        assert 0 < portrait.landmarks.min() and portrait.landmarks.max() < 159


def test_the_same_arguments_give_the_same_pixels(people: list[tuple[Identity, Pose]]) -> None:
    first, second = render(*people[0]), render(*people[0])
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.landmarks, second.landmarks)


def test_sampling_depends_on_the_generator_alone() -> None:
    draw = [(sample_identity(g), sample_pose(g)) for g in map(np.random.default_rng, (5, 5, 6))]
    assert draw[0] == draw[1] != draw[2]


def test_people_differ(portraits: list[Portrait]) -> None:
    small = np.stack([cv2.resize(p.image, (16, 16)).astype(float) for p in portraits])
    gaps = np.abs(small[:, None] - small[None]).mean(axis=(2, 3, 4))
    assert gaps[~np.eye(len(small), dtype=bool)].min() > 8


def test_landmarks_keep_their_order(portraits: list[Portrait]) -> None:
    for portrait in portraits:
        p = portrait.landmarks
        assert (np.diff(p[JAW][[0, 4, 8, 12, 16], 0]) > 0).all()
        assert p[EYE_LEFT, 0].max() < p[30, 0] + 12 and p[EYE_RIGHT, 0].min() > p[30, 0] - 12
        assert p[HAIRLINE, 1].min() < p[BROW_LEFT, 1].min() < p[EYE_LEFT, 1].min()
        assert p[33, 1] < p[51, 1] < p[57, 1] < p[8, 1]


def test_landmarks_lie_on_the_drawn_features(calm: tuple[Identity, Pose]) -> None:
    portrait = render(*calm)
    red, skin = inside(portrait, LIP_OUTER).mean(0), cheek(portrait)
    assert red[0] / red[1] > 1.06 * skin[..., 0].mean() / skin[..., 1].mean()
    assert inside(portrait, EYE_LEFT).std(0).mean() > 3 * skin.std((0, 1)).mean()


@pytest.mark.parametrize("size", [96, 128, 160, 256])
def test_size_scales_the_landmarks(size: int, calm: tuple[Identity, Pose]) -> None:
    large, small = render(*calm, size=size), render(*calm, size=160)
    assert large.image.shape == (size, size, 3)
    scaled = (small.landmarks + 0.5) * size / 160 - 0.5
    np.testing.assert_allclose(large.landmarks, scaled, atol=1e-3)


def test_the_mouth_opens_and_gets_dark(calm: tuple[Identity, Pose]) -> None:
    who, pose = calm
    shut, gaping = render(who, pose), render(who, replace(pose, mouth_open=1.0))
    assert np.ptp(gaping.landmarks[LIP_INNER, 1]) > np.ptp(shut.landmarks[LIP_INNER, 1]) + 5
    assert inside(gaping, LIP_INNER).min() < 60


def test_a_smile_widens_the_mouth_and_lifts_its_corners(calm: tuple[Identity, Pose]) -> None:
    who, pose = calm
    plain, happy = (render(who, replace(pose, smile=s)).landmarks for s in (0.0, 1.0))
    assert happy[54, 0] - happy[48, 0] > 1.1 * (plain[54, 0] - plain[48, 0])
    assert happy[[48, 54], 1].mean() < plain[[48, 54], 1].mean() - 1


def test_closed_eyes_hide_the_white(calm: tuple[Identity, Pose]) -> None:
    who, pose = calm
    seen, shut = (render(who, replace(pose, eyes_closed=c)) for c in (0.0, 1.0))
    assert np.ptp(shut.landmarks[[37, 41], 1]) < 0.3 * np.ptp(seen.landmarks[[37, 41], 1])
    assert inside(seen, EYE_LEFT).std() > inside(shut, EYE_LEFT).std()


def test_yaw_moves_the_nose_and_narrows_the_far_side(calm: tuple[Identity, Pose]) -> None:
    who, pose = calm
    left, right = (render(who, replace(pose, yaw=y)).landmarks for y in (-0.3, 0.3))
    for turned, sign in ((left, -1), (right, 1)):
        assert sign * (turned[30, 0] - turned[[0, 16], 0].mean()) > 5


def test_light_falls_from_its_side(calm: tuple[Identity, Pose]) -> None:
    who, pose = calm
    image = render(who, replace(pose, light_side=1.0)).image.astype(float)
    assert image[90:105, 98:112].mean() > image[90:105, 48:62].mean() + 15


def test_skin_carries_fine_texture_that_smoothing_removes(portraits: list[Portrait]) -> None:
    for portrait in portraits:
        skin = cheek(align(portrait.image, portrait.landmarks, 128))
        smoothed = cv2.GaussianBlur(skin, (0, 0), 1.0)
        fine, left = (cv2.Laplacian(a, cv2.CV_32F)[2:-2, 2:-2].std() for a in (skin, smoothed))
        assert fine > 3 and left < 0.5 * fine


def test_words_come_from_closed_lists(people: list[tuple[Identity, Pose]]) -> None:
    for who, pose in people:
        words = describe(who)
        assert words["hair length"] in HAIR_LENGTHS.values()
        assert words["hair colour"] in [*HAIR, "none"]
        assert words["eye colour"] in EYES and words["skin tone"] in SKIN_TONES
        assert words["beard"] in [*BEARDS[1:], "no beard"]
        names = ("neutral", "smiling", "mouth open", "eyes closed", "brows raised")
        assert expression_name(pose) in names


def test_words_follow_the_parameters(calm: tuple[Identity, Pose]) -> None:
    who, pose = calm
    assert expression_name(pose) == "neutral"
    assert expression_name(replace(pose, smile=0.8)) == "smiling"
    assert expression_name(replace(pose, mouth_open=0.8)) == "mouth open"
    assert expression_name(replace(pose, eyes_closed=1.0)) == "eyes closed"
    assert describe(replace(who, hair_style="bald"))["hair colour"] == "none"
    assert describe(replace(who, freckles=0.5))["freckles"] == "freckles"


def test_every_hairstyle_and_background_can_be_drawn(calm: tuple[Identity, Pose]) -> None:
    who, pose = calm
    seen = [render(replace(who, hair_style=style), pose, 96).image for style in HAIR_LENGTHS]
    seen += [render(who, replace(pose, background=b), 96).image for b in BACKGROUNDS]
    seen += [render(replace(who, beard=beard), pose, 96).image for beard in BEARDS]
    small = {cv2.resize(image, (24, 24)).tobytes() for image in seen}
    assert len(small) >= len(seen) - 2  # the calm person's own style and beard come twice
