"""People who do not exist: repeatable, varied, exactly marked, and nobody of the London Set."""

import os
import subprocess
import sys
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from joblib import Parallel, delayed

from dfa_lib.face.geometry import EYE_LEFT, EYE_RIGHT, Portrait, frame, region_masks
from dfa_lib.taxonomy import Region
from facesim.people import MODEL, SIDE, drawn, model, person, portrait

LONDON = Path(__file__).parents[2] / "shared" / "data" / "london"
NAMES = [f"test-{number}" for number in range(12)]
needs_london = pytest.mark.skipif(not LONDON.exists(), reason="the London Set is not here")


@pytest.fixture(scope="module")
def portraits() -> list[Portrait]:
    return [portrait(name, 0) for name in NAMES]


def digest(name: str) -> str:
    return sha256(portrait(name, 1).image.tobytes()).hexdigest()


def test_a_name_gives_the_same_picture_on_any_number_of_workers() -> None:
    alone = [digest(name) for name in NAMES[:4]]
    person.cache_clear()
    assert Parallel(n_jobs=2)(delayed(digest)(name) for name in reversed(NAMES[:4])) == alone[::-1]


def test_pictures_are_those_of_the_committed_model(portraits: list[Portrait]) -> None:
    """Byte for byte where the processor has AVX2, on any number of threads; else block means.

    Processors without it, and those of other makes, round the last bit of some pixels differently.
    """
    images = np.stack([p.image for p in portraits[:4]])
    small = [cv2.resize(i, (2, 2), interpolation=cv2.INTER_AREA).mean(2) for i in images]
    assert np.abs(np.array(small).reshape(4, 4) - MEANS).max() < 0.6
    if {"AVX2", "*AVX2"} & set(cv2.getCPUFeaturesLine().split()):
        assert sha256(images).hexdigest() == DIGEST


@pytest.mark.parametrize("threads", ["1", "2"])
def test_threads_of_the_linear_algebra_change_no_byte(threads: str) -> None:
    """OpenBLAS and OpenMP read their numbers of threads when a process starts."""
    code = f"from tests.test_people import digest; print(digest({NAMES[0]!r}))"
    counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    told = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | counts, check=True, stdout=subprocess.PIPE
    )
    assert told.stdout.decode().split()[-1] == digest(NAMES[0])


MEANS = np.float32(
    [
        [180.3, 171.7, 203.0, 192.3],
        [154.7, 159.3, 158.3, 167.7],
        [176.7, 182.3, 194.7, 200.3],
        [176.7, 174.3, 191.0, 192.7],
    ]
)
DIGEST = "9400ac43166d681a93ef694708e1ed6881b419889e87be66530750b87d9b67c7"


