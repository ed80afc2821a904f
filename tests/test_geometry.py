"""Landmarks, alignment, regions and warps."""

import numpy as np
import pytest

from dfa_lib.face.geometry import (
    EYE_LEFT,
    EYE_RIGHT,
    HAIRLINE,
    JAW,
    LIP_OUTER,
    align,
    frame,
    from_frl189,
    move,
    region_masks,
    resample_polyline,
    warp,
)
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Region
from tests.faces import dotted, marks


def test_polyline_is_resampled_by_length() -> None:
    corner = np.array([[0, 0], [3, 0], [3, 1]])
    assert np.allclose(resample_polyline(corner, 5), [[0, 0], [1, 0], [2, 0], [3, 0], [3, 1]])


def test_template_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="189 x 2"):
        from_frl189(np.zeros((68, 2)))


def test_template_points_are_all_taken_from_the_template() -> None:
    grid = np.stack(np.meshgrid(np.arange(21), np.arange(9)), axis=-1).reshape(-1, 2)
    points = from_frl189(grid.astype(float))
    assert points.shape == (81, 2) and points.dtype == np.float32
    assert np.allclose(points[36], grid[18]) and np.allclose(points[48], grid[87])
    assert np.allclose(points[8], grid[129]) and np.allclose(points[80], grid[144])


@pytest.mark.parametrize("size", [96, 128, 224])
def test_alignment_frames_every_photograph_alike(size: int) -> None:
    turn, shift = 0.2, np.float32([40, -15])
    rotation = np.float32([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    photographed = (marks(128) @ rotation.T * np.float32(2.3) + shift).astype(np.float32)
    there = align(np.zeros((400, 400, 3), np.uint8), photographed, size)
    assert there.image.shape == (size, size, 3)
    assert np.allclose(there.landmarks, align(there.image, marks(128), size).landmarks, atol=0.05)
    left, right = (there.landmarks[eye].mean(axis=0) for eye in (EYE_LEFT, EYE_RIGHT))
    assert abs(left[1] - right[1]) < 0.02 * size
    height = there.landmarks[JAW][8, 1] - there.landmarks[HAIRLINE][6, 1]
    assert 0.6 < height / size < 0.8


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.1])
def test_alignment_moves_pixels_and_landmarks_together(scale: float) -> None:
    points = marks(128) * np.float32(scale)
    apart = [8, 36, 45, 74]
    portrait = align(dotted(points[apart], round(128 * scale)), points, 128)
    for x, y in portrait.landmarks[apart]:
        column, row = round(float(x)), round(float(y))
        window = portrait.image[row - 4 : row + 5, column - 4 : column + 5, 0].astype(float)
        rows, columns = np.indices(window.shape)
        centre = (window * columns).sum() / window.sum(), (window * rows).sum() / window.sum()
        assert np.hypot(centre[0] - 4 - x + column, centre[1] - 4 - y + row) < 0.6


def test_landmarks_in_one_place_are_refused() -> None:
    with pytest.raises(DataError, match="coincide"):
        frame(np.ones((81, 2), np.float32))


def test_move_is_undone_by_its_inverse() -> None:
    matrix = frame(marks(200), 128)
    square = np.vstack([matrix, [0, 0, 1]])
    back = np.linalg.inv(square)[:2]
    assert np.allclose(move(move(marks(200), matrix), back), marks(200), atol=1e-3)


def test_regions_are_exclusive_and_where_they_belong() -> None:
    masks = region_masks(marks(128), 128)
    assert set(masks) == set(Region) - {Region.SKIN}
    assert np.sum(list(masks.values()), axis=0).max() == 1
    assert all(mask.sum() >= 12 for mask in masks.values())
    points = marks(128)
    inside = {
        Region.MOUTH: points[LIP_OUTER].mean(axis=0),
        Region.EYES: points[EYE_LEFT].mean(axis=0),
        Region.NOSE: points[30],
        Region.EYEBROWS: points[19],
        Region.CHIN: points[8] - [0, 6],
        Region.HAIRLINE: points[74],
        Region.FOREHEAD: (points[74] + points[27]) / 2,
        Region.BACKGROUND: np.float32([3, 3]),
    }
    for region, (x, y) in inside.items():
        assert masks[region][round(float(y)), round(float(x))], region


def test_warp_takes_the_points_along_and_leaves_the_border() -> None:
    source = marks(128)
    target = source.copy()
    target[48:68, 1] += 6
    picture = dotted(source[[48, 54]], 128)
    moved = warp(picture, source, target)
    for x, y in target[[48, 54]]:
        assert moved[round(float(y)), round(float(x)), 0] > 150
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    assert np.array_equal(warp(noise, source, target)[0, ::127], noise[0, ::127])
    assert np.array_equal(warp(noise, source, source), noise)
