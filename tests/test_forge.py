"""Forgery methods, the face model and the camera."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from dfa_lib.face.geometry import LIP_INNER, Portrait, fill, region_masks
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category, Region
from facesim.camera import shoot
from facesim.forge import METHODS, FaceModel, Forgery, altered_regions, forge, register
from facesim.methods import MATERIAL
from tests.faces import toy_portrait

PEOPLE = [toy_portrait(seed) for seed in range(10)]
MODEL = FaceModel.fit(PEOPLE)


def forged(method: str, seed: int = 0, difficulty: float = 0.5) -> Forgery:
    rng = np.random.default_rng(seed)
    return forge(method, rng, PEOPLE[0], PEOPLE[1], MODEL, difficulty)


def change(forgery: Forgery) -> np.ndarray:
    return np.abs(forgery.portrait.image.astype(int) - PEOPLE[0].image).mean(axis=2)


def named(category: Category) -> list[str]:
    return [name for name, method in METHODS.items() if method.category is category]


def test_every_category_has_its_methods() -> None:
    least = {Category.FS: 3, Category.FR: 3, Category.FE: 3, Category.EFS: 2}
    assert {category: len(named(category)) >= n for category, n in least.items()} == dict.fromkeys(
        least, True
    )
    assert not named(Category.BONA_FIDE)


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_every_forgery_is_well_formed_and_alters_something(method: str, difficulty: float) -> None:
    forgery = forged(method, difficulty=difficulty)
    image, points = forgery.portrait.image, forgery.portrait.landmarks
    assert image.shape == (128, 128, 3) and image.dtype == np.uint8
    assert points.shape == (81, 2) and np.isfinite(points).all()
    assert forgery.mask.shape == (128, 128) and forgery.mask.dtype == np.float32
    assert forgery.mask.min() >= 0 and forgery.mask.max() <= 1.001
    assert forgery.altered and Region.SKIN not in forgery.altered


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_forges_the_same_face(method: str) -> None:
    first, again, other = forged(method, 3), forged(method, 3), forged(method, 4)
    assert np.array_equal(first.portrait.image, again.portrait.image)
    assert not np.array_equal(first.portrait.image, other.portrait.image)


def operated(method: str, strength: float, seed: int = 0) -> tuple[Portrait, Portrait, np.ndarray]:
    """The face before, the face after and the opacity, straight from the operator."""
    names = MATERIAL[METHODS[method].category]
    material = dict(zip(names, (PEOPLE[0], PEOPLE[1]), strict=False))
    rng = np.random.default_rng(seed)
    return PEOPLE[0], *METHODS[method].operate(rng, strength, **material)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_changes_nothing_outside_its_mask(method: str) -> None:
    for seed in range(3):
        before, after, mask = operated(method, 1.0, seed)
        assert (mask == 0).mean() > 0.05
        assert np.array_equal(after.image[mask == 0], before.image[mask == 0])


@pytest.mark.parametrize("method", METHODS)
def test_strength_goes_from_nothing_to_plain(method: str) -> None:
    steps = []
    for strength in (0.0, 0.15, 1.0):
        pairs = [operated(method, strength, seed)[:2] for seed in range(4)]
        steps.append(np.mean([np.abs(b.image.astype(int) - a.image).mean() for b, a in pairs]))
    assert steps[0] < 0.3 and steps[0] < steps[1] < steps[2]


@pytest.mark.parametrize("method", named(Category.FS))
def test_a_swap_keeps_hair_and_background(method: str) -> None:
    altered = set(forged(method).altered)
    assert {Region.NOSE, Region.MOUTH} & altered
    assert not {Region.BACKGROUND, Region.HAIRLINE, Region.EARS} & altered


def test_a_swap_shows_the_donor_in_the_shading_of_the_target() -> None:
    """Strong contrast is the donor's, coarse shading is the target's: no beard shows twice."""
    before, after, mask = operated("poisson_swap", 0.4)
    coarse = [cv2.GaussianBlur(face.image, (0, 0), 12)[mask > 0.9] for face in (before, after)]
    fine = [face.image[mask > 0.9].astype(int) for face in (before, after)]
    gap = [np.abs(two.astype(int) - one).mean() for one, two in (coarse, fine)]
    assert gap[0] < 0.6 * gap[1]


@pytest.mark.parametrize("method", named(Category.FR))
def test_reenactment_alters_mouth_or_eyes(method: str) -> None:
    regions = set(forged(method).altered)
    assert regions & {Region.MOUTH, Region.EYES}
    assert not regions & {Region.BACKGROUND, Region.EARS}


def test_a_driver_gives_the_mouth_its_shape() -> None:
    driver = Portrait(PEOPLE[1].image, PEOPLE[1].landmarks.copy())
    driver.landmarks[[55, 56, 57, 58, 59, 65, 66, 67], 1] += 9
    rng = np.random.default_rng
    alone = forge("mouth_reenact", rng(0), PEOPLE[0]).portrait.landmarks
    driven = forge("mouth_reenact", rng(0), PEOPLE[0], driver).portrait.landmarks
    assert driven[66, 1] - driven[62, 1] > alone[66, 1] - alone[62, 1] + 4


def test_an_opened_mouth_is_not_black() -> None:
    for seed in range(4):
        before, after, _ = operated("mouth_reenact", 1.0, seed)
        inside = fill(after.landmarks[LIP_INNER], 128)
        assert (
            after.image[inside].mean() > 0.3 * before.image[fill(before.landmarks[:27], 128)].mean()
        )


EDITED = {
    "makeup": {Region.MOUTH},
    "eyeshadow": {Region.EYES, Region.EYEBROWS},
    "redraw_brows": {Region.EYEBROWS},
    "dye_hair": {Region.HAIRLINE},
    "age": {Region.FOREHEAD, Region.CHEEKS, Region.NOSE, Region.CHIN, Region.JAWLINE},
    "smooth_skin": {Region.FOREHEAD, Region.CHEEKS, Region.NOSE, Region.CHIN, Region.JAWLINE},
}


@pytest.mark.parametrize("method", named(Category.FE))
def test_an_edit_stays_in_its_region(method: str) -> None:
    assert set(forged(method).altered) <= EDITED[method]


@pytest.mark.parametrize("method", named(Category.EFS))
def test_synthesis_leaves_traces_on_some_regions_only(method: str) -> None:
    sets = [set(forged(method, seed).altered) for seed in range(8)]
    assert len({frozenset(one) for one in sets}) >= 3
    assert all(1 <= len(one) <= 10 for one in sets)


def test_a_drawn_person_is_nobody_and_as_crisp_as_a_portrait() -> None:
    """No portrait of the model is shown, and the detail is not averaged away."""

    def fine(people: Sequence[Portrait]) -> float:
        blurred = [cv2.GaussianBlur(one.image, (0, 0), 1.0).astype(int) for one in people]
        return np.mean([np.abs(p.image - b).mean() for p, b in zip(people, blurred, strict=True)])

    drawn = [MODEL.draw(np.random.default_rng(seed)) for seed in range(4)]
    for person in drawn:
        gaps = [np.abs(person.image.astype(int) - one.image).mean() for one in PEOPLE]
        assert min(gaps) > 2
    assert fine(drawn) > 0.8 * fine(PEOPLE)


def test_registering_is_one_line_and_checks_the_parameters() -> None:
    def inverted(
        rng: np.random.Generator, strength: float, target: Portrait
    ) -> tuple[Portrait, np.ndarray]:
        """Invert the picture."""
        return Portrait(255 - target.image, target.landmarks), np.ones((128, 128), np.float32)

    try:
        register(Category.FE)(inverted)
        assert Region.NOSE in forged("inverted").altered
    finally:
        METHODS.pop("inverted", None)
    with pytest.raises(TypeError, match=r"FS takes \(rng, strength, target, donor\)"):
        register(Category.FS)(inverted)


def test_harder_forgeries_change_less() -> None:
    mean = {
        d: np.mean([change(forged("smooth_skin", s, d)).mean() for s in range(4)]) for d in (0, 1)
    }
    assert mean[0] > 1.2 * mean[1]


def test_altered_regions_need_five_grey_levels() -> None:
    face = PEOPLE[0]
    mouth = region_masks(face.landmarks, 128)[Region.MOUTH]
    dark = np.minimum(face.image, 200)
    for step, expected in ((4, ()), (7, (Region.MOUTH,))):
        after = dark + (mouth * step).astype(np.uint8)[..., None]
        assert altered_regions(dark, after, face.landmarks) == expected


@pytest.mark.parametrize(
    ("method", "given", "word"),
    [
        ("poisson_swap", {"target": PEOPLE[0]}, "donor"),
        ("makeup", {}, "target"),
        ("morph", {}, "model"),
    ],
)
def test_missing_material_is_named(method: str, given: dict[str, Portrait], word: str) -> None:
    with pytest.raises(DataError, match=f"^{word}: missing"):
        forge(method, np.random.default_rng(0), **given)


def test_unknown_method_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match="poisson_swap"):
        forge("magic", np.random.default_rng(0))


def test_a_model_needs_several_faces() -> None:
    with pytest.raises(DataError, match="at least 8"):
        FaceModel.fit(PEOPLE[:3])


def test_camera_repeats_and_varies_with_the_seed() -> None:
    image = PEOPLE[0].image
    shots = [shoot(image, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert shots[0].shape == image.shape and shots[0].dtype == np.uint8
    assert np.array_equal(shots[0], shots[1]) and not np.array_equal(shots[0], shots[2])


def test_the_camera_meets_everyday_conditions() -> None:
    """Most shots are plain; some are grey, dark, bright or tinted."""
    grey = np.full((32, 32, 3), 128, np.uint8)
    grey[..., 0] = 150
    means = np.array([shoot(grey, np.random.default_rng(s)).mean(axis=(0, 1)) for s in range(400)])
    light, colour = means.mean(axis=1), np.ptp(means, axis=1)
    assert 0.01 < (colour < 2).mean() < 0.12
    assert light.min() < 80 and light.max() > 160 and 110 < np.median(light) < 150
    assert (means[:, 2] > means[:, 0]).any()


def test_camera_destroys_more_detail_when_harder() -> None:
    grey = np.zeros((128, 128, 3), np.uint8)
    grey[::8] = 200
    contrast = {
        d: np.mean([shoot(grey, np.random.default_rng(s), d)[..., 1].std() for s in range(12)])
        for d in (0.0, 1.0)
    }
    assert contrast[0.0] > contrast[1.0]
