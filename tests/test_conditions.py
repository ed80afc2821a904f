"""Everyday conditions: what they do to a picture, and that only training pictures meet them."""

import numpy as np
import pytest
import torch
from colours import Colours, record

from dfa_lib.conditions import CONDITIONS, Everyday, under
from dfa_lib.taxonomy import Split


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(40, 200, (128, 128, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_changes_the_picture_alike_for_a_seed(picture, name):
    taken = [under(name, picture, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert all(one.shape == picture.shape and one.dtype == np.uint8 for one in taken)
    assert (taken[0] == taken[1]).all() and (taken[0] != picture).any()
    assert name == "grey" or (taken[0] != taken[2]).any()


def test_conditions_do_what_their_names_say(picture):
    taken = {name: under(name, picture, np.random.default_rng(0)) for name in CONDITIONS}
    assert (taken["grey"] == taken["grey"][..., :1]).all()
    assert taken["dark"].mean() < 0.75 * picture.mean() < picture.mean() < taken["bright"].mean()
    assert taken["blur"].std() < picture.std() < taken["noise"].std()
    shift = taken["white balance"].mean((0, 1)) / picture.mean((0, 1))
    assert np.ptp(shift) > 0.02


def test_training_pictures_vary_and_can_be_had_again():
    face, images = record(2).face, Everyday(Colours())
    torch.manual_seed(3)
    first = [images.image(face) for _ in range(12)]
    assert len({one.tobytes() for one in first}) > 4
    torch.manual_seed(3)
    assert all((images.image(face) == one).all() for one in first)


def test_pictures_of_other_splits_stay_as_they_are():
    face = record(2).face.model_copy(update={"split": Split.TEST})
    assert (Everyday(Colours()).image(face) == Colours().image(face)).all()
