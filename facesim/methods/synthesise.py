"""EFS, entire face synthesis: a person who does not exist, drawn from a face model."""

import numpy as np

from dfa_lib.face.geometry import Image, Portrait, warp
from facesim.facemodel import FaceModel
from facesim.pixels import Alpha, blend, feather, head, resampled


def appearance_model(
    rng: np.random.Generator, strength: float, model: FaceModel
) -> tuple[Portrait, Alpha]:
    """Sample shape and texture of an active appearance model (Cootes et al. 1998)."""
    near = int(rng.integers(len(model.portraits)))
    shape = model.draw_shape(rng, near)
    face = warp(model.draw_texture(rng, near), model.mean_shape, shape)
    return _finish(rng, strength, model.portraits[near], Portrait(face, shape))


def morph(rng: np.random.Generator, strength: float, model: FaceModel) -> tuple[Portrait, Alpha]:
    """Average a few faces in one sampled shape: what they do not share shows as a ghost."""
    count = min(int(rng.integers(3, 5)), len(model.portraits))
    chosen = rng.choice(len(model.portraits), count, replace=False)
    shape = model.draw_shape(rng, int(chosen[0]))
    weights = rng.dirichlet([3.0] * count).astype(np.float32)
    faces = [model.portraits[k] for k in chosen]
    layers = [
        warp(face.image, face.landmarks, shape) * w for face, w in zip(faces, weights, strict=True)
    ]
    mean = np.clip(sum(layers) + 0.5, 0, 255).astype(np.uint8)
    return _finish(rng, strength, faces[0], Portrait(mean, shape))


def _finish(
    rng: np.random.Generator, strength: float, base: Portrait, face: Portrait
) -> tuple[Portrait, Alpha]:
    """Enlarge as a generator does, faint grid included, and set the head on a background."""
    size = len(face.image)
    detail = float(np.clip(rng.uniform(0.68, 0.88) / strength**0.5, 0.3, 0.95))
    picture = _grid(rng, resampled(face.image, detail), 0.008 * strength)
    alpha = feather(head(face.landmarks, size, rng.uniform(1.2, 1.3)), size / 64)
    behind = warp(base.image, base.landmarks, face.landmarks)
    return Portrait(blend(behind, picture, alpha), face.landmarks), alpha


def _grid(rng: np.random.Generator, image: Image, depth: float) -> Image:
    """Modulate by the checkerboard of a transposed convolution, ``depth`` of the grey value."""
    y, x = np.indices(image.shape[:2])
    y, x = y + int(rng.integers(4)), x + int(rng.integers(4))
    cell = np.where((x // 2 + y // 2) % 2, 1.0, -1.0)
    return np.clip(image * (1 + depth * cell[..., None]), 0, 255).astype(np.uint8)
