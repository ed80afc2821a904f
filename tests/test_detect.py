"""Faces are found without landmarks and framed as aligned training pictures are."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from benchmarks.detectors import changes, turned
from dfa_lib.bench.coverage import strangers
from dfa_lib.face.detect import (
    CUT_OFF,
    MOST_TILT,
    FaceCrop,
    covered,
    find_face,
    find_faces,
    landmarks_of,
    pictures,
    tilt,
)
from dfa_lib.face.geometry import (
    EYE_LEFT,
    EYE_RIGHT,
    Image,
    Points,
    Portrait,
    align,
    frame,
    from_frl189,
    move,
)
from dfa_lib.photo import open_photo
from dfa_lib.records import DataError
from dfa_lib.runtime import RESCUE
from dfa_lib.taxonomy import Split
from facesim.people import portrait
from facesim.populations import london_split

LONDON = Path(__file__).parents[2] / "shared" / "data" / "london" / "neutral_front"


def generated(seed: int) -> Portrait:
    return portrait(f"detected-{seed}", 0, size=160)


def photographs() -> list[Portrait]:
    found = []
    templates = [t for t in LONDON.glob("*.tem") if london_split(t.name[:3]) is Split.TEST]
    for template in sorted(templates)[::3]:
        lines = template.read_text().split("\n")[1:190]
        points = np.array([line.split() for line in lines], np.float32)
        picture = cv2.imread(str(template.with_suffix(".jpg")))[..., ::-1]
        found.append(Portrait(np.ascontiguousarray(picture), from_frl189(points)))
    return found


def eye_distances(found: Points, truth: Points) -> float:
    unit = np.linalg.norm(truth[EYE_LEFT].mean(axis=0) - truth[EYE_RIGHT].mean(axis=0))
    return float(np.linalg.norm(found - truth, axis=1).mean() / unit)


def tilted(portrait: Portrait, degrees: float) -> Portrait:
    return Portrait(*turned(*vars(portrait).values(), degrees))


def misfit(crop: FaceCrop, portrait: Portrait) -> tuple[float, float]:
    """Return how far the crop is off the landmark frame: centre and side, in sides."""
    matrix = frame(portrait.landmarks, 128)
    side = 128 / np.hypot(matrix[0, 0], matrix[1, 0])
    centre = cv2.invertAffineTransform(matrix) @ [64, 64, 1]
    x0, y0, x1, y1 = crop.box
    off = np.hypot((x0 + x1) / 2 - centre[0], (y0 + y1) / 2 - centre[1])
    return off / side, abs((x1 - x0) / side - 1)


def test_generated_faces_are_found_and_framed() -> None:
    portraits = [generated(seed) for seed in range(5)]
    crops = [find_face(portrait.image) for portrait in portraits]
    off = np.array([misfit(c, p) for c, p in zip(crops, portraits, strict=True)])
    assert all(crop.image.shape == (128, 128, 3) and crop.others == 0 for crop in crops)
    assert off.mean(axis=0)[0] < 0.04 and off.mean(axis=0)[1] < 0.12


@pytest.mark.skipif(not LONDON.exists(), reason="the London photographs are not on this machine")
def test_photographs_are_framed_as_by_landmarks() -> None:
    portraits = photographs()
    off = np.array([misfit(find_face(p.image), p) for p in portraits]).mean(axis=0)
    assert len(portraits) == 10 and off[0] < 0.02 and off[1] < 0.04


@pytest.mark.skipif(not LONDON.exists(), reason="the London photographs are not on this machine")
@pytest.mark.parametrize("degrees", [0, 30, -30])
def test_landmarks_of_people_the_map_was_not_fitted_on(degrees: float) -> None:
    for photo in (tilted(p, degrees) for p in photographs()):
        crop = find_face(photo.image)
        assert eye_distances(crop.landmarks, photo.landmarks) < 0.08


@pytest.mark.parametrize("degrees", [30, -30])
def test_a_tilted_face_is_framed_upright(degrees: float) -> None:
    upright = generated(1)
    straight, turned = (find_face(p.image).image for p in (upright, tilted(upright, degrees)))
    assert np.abs(straight[32:96, 32:96].astype(int) - turned[32:96, 32:96]).mean() < 8


@pytest.mark.parametrize("name", ["brick", "page", "text", "chelsea", "coffee", "grass", "rocket"])
def test_no_face_is_seen_where_there_is_none(name: str) -> None:
    image = getattr(data, name)()
    assert not find_faces(image if image.ndim == 3 else np.stack([image] * 3, axis=-1))


def test_landmarks_follow_the_mesh_wherever_it_goes() -> None:
    mesh = np.random.default_rng(0).random((468, 2), np.float32)
    turn = np.float32([[0, -3, 500], [3, 0, 900]])
    assert np.allclose(landmarks_of(move(mesh, turn)), move(landmarks_of(mesh), turn), atol=0.01)


def test_a_frame_is_judged_as_it_is_and_a_photograph_is_framed() -> None:
    aligned = align(*vars(generated(3)).values(), size=128).image
    assert find_face(aligned).image.shape == (128, 128, 3)
    assert [one is aligned for one in pictures(aligned)] == [True]
    assert [type(one) for one in pictures(two_people())] == [FaceCrop] * 2


def test_what_is_called_tilted_is_seen_by_the_detectors() -> None:
    """The mesh network alone takes some scrambled faces for tilted ones."""
    faces = [
        open_photo(path) for path in sorted((RESCUE / "01_instruct" / "images").glob("bf_*"))[:6]
    ]
    parts = strangers(faces * 8, [np.zeros((9, 9, 3), np.uint8)])["no face"]
    assert all(find_faces(one) for one in parts if abs(tilt(one) or 0) > MOST_TILT)
    assert abs(tilt(tilted(generated(1), 20).image)) == pytest.approx(20, abs=4)


def test_a_small_face_in_a_large_picture() -> None:
    sheet = np.full((1200, 1600, 3), 180, np.uint8)
    sheet[500:660, 300:460] = generated(1).image
    x0, _, x1, _ = find_face(sheet).box
    assert 300 < (x0 + x1) / 2 < 460


@pytest.mark.parametrize(
    ("person", "part", "cut"),
    [
        (2, np.s_[:, :150], True),  # the right half is missing
        (1, np.s_[:, 150:], True),
        (1, np.s_[:170], True),  # and all below the eyes
        (1, np.s_[:200], True),
        (1, np.s_[40:, 30:270], False),  # as close as portraits are
        (1, np.s_[70:250, 60:240], False),
    ],
)
def test_a_face_that_the_edge_cuts_off_is_told(
    person: int, part: tuple[slice, ...], cut: bool
) -> None:
    sheet = np.ascontiguousarray(cv2.resize(generated(person).image, (300, 300))[part])
    assert [face.cut for face in find_faces(sheet)] == [CUT_OFF if cut else ""]


def two_people() -> Image:
    """Return a picture of two faces, the smaller one to the left."""
    sheet = np.full((300, 520, 3), 180, np.uint8)
    sheet[40:200, 20:180] = generated(1).image
    sheet[30:270, 230:470] = cv2.resize(generated(2).image, (240, 240))
    return sheet


def test_of_several_faces_the_largest_is_taken_and_said() -> None:
    crop = find_face(two_people())
    assert (crop.box[0] + crop.box[2]) / 2 > 230
    assert crop.note.startswith("2 faces were found; this is about the largest one; crop")
    largest, other = find_faces(two_people())
    assert largest.box == crop.box and (other.box[0] + other.box[2]) / 2 < 200


@pytest.mark.parametrize(("left", "right"), [(20, 180), (230, 470)])
def test_of_several_faces_a_mask_or_a_place_chooses(left: int, right: int) -> None:
    mask = np.zeros((300, 520), np.uint8)
    mask[120:150, left + 60 : right - 60] = 255
    chosen = find_face(two_people(), mask=mask)
    assert left < chosen.landmarks[:, 0].mean() < right and covered(mask, chosen.landmarks) > 0.05
    assert find_face(two_people(), near=chosen.landmarks).box == chosen.box


@pytest.mark.parametrize("kind", ["dark glasses", "surgical mask"])
def test_a_face_is_found_behind(kind: str) -> None:
    disguise = changes()[kind]
    seen = [bool(find_faces(disguise(*vars(generated(seed)).values())[0])) for seed in range(5)]
    assert sum(seen) >= 4


def test_without_a_face_it_says_what_would_help() -> None:
    plain = np.full((200, 200, 3), 150, np.uint8)
    with pytest.raises(DataError, match=r"^wall\.png: No face was found; use an upright, frontal"):
        find_face(plain, "wall.png")
