"""People who do not exist: repeatable, varied, exactly marked, and nobody of the London Set."""

from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from joblib import Parallel, delayed

from dfa_lib.face.geometry import EYE_LEFT, EYE_RIGHT, Portrait, frame, region_masks
from dfa_lib.taxonomy import Region
from facesim.people import MODEL, SIDE, model, person, portrait

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
    """Means of 16 blocks, as other processors may round the last bit of a pixel differently."""
    small = [
        cv2.resize(p.image, (2, 2), interpolation=cv2.INTER_AREA).mean(2) for p in portraits[:4]
    ]
    assert np.abs(np.array(small).reshape(4, 4) - STORED).max() < 0.6


STORED = np.float32(
    [
        [104.3, 93.3, 122.7, 105.7],
        [90.0, 95.3, 87.0, 93.3],
        [110.7, 106.3, 124.7, 104.3],
        [85.3, 94.3, 88.7, 104.0],
    ]
)


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


def test_the_model_is_small_and_free_of_pickles() -> None:
    assert MODEL.stat().st_size < 10_000_000
    with np.load(MODEL, allow_pickle=False) as file:
        assert all(file[name].dtype.kind in "iuf" for name in file.files)
    assert model().luma.shape[1:] == (SIDE, SIDE)


def test_no_anchor_is_one_person() -> None:
    """A mix of five varies clearly less than single people do."""
    known = model()
    k = len(known.luma) - 1
    spread = known.anchors[:, 0, :k].std(axis=0) / known.spread[:k]
    assert np.median(spread) < 0.7


@needs_london
def test_only_training_people_are_in_the_model() -> None:
    """Photographs of test people are rebuilt far worse than those it was fitted to."""
    from dfa_lib.instruct.london import London, london_split
    from dfa_lib.taxonomy import Split
    from tools.fit_people import left_over

    london = London(LONDON, SIDE)
    by_split = {
        split: np.mean([left_over(LONDON, who) for who in london.people(split, 6)])
        for split in (Split.TRAIN, Split.TEST)
    }
    assert london_split(london.people(Split.TEST, 1)[0]) is Split.TEST
    assert by_split[Split.TEST] > 1.15 * by_split[Split.TRAIN]
    assert by_split[Split.TRAIN] > 4 / 255, "a training photograph can be rebuilt from the file"
