"""Read any photograph a person may bring as plain RGB, or say in one line why not.

Phones rotate by EXIF, scanners write 16 bits, printers CMYK, screenshots alpha:
all of them become the same array. Formats are a closed list, because some of
Pillow's readers start other programs (EPS) and pictures come from strangers.
"""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from dfa_lib.records import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
MIN_SIDE = 64  # pixels; below this no face is left to look at
MAX_PIXELS = 100_000_000  # about 300 MB once decoded
MAX_BYTES = 200_000_000


def open_photo(source: Path | str | bytes, name: str | None = None) -> np.ndarray:
    """Return the picture (its first frame) upright as RGB, (H, W, 3) uint8.

    ``source`` is a path or the content of a file; ``name`` is what to call it in a
    message. Raises DataError with one line that names the file and the mend.
    """
    name = name or ("picture" if isinstance(source, bytes) else str(source))
    content = source if isinstance(source, bytes) else _read(Path(source), name)
    if not content:
        raise DataError(f"{name}: the file is empty; copy or download it again")
    return np.array(_decode(content, name))


def _read(path: Path, name: str) -> bytes:
    if not path.exists():
        raise DataError(f"{name}: no such file; check the path")
    if not path.is_file():
        raise DataError(f"{name}: not a file; give the path of one picture")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{name}: larger than {MAX_BYTES / 1e6:.0f} MB; save a smaller copy")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{name}: {error.strerror}; check that you may read it") from None


def _decode(content: bytes, name: str) -> Image.Image:
    """Check the size by the header, before any pixel is decoded, then decode."""
    try:
        with warnings.catch_warnings():  # Pillow's own, softer limit
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            _check_size(image.size, name)
            return _to_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError:
        raise DataError(f"{name}: {_TOO_LARGE}") from None
    except Image.UnidentifiedImageError:
        raise DataError(
            f"{name}: not a picture of a known format; save it as JPEG, PNG or WebP"
        ) from None
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error):
        raise DataError(
            f"{name}: the picture is damaged or cut off; copy or download it again"
        ) from None


_TOO_LARGE = f"more than {MAX_PIXELS // 10**6} million pixels; save a smaller copy"


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise DataError(f"{name}: {_TOO_LARGE}")
    if min(size) < MIN_SIDE:
        raise DataError(
            f"{name}: only {width}x{height} pixels; use a picture of at least {MIN_SIDE}x{MIN_SIDE}"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _from_deep_grey(image)
    if image.info.get("icc_profile") and image.mode in {"RGB", "CMYK", "L"}:
        image = _to_srgb(image)
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Scale 16 bits (or floats of any range) to 8; ``convert`` would clip them to white."""
    levels = np.asarray(image, dtype=np.float64)
    top = 65535.0 if image.mode != "F" else max(float(levels.max()), 1e-12)
    grey = np.clip(levels / top * 255, 0, 255).round().astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _to_srgb(image: Image.Image) -> Image.Image:
    """Apply the colour profile; a broken profile is no reason to refuse a picture."""
    profile = io.BytesIO(image.info["icc_profile"])
    try:
        return ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(profile), ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )  # fmt: skip
    except (ImageCms.PyCMSError, OSError):
        return image