@pytest.mark.parametrize("size", [128, 192, 224, 256])
def test_sizes_show_the_same_face(size: int) -> None:
    large = portrait(NAMES[0], 0, size)
    assert large.image.shape == (size, size, 3) and large.image.dtype == np.uint8
    again = cv2.resize(large.image, (64, 64), interpolation=cv2.INTER_AREA).astype(float)
    small = cv2.resize(portrait(NAMES[0], 0, 128).image, (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(again - small).mean() < 2
    assert np.allclose(frame(large.landmarks, size)[:, :2], np.eye(2), atol=0.02)


def test_landmarks_lie_on_the_features(portraits: list[Portrait]) -> None:
    """Pupils and lashes are darker than the skin round the eyes, lips redder than the chin."""
    for one in portraits:
        masks = region_masks(one.landmarks, 128)
        grey = cv2.cvtColor(one.image, cv2.COLOR_RGB2GRAY).astype(float)
        for eye in (EYE_LEFT, EYE_RIGHT):
            x, y = one.landmarks[eye].mean(axis=0).round().astype(int)
            assert grey[y - 1 : y + 2, x - 1 : x + 2].mean() < grey[masks[Region.CHEEKS]].mean()
        red = one.image[..., 0] / (one.image.sum(axis=2) + 1.0)
        assert red[masks[Region.MOUTH]].mean() > red[masks[Region.CHIN]].mean() - 0.005


def test_takes_differ_and_people_differ_more() -> None:
    def shape(name: str, take: int) -> np.ndarray:
        return portrait(name, take).landmarks.ravel()

    takes = [np.linalg.norm(shape(n, 0) - shape(n, 2)) for n in NAMES]
    people = [np.linalg.norm(shape(a, 0) - shape(b, 0)) for a, b in pairwise(NAMES)]
    assert min(takes) > 1 and np.median(people) > np.median(takes)


def luma(name: str, points: np.ndarray, **controls: float) -> float:
    """The mean luma of skin round some landmarks, over three takes."""
    shown = [portrait(name, take, **controls) for take in range(3)]
    spots = [(one, one.landmarks[points].mean(axis=0).astype(int)) for one in shown]
    return float(np.mean([one.image[y - 3 : y + 4, x - 3 : x + 4].mean() for one, (x, y) in spots]))


def test_fairness_makes_skin_lighter() -> None:
    nose = np.r_[28:34]
    for name in NAMES[:4]:
        dark, usual, fair = (luma(name, nose, fairness=by) for by in (-0.2, 0, 0.2))
        assert dark < usual - 10 and usual + 10 < fair


def test_the_lamp_lights_its_side() -> None:
    left, right = np.r_[2, 31], np.r_[14, 35]
    for name in NAMES[:4]:
        for lamp, lit, dim in ((-70, left, right), (70, right, left)):
            assert luma(name, lit, lamp=lamp) > luma(name, dim, lamp=lamp) + 5


@needs_london
def test_years_make_people_look_older() -> None:
    """What years add looks like what the oldest training people have and the youngest lack."""
    from dfa_lib.taxonomy import Split
    from facesim.populations import London
    from tools.fit_people import cut_out, in_shape

    def grey(colours: np.ndarray) -> np.ndarray:
        small = cv2.resize(colours, (28, 28), interpolation=cv2.INTER_AREA).mean(axis=2)
        return small[8:22, 8:20].ravel() - small[8:22, 8:20].mean()

    london, mean = London(LONDON, SIDE), model().mean_shape
    told = {who: london.row(who)["face_age"] for who in london.people(Split.TRAIN, 102)}
    order = sorted(
        (who for who, age in told.items() if age != "NA"), key=lambda who: float(told[who])
    )
    ends = [order[-14:], order[:14]]
    seen = [
        [grey(in_shape(who, *cut_out(london, who, 0), mean).layers[..., :3]) for who in end]
        for end in ends
    ]
    age = np.mean(seen[0], axis=0) - np.mean(seen[1], axis=0)
    for name in NAMES[:4]:
        old, young = (grey(person(name, years=years).colours[0]) for years in (15, -15))
        assert np.corrcoef(old - young, age)[0, 1] > 0.4


def test_hair_is_long_and_short_and_of_many_colours(portraits: list[Portrait]) -> None:
    """Something is beside the neck of some people only; above the hairline, tones differ."""
    tops = [one.image[int(one.landmarks[74, 1]) - 6, 60:68].mean() for one in portraits]
    people = [person(f"test-{number}") for number in range(40)]
    low = [one.opacity[0, 150:200, [56, 168]].mean() for one in people]
    assert np.ptp(tops) > 40 and min(low) < 0.05 and max(low) > 0.4


def test_the_model_is_small_and_free_of_pickles() -> None:
    assert MODEL.stat().st_size < 10_000_000
    with np.load(MODEL, allow_pickle=False) as file:
        assert all(file[name].dtype.kind in "iuf" for name in file.files)
    assert drawn(0).shape == (2, SIDE, SIDE, 4)


def test_no_anchor_is_one_person() -> None:
    """Mixes of three vary clearly less in shape than single people do."""
    known = model()
    single = np.sqrt((known.axes**2).sum(axis=0))
    assert np.median(known.points[:, 0].std(axis=0) / single) < 0.8


@needs_london
def test_only_training_people_are_in_the_model() -> None:
    """Photographs of test people are rebuilt far worse than those it was fitted to."""
    from dfa_lib.taxonomy import Split
    from facesim.populations import London, london_split
    from tools.fit_people import left_over

    london = London(LONDON, SIDE)
    by_split = {
        split: left_over(LONDON, london.people(split, 12)).mean()
        for split in (Split.TRAIN, Split.TEST)
    }
    assert london_split(london.people(Split.TEST, 1)[0]) is Split.TEST
    assert by_split[Split.TEST] > 1.15 * by_split[Split.TRAIN]
    assert by_split[Split.TRAIN] > 4 / 255, "a training photograph can be rebuilt from the file"
