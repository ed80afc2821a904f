"""Read any photograph as plain sRGB, or say in one line why not and what to do.

Every picture of the package comes through ``open_photo``. The content decides, never the
suffix. Transparency is shown on white, colour profiles become sRGB, 16-bit and float grey
keep their levels, and CMYK JPEG is read by Adobe's convention with and without its marker.
Formats are a closed list, because some of Pillow's readers start other programs (EPS).
"""

import importlib
import io
import struct
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from dfa_lib import jpeg
from dfa_lib.records import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "PPM", "JPEG2000")
SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .bmp .dib .tif .tiff .avif .avifs .pbm .pgm"
    " .ppm .pnm .pfm .jp2 .j2k .jpf .jpx .j2c .heic .heif .hif .jxl .tga".split()
)
VIDEO_SUFFIXES = frozenset(".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg".split())
"""By suffix a folder's pictures and videos are told from its other files, and by no more."""
MIN_SIDE = 64  # pixels; below this no face is left to look at
MAX_PIXELS = 100_000_000  # about 300 MB once decoded
MAX_JPEG = 256_000_000  # pixels; a JPEG of more than MAX_PIXELS is decoded at half its size
MAX_BYTES = 200_000_000
_LINES = 20  # of them all preceded by CR: no chance, but a transfer "as text"
_PLUGINS = {
    "HEIC": ("HEIF", "pillow_heif.HeifImagePlugin", "pip install pillow-heif"),
    "JPEG XL": ("JXL", "pillow_jxl.JpegXLImagePlugin", "pip install pillow-jxl-plugin"),
}  # Pillow's name of the format, the module that registers its decoder, where to get it
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"crx ": "Canon raw"} | dict.fromkeys(
    [b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"], "HEIC"
)
_MAGIC = {
    b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL", b"8BPS": "Photoshop (PSD)",
    b"%PDF": "PDF", b"%!PS": "PostScript", b"\xc5\xd0\xd3\xc6": "PostScript", b"<svg": "SVG",
    b"<!doctype html": "HTML page", b"<html": "HTML page", b"<?xml": "XML or SVG", b"PK": "ZIP",
    b"\x1f\x8b": "gzip", b"7z\xbc\xaf": "7-Zip", b"Rar!": "RAR", b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR", b"FUJIFILMCCD-RAW": "Fujifilm raw", b"gimp xcf": "GIMP (XCF)",
    b"\0\0\x01\0": "icon (ICO)", b"\x1aE\xdf\xa3": "Matroska or WebM video",
    b"\0\0\x01\xba": "MPEG video", b"\0\0\x01\xb3": "MPEG video",
    b"\x93NUMPY": "NumPy array", b"II*\0": "TIFF of a rare kind", b"MM\0*": "TIFF of a rare kind",
    b"DDS ": "DirectDraw surface (DDS)", b"icns": "Apple icon (ICNS)", b"qoif": "QOI",
    b"\x01\xda": "Silicon Graphics (SGI)", b"\x0a\x05\x01": "PC Paintbrush (PCX)",
    b"PF\n": "colour float map (PFM)", b"data:image": "data URL", b"{": "JSON", b"GIF8": "GIF",
    b"\xff\x4f\xff\x51": "JPEG 2000", b"\0\0\0\x0cjP  ": "JPEG 2000",
}  # fmt: skip


def open_photo(source: Path | str | bytes, name: str | None = None) -> np.ndarray:
    """Return the picture (its first frame) upright as sRGB, (H, W, 3) uint8.

    ``source`` is a path or the content of a file; ``name`` is what to call it in a
    message. Raises DataError with one line that names the file and the mend.
    """
    name = name or ("picture" if isinstance(source, bytes) else str(source))
    content = source if isinstance(source, bytes) else _read(Path(source), name)
    if not content:
        raise DataError(f"{name}: the file is empty; copy or download it again")
    return np.array(_decode(content, name))


def is_video(path: Path) -> bool:
    """Tell by the first bytes whether a file holds a video."""
    with suppress(OSError):
        if path.is_file():  # to open a pipe would wait for whoever fills it
            with path.open("rb") as file:
                return (_format_of(file.read(64)) or "").endswith("video")
    return False


def _read(path: Path, name: str) -> bytes:
    if path.is_symlink() and not path.exists():
        raise DataError(f"{name}: a link to a file that is not there; fetch that file")
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
    lenient = ImageFile.LOAD_TRUNCATED_IMAGES  # a switch of the whole process: grey, not refused
    try:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        with warnings.catch_warnings(action="ignore"):  # what matters is told below
            image = _identify(content)
            _check_size(image)
            _check_tiff(image)
            if image.width * image.height > MAX_PIXELS:
                image.draft("RGB", (image.width // 2, image.height // 2))
            image.load()
            if isinstance(image, JpegImageFile) and jpeg.stops_early(content, image):
                raise EOFError
            return _upright(_to_rgb(image), image)
    except Image.DecompressionBombError:
        raise DataError(f"{name}: {_too_large(MAX_PIXELS)}") from None
    except Image.UnidentifiedImageError:
        raise DataError(f"{name}: {_diagnosis(content)}") from None
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except _BROKEN:
        raise DataError(f"{name}: {_DAMAGED}") from None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient


_BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error)
_DAMAGED = "the picture is damaged or cut off; copy or download it again"


def _identify(content: bytes) -> Image.Image:
    """Open lazily. A JPEG is its first picture, whatever a phone appended (MPO, video)."""
    file, lines = io.BytesIO(content), content.count(b"\n")
    if lines > _LINES and not content.startswith(b"P") and content.count(b"\r\n") == lines:
        raise DataError("its bytes were changed as if they were text; copy it again, as binary")
    if content.startswith(b"\xff\xd8\xff"):
        scan = content.rstrip(b"\0")  # a download that broke off may be filled up with zeros
        if len(content) - len(scan) > 64 and not scan.endswith(b"\xff\xd9"):
            raise EOFError
        if jpeg.has_hole(content):
            raise EOFError
        return JpegImageFile(file)
    formats = FORMATS
    if plugin := _PLUGINS.get(_format_of(content)):
        with suppress(ImportError):
            importlib.import_module(plugin[1])
            formats = (plugin[0],)
    if _is_targa(content):
        formats = ("TGA",)
    return Image.open(file, formats=formats)


def _is_targa(content: bytes) -> bool:
    """Tell by the mark at the end, or in old files by a head of colours without a palette."""
    head = content[:18].ljust(18, b"\0")
    old = head[1] == 0 and head[2] in {2, 3, 10, 11} and not any(head[3:8])
    return content.endswith(b"TRUEVISION-XFILE.\0") or (old and head[16] in {8, 16, 24, 32})


def _format_of(content: bytes) -> str | None:
    """Name the format by the first bytes; None if they are of no known one."""
    if content[4:8] == b"ftyp":
        return _BRANDS.get(content[8:12], "MP4 or QuickTime video")
    if content.startswith(b"RIFF"):
        return {b"WEBP": "WebP", b"AVI ": "AVI video"}.get(content[8:12], "RIFF")
    start = content[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, name in _MAGIC.items():
        if content.startswith(magic) or (magic.startswith(b"<") and start.startswith(magic)):
            return name
    return None


_POINTERS = (
    (b"version https://git-lfs", "git-lfs", "git lfs pull"),
    (b"annex/objects/", "git-annex", "git annex get"),
)


def _diagnosis(content: bytes) -> str:
    """Say what the file is, if it is no picture that can be read, and what to do."""
    for start, tool, fetch in _POINTERS:
        if start in content[:200]:
            return f"a {tool} pointer, not the picture itself; fetch it with `{fetch}`"
    if not content.strip(b"\0"):
        return "nothing but zeros; copy or download it again"
    kind, mend = _format_of(content), "save it as JPEG, PNG or WebP"
    if kind in {"JPEG 2000", "AVIF", "WebP", "GIF"}:
        return f"{_DAMAGED}, or {mend} ({kind})"
    if kind in _PLUGINS:
        return f"{kind}, for which no decoder is installed; {mend}, or `{_PLUGINS[kind][2]}`"
    return f"{kind or 'not a picture of a known format'}; {mend}"


def _too_large(most: int) -> str:
    return f"more than {most // 10**6} million pixels; save a smaller copy"


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    most = MAX_JPEG if isinstance(image, JpegImageFile) else MAX_PIXELS
    if width * height > most:
        raise DataError(_too_large(most))
    if min(image.size) < MIN_SIDE:
        raise DataError(
            f"only {width}x{height} pixels; use a picture of at least {MIN_SIDE}x{MIN_SIDE}"
        )


def _check_tiff(image: Image.Image) -> None:
    """Refuse what Pillow decodes wrongly: signed bytes, and planes of more than 8 bits."""
    tags = getattr(image, "tag_v2", {})
    bits, planes, signs = max(tags.get(258, (1,))), tags.get(284, 1), tags.get(339, (1,))
    kind = "16 bits in separate planes" if bits > 8 and planes == 2 else ""
    if kind := kind or ("signed bytes" if bits == 8 and 2 in signs else ""):
        raise DataError(f"a TIFF of {kind}; save it as PNG, or with 8 bits")


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def _upright(picture: Image.Image, source: Image.Image) -> Image.Image:
    """Turn a picture as its ``source`` says; a broken EXIF is no reason to refuse it."""
    turn = None
    with suppress(*_BROKEN):
        turn = _TURNS.get(source.getexif().get(0x0112))
    return picture.transpose(turn) if turn is not None else picture


def _to_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile", b"")
    if profile[16:20] == b"GRAY" and not image.mode.startswith(("L", "I", "F", "1")):
        profile = b""  # of another picture
    if image.mode == "F" or image.mode.startswith("I"):
        image = _from_deep_grey(image)
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    if image.mode not in {"L", "CMYK"}:
        image = image.convert("RGB")
    return (_to_srgb(image, profile) if profile else image).convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Scale 16 bits, or floats and 32 bits of 0 to 1, 255, 65535 or all bits, to 8 bits.

    Raises DataError where the levels do not tell which of them is white.
    """
    tags, levels = getattr(image, "tag_v2", {}), np.asarray(image)
    signed = 2 in tags.get(339, (1,))
    if image.mode == "I" and not signed:
        levels = levels.astype(np.int32).view(np.uint32)
    levels = np.nan_to_num(levels.astype(np.float64), posinf=np.inf, neginf=-np.inf)
    tops = {"F": (1.0, 255.0, 65535.0), "I": (255.0, 65535.0, 2.0**31 - 1, 2.0**32 - 1)}
    if signed and tags.get(258) == (16,):
        tops["I"] = (2.0**15 - 1,)
    most = float(levels.max())
    top = next((top for top in tops.get(image.mode, (65535.0,)) if most <= top), np.inf)
    bright = float(np.quantile(levels[::8, ::8], 0.99))
    deep = {"F": 1, "I": 255}.get(image.mode, top)  # of more levels, most must be in use
    if levels.min() < 0 or top == np.inf or (top > deep and bright < top / 8):
        raise DataError(
            f"levels from {levels.min():g} to {most:g}, and nothing tells which is white;"
            " scale them to 0..255 and save them with 8 bits"
        )
    shares = 1 - levels / top if tags.get(262) == 0 else levels / top  # 0 may be white
    grey = Image.fromarray((shares * 255).round().astype(np.uint8))
    if "transparency" in image.info and isinstance(image.info["transparency"], int):
        clear = levels == image.info["transparency"]
        grey.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8)))
    return grey


def _to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """Apply the colour profile; a broken profile is no reason to refuse a picture."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = profile.profile.xcolor_space.strip()
        if space == "GRAY":
            image = image.convert("L")
        elif space == "RGB" and image.mode == "L":
            image = image.convert("RGB")
        return ImageCms.profileToProfile(
            image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        return image
