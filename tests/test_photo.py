"""Odd but good pictures are read right; bad ones get one line with the file and the mend."""

import io
import os
import struct
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from dfa_lib.photo import open_photo
from dfa_lib.records import DataError

RED, GREEN, BLUE, GREY = (200, 30, 40), (30, 180, 60), (40, 50, 210), (128, 128, 128)


def quadrants() -> Image.Image:
    """96x80: four plain quadrants, so that rotation, colour and depth can be read off."""
    image = Image.new("RGB", (96, 80))
    for box, colour in zip([(0, 0), (48, 0), (0, 40), (48, 40)], [RED, GREEN, BLUE, GREY],
                           strict=True):  # fmt: skip
        image.paste(colour, (*box, box[0] + 48, box[1] + 40))
    return image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def corners(array: np.ndarray) -> np.ndarray:
    """Return the colours at the centres of the four quadrants, (4, 3)."""
    high, wide = array.shape[:2]
    rows, columns = [high // 4, high // 4, -high // 4, -high // 4], [wide // 4, -wide // 4] * 2
    return array[rows, columns].astype(int)


def sixteen_bit_colour(suffix: str, alpha: bool = False) -> bytes:
    deep = np.asarray(quadrants())[..., ::-1].astype(np.uint16) * 257
    if alpha:
        deep = np.dstack([deep, np.full((80, 96), 65535, np.uint16)])
    return cv2.imencode(suffix, deep)[1].tobytes()


def clear(alpha: int) -> Image.Image:
    """Return the picture with ``alpha`` in its last quadrant: 0 cannot be seen."""
    image, levels = quadrants().convert("RGBA"), Image.new("L", (96, 80), 255)
    levels.paste(alpha, (48, 40, 96, 80))
    image.putalpha(levels)
    return image


def animated(kind: str, **options: object) -> bytes:
    second = [Image.new("RGB", (96, 80), "black")]
    return encoded(quadrants(), kind, save_all=True, append_images=second, duration=80, **options)


def premultiplied(alpha: int) -> bytes:
    """Return a TIFF whose colours are multiplied by its transparency, as tag 338 says."""
    image = clear(alpha)
    colours = Image.frombytes("RGBA", image.size, image.convert("RGBa").tobytes())
    extra = struct.pack("<HHIH", 338, 3, 1, 2)
    content = encoded(colours, "TIFF", compression="raw")
    assert extra in content
    return content.replace(extra, struct.pack("<HHIH", 338, 3, 1, 1))


def turned(orientation: int, kind: str) -> bytes:
    """Return a picture as a camera held otherwise wrote it, with the EXIF orientation."""
    back = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
            6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    image, exif = quadrants(), Image.Exif()
    if orientation in back:
        image = image.transpose(Image.Transpose[back[orientation]])
    exif[0x0112] = orientation
    quality = {"lossless": True} if kind == "WEBP" else {"quality": 95}
    return encoded(image, kind, exif=exif, **({} if kind in {"PNG", "TIFF"} else quality))


def without_adobe_marker() -> bytes:
    content = encoded(quadrants().convert("CMYK"), "JPEG", quality=95)
    at = content.index(b"\xff\xee")
    return content[:at] + content[at + 2 + struct.unpack(">H", content[at + 2 : at + 4])[0] :]


def deep_tiff(order: str, planes: int = 1) -> bytes:
    """Return an uncompressed 16-bit RGB TIFF of either byte order ("<" or ">")."""
    deep = (np.asarray(quadrants()).astype(np.uint16) * 257).astype(f"{order}u2").tobytes()
    tags = [(256, 3, 96), (257, 3, 80), (258, 3, 0), (259, 3, 1), (262, 3, 2), (273, 4, 0),
            (277, 3, 3), (278, 3, 80), (279, 4, len(deep)), (284, 3, planes)]  # fmt: skip
    at = 8 + 2 + 12 * len(tags) + 4
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    for tag, kind, value in tags:
        count = 3 if tag == 258 else 1
        value = {258: at, 273: at + 6}.get(tag, value)
        wide = count > 1 or kind == 4
        head += struct.pack(order + "HHI", tag, kind, count)
        head += struct.pack(order + ("I" if wide else "HH"), *([value] if wide else [value, 0]))
    return head + bytes(4) + struct.pack(order + "3H", 16, 16, 16) + deep


def grey_tiff(levels: np.ndarray, white_is_zero: bool = False) -> bytes:
    """Return an uncompressed grey TIFF of any kind of number."""
    kind = {"u": 1, "i": 2, "f": 3}[levels.dtype.kind]
    high, wide = levels.shape
    tags = [(256, wide), (257, high), (258, levels.itemsize * 8), (259, 1),
            (262, int(not white_is_zero)), (273, 8 + 2 + 12 * 10 + 4), (277, 1), (278, high),
            (279, levels.nbytes), (339, kind)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + levels.tobytes()


def steps(dtype: type, scale: float = 1) -> np.ndarray:
    """Return columns of 0, 64, 128 and 255, times ``scale``, (80, 96)."""
    levels = np.repeat([[0, 64, 128, 255]], 24, axis=0).repeat(20, axis=0)[:80].repeat(24, axis=1)
    return (levels * scale).astype(dtype)


def broken_exif(kind: str) -> bytes:
    return encoded(quadrants(), kind, exif=b"Exif\0\0garbage!!", **LOSSLESS.get(kind, {}))


LOSSLESS = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}, "AVIF": {"quality": 95}}
GREY_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = GREY_PROFILE[:16] + b"GRAY" + GREY_PROFILE[20:]
PLAIN = ("PNG", "BMP", "PPM", "WEBP", "JPEG2000", "TGA", "AVIF")
GOOD: dict[str, Callable[[], bytes]] = {
    "CMYK JPEG": lambda: encoded(quadrants().convert("CMYK"), "JPEG", quality=95),
    "CMYK TIFF": lambda: encoded(quadrants().convert("CMYK"), "TIFF"),
    **{
        f"16-bit {suffix}": partial(sixteen_bit_colour, suffix)
        for suffix in (".png", ".tiff", ".ppm", ".jp2")
    },
    "16-bit PNG with alpha": partial(sixteen_bit_colour, ".png", alpha=True),
    **{f"EXIF {n}": partial(turned, n, "JPEG") for n in (1, 2, 3, 4, 5, 6, 7, 8, 99)},
    **{f"EXIF 6 in {kind}": partial(turned, 6, kind) for kind in ("PNG", "WEBP", "TIFF", "AVIF")},
    "PNG with a preview before its frames": lambda: animated("PNG", default_image=True),
    "TIFF of several pages": lambda: animated("TIFF"),
    "phone's MPO, a second picture behind it": lambda: animated("MPO", quality=95),
    "animated GIF": lambda: animated("GIF"),
    "animated WebP": lambda: animated("WEBP", lossless=True),
    "animated PNG": lambda: animated("PNG"),
    "YCbCr TIFF": lambda: encoded(quadrants().convert("YCbCr"), "TIFF"),
    "JPEG in TIFF": lambda: encoded(quadrants(), "TIFF", compression="jpeg", quality=95),
    "LZW TIFF": lambda: encoded(quadrants(), "TIFF", compression="tiff_lzw"),
    "progressive JPEG": lambda: encoded(quadrants(), "JPEG", quality=95, progressive=True),
    **{kind: lambda kind=kind: encoded(quadrants(), kind, quality=95) for kind in PLAIN},
    "palette": lambda: encoded(quadrants().quantize(16), "PNG"),
    "video behind it": lambda: encoded(quadrants(), "JPEG", quality=95) + b"\0\0\0\x18ftyp" * 99,
    "CMYK JPEG, no Adobe marker": without_adobe_marker,
    "16-bit TIFF, little endian": lambda: deep_tiff("<"),
    "16-bit TIFF, big endian": lambda: deep_tiff(">"),
    "Lab TIFF": lambda: encoded(
        ImageCms.profileToProfile(
            quadrants(), *map(ImageCms.createProfile, ("sRGB", "LAB")), outputMode="LAB"
        ),
        "TIFF",
    ),
    "packed Targa": lambda: encoded(quadrants(), "TGA", compression="tga_rle"),
    "old Targa, no mark at its end": lambda: encoded(quadrants(), "TGA")[:-26],
    **{f"broken EXIF in {kind}": partial(broken_exif, kind) for kind in ("PNG", "WEBP", "JPEG")},
    "a grey picture's colour profile": lambda: encoded(
        quadrants(), "PNG", icc_profile=GREY_PROFILE
    ),
    "bitmap without a file head": lambda: encoded(quadrants(), "DIB"),
    "flat grey at the end": lambda: encoded(quadrants(), "JPEG", quality=95, optimize=True),
    "broken colour profile": lambda: encoded(quadrants(), "PNG", icc_profile=b"not a profile"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_odd_but_good_pictures_are_read_right(kind: str) -> None:
    array = open_photo(GOOD[kind](), kind)
    assert array.shape == (80, 96, 3) and array.dtype == np.uint8
    assert np.abs(corners(array) - [RED, GREEN, BLUE, GREY]).max() <= 10


@pytest.mark.parametrize(("alpha", "level"), [(0, 255), (128, 192)])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TGA", "TIFF", "premultiplied TIFF"])
def test_transparency_is_shown_on_white(kind: str, alpha: int, level: int) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    content = premultiplied(alpha) if " " in kind else encoded(clear(alpha), kind, **options)
    expected = [RED, GREEN, BLUE, [level] * 3]
    assert np.abs(corners(open_photo(content)) - expected).max() <= 2


def test_a_palette_with_a_table_of_transparency() -> None:
    image = quadrants().quantize(4)
    table = bytearray(b"\xff" * 4)
    table[image.getpixel((70, 60))] = 0
    array = open_photo(encoded(image, "PNG", transparency=bytes(table)))
    assert np.abs(corners(array) - [RED, GREEN, BLUE, (255, 255, 255)]).max() <= 10


@pytest.mark.parametrize("mode", ["P", "PA", "LA", "L", "I;16"])
def test_what_is_clear_in_palette_or_grey_is_white(mode: str) -> None:
    grey = Image.new("L", (96, 80), 64)
    grey.paste(200, (0, 0, 48, 80))
    if mode in {"L", "I;16"}:  # one level stands for "clear"
        levels = np.asarray(grey).astype(np.uint16) * 257
        image = grey if mode == "L" else Image.fromarray(levels)
        content = encoded(image, "PNG", transparency=64 if mode == "L" else 64 * 257)
    else:
        clear = Image.new("L", (96, 80), 255)
        clear.paste(0, (48, 0, 96, 80))
        image = grey.convert("LA" if mode == "LA" else "RGBA")
        image.putalpha(clear)
        image = image if mode == "LA" else image.quantize(4)
        content = encoded(image, "PNG")
    array = open_photo(content)
    assert np.array_equal(array[40, 24], [200] * 3) and np.array_equal(array[40, 72], [255] * 3)


@pytest.mark.parametrize("mode", ["L", "I;16", "I;16B", "I", "F", "F of 0 to 1", "LA", "1"])
def test_grey_keeps_its_levels(mode: str) -> None:
    levels = np.repeat([[0, 64, 128, 255]], 24, axis=0).repeat(20, axis=0).repeat(24, axis=1)
    if mode == "I;16":
        image = Image.fromarray((levels * 257).astype(np.uint16))
    elif mode == "I;16B":
        big = (levels * 257).astype(">u2").tobytes()
        image = Image.frombytes("I;16B", levels.shape[::-1], big)
    elif mode == "I":
        image = Image.fromarray(levels.astype(np.int32))
    elif mode.startswith("F"):
        image = Image.fromarray((levels / (255 if "to" in mode else 1)).astype(np.float32))
    else:
        image = Image.fromarray(levels.astype(np.uint8)).convert(mode, dither=Image.Dither.NONE)
    array = open_photo(encoded(image, "TIFF"), mode)
    expected = np.where(levels < 128, 0, 255) if mode == "1" else levels
    assert np.array_equal(array, np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("levels", "white_is_zero"),
    [
        (steps(np.uint32, 2**24 + 2**16 + 257), False),
        (steps(np.int16, 128), False),
        (65535 - steps(np.uint16, 257), True),
        (255 - steps(np.uint8), True),
        (steps(np.float32, 257), False),
    ],
)
def test_grey_of_any_kind_of_number(levels: np.ndarray, white_is_zero: bool) -> None:
    array = open_photo(grey_tiff(levels, white_is_zero))[40, 12::24, 0]
    assert np.abs(array.astype(int) - [0, 64, 128, 255]).max() <= 1


def test_a_dark_float_picture_stays_dark() -> None:
    dark = Image.fromarray(np.full((80, 96), 0.25, np.float32))
    assert (open_photo(encoded(dark, "TIFF")) == 64).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colour_profile_is_applied(mode: str) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"?").replace(b"bXYZ", b"rXYZ").replace(b"?", b"bXYZ")
    array = open_photo(encoded(quadrants().convert(mode), "PNG", icc_profile=swapped))
    assert np.abs(corners(array)[0] - RED[::-1]).max() <= 8  # its red primary is blue


def test_path_and_bytes_give_the_same(tmp_path: Path) -> None:
    (tmp_path / "ü name.jpg").write_bytes(GOOD["WEBP"]())  # the content decides, not the ending
    assert np.array_equal(open_photo(tmp_path / "ü name.jpg"), open_photo(GOOD["WEBP"]()))


def bomb() -> bytes:
    """Return a PNG that says 50,000 x 50,000 and is 60 bytes long."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def noisy() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8))


def large_noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8))


def cut(kind: str, share: float) -> bytes:
    content = encoded(noisy(), kind)
    return content[: int(len(content) * share)]


def hot_pixel() -> np.ndarray:
    levels = steps(np.float32, 1 / 255)
    levels[0, 0] = 1e4
    return levels


def with_hole(progressive: bool = False) -> bytes:
    content = encoded(noisy(), "JPEG", quality=95, progressive=progressive)
    at = len(content) // 2
    return content[:at] + bytes(600) + content[at + 600 :]


def stopped(progressive: bool, rest: bool = False) -> bytes:
    content = encoded(noisy(), "JPEG", quality=95, progressive=progressive)
    at = len(content) // 2
    return content[:at] + b"\xff\xd9" + (bytes(600) + content[at + 602 :] if rest else b"")


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.jpg": (lambda: b"", "is empty"),
    "truncated.jpg": (lambda: encoded(noisy(), "JPEG")[:2000], "damaged or cut off"),
    "truncated.png": (lambda: encoded(noisy(), "PNG")[:2000], "damaged or cut off"),
    "truncated.webp": (lambda: encoded(noisy(), "WEBP")[:2000], "JPEG, PNG or WebP|cut off"),
    "letter.jpg": (lambda: b"Dear all,\n" * 50, "JPEG, PNG or WebP"),
    "page.eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "JPEG, PNG"),
    "padded.jpg": (lambda: encoded(noisy(), "JPEG")[:2000].ljust(4000, b"\0"), "damaged or cut"),
    "truncated.jp2": (lambda: encoded(noisy(), "JPEG2000")[:2000], "damaged or cut off"),
    "pointer.jpg": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "a git-lfs pointer, .*; fetch it with `git lfs pull`",
    ),
    "iphone.jpg": (lambda: b"\0\0\0\x18ftypheic" + bytes(64), "HEIC.*|damaged"),
    "clip.png": (lambda: b"\0\0\0\x18ftypisom" + bytes(64), "MP4 or QuickTime video; save"),
    "layers.png": (lambda: b"8BPS" + bytes(64), r"Photoshop \(PSD\); save it as JPEG"),
    "error.jpg": (lambda: b"\n<!DOCTYPE html><html>404</html>", "HTML page; save it as JPEG"),
    "float.tif": (
        lambda: cv2.imencode(".tiff", np.ones((80, 96, 3), np.float32))[1].tobytes(),
        "TIFF of a rare kind; save it as JPEG",
    ),
    "annex.jpg": (
        lambda: b"/annex/objects/SHA256E-s9--0.jpg\n",
        "a git-annex pointer, .*; fetch it with `git annex get`",
    ),
    "drawing.png": (lambda: b"<svg xmlns=''></svg>", "SVG; save it"),
    "paper.jpg": (lambda: b"%PDF-1.7", "PDF; save it"),
    "error.png": (lambda: b'{"error": "not found"}', "JSON; save it"),
    "inline.png": (lambda: b"data:image/png;base64,iVBORw0KGgo", "data URL; save it"),
    "blank.jpg": (lambda: bytes(5000), "nothing but zeros; copy or download"),
    "float.pfm": (lambda: b"PF\n96 80\n-1.0\n" + bytes(9), r"colour float map \(PFM\); save"),
    "game.tga": (lambda: encoded(noisy(), "DDS"), r"DirectDraw surface \(DDS\); save it"),
    "scan.pcx": (lambda: encoded(noisy(), "PCX"), r"PC Paintbrush \(PCX\); save it"),
    "clip.webp": (lambda: b"RIFF\0\0\0\0AVI LIST", "AVI video; save it"),
    "song.webp": (lambda: b"RIFF\0\0\0\0WAVEfmt ", "RIFF; save it"),
    "headless.gif": (lambda: encoded(noisy(), "GIF")[:8], r"cut off.*\(GIF\)"),
    **{
        f"cut at {share:.0%}.{kind.lower()}": (partial(cut, kind, share), "damaged or cut off")
        for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF", "PPM", "TGA")
        for share in (0.5, 0.97)
    },
    "hole.jpg": (with_hole, "damaged or cut off"),
    "stopped.jpg": (lambda: stopped(False), "damaged or cut off"),
    "stopped in mid.jpg": (lambda: stopped(False, rest=True), "damaged or cut off"),
    "stopped progressive.jpg": (lambda: stopped(True), "damaged or cut off"),
    **{
        f"sent as text.{kind.lower()}": (
            lambda kind=kind: encoded(large_noise(), kind).replace(b"\n", b"\r\n"),
            "changed as if they were text; copy it again",
        )
        for kind in ("JPEG", "AVIF", "WEBP", "TIFF")
    },
    "planes.tif": (lambda: deep_tiff("<", planes=2), "16 bits in separate planes; save it as PNG"),
    "signed.tif": (lambda: grey_tiff(steps(np.int8, 0.5)), "a TIFF of signed bytes; save it"),
    **{
        f"{name}.tif": (lambda levels=levels: grey_tiff(levels), "which is white; scale them to")
        for name, levels in {
            "negative": steps(np.float32, 1 / 128) - 1,
            "hdr": steps(np.float32, 3.7 / 255),
            "infinite": np.where(steps(np.float32) > 200, np.inf, 0.5).astype(np.float32),
            "hot": hot_pixel(),
            "twelve bits": steps(np.int32, 16),
        }.items()
    },
    "line.png": (lambda: encoded(Image.new("RGB", (5000, 1)), "PNG"), "only 5000x1 pixels"),
    "dot.png": (lambda: encoded(Image.new("RGB", (1, 1)), "PNG"), "only 1x1 pixels"),
    "bomb.png": (bomb, "million pixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_get_one_line_with_the_mend(name: str, tmp_path: Path) -> None:
    content, sentence = BAD[name]
    path = tmp_path / name
    path.write_bytes(content())
    with pytest.raises(DataError, match=sentence) as caught:
        open_photo(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and ";" in message


def test_a_process_that_reads_torn_pictures_elsewhere_gets_none_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as some libraries do
    with pytest.raises(DataError, match="damaged or cut off"):
        open_photo(cut("JPEG", 0.5))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_a_path_that_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.jpg: no such file"):
        open_photo(tmp_path / "missing.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, told in (("folder", "not a file"), ("pipe", "not a file"), ("link", "a link to a")):
        with pytest.raises(DataError, match=rf"{name}\.jpg: {told}"):
            open_photo(tmp_path / f"{name}.jpg")


def test_a_picture_between_both_limits_is_refused_by_its_header() -> None:
    wide = encoded(Image.new("1", (11_000, 11_000)), "PNG")  # Pillow itself only warns here
    with pytest.raises(DataError, match="million pixels"):
        open_photo(wide, "poster.png")


def test_a_format_without_its_decoder_is_named_with_the_mend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("pillow_heif.HeifImagePlugin", "pillow_jxl.JpegXLImagePlugin"):
        monkeypatch.setitem(sys.modules, module, None)
    for content, told in (
        (b"\0\0\0\x18ftypheic", "HEIC, .*no decoder.*; save it as .*`pip install pillow-heif`"),
        (b"\xff\x0a", "JPEG XL, .*no decoder.*; save it as .*`pip install pillow-jxl-plugin`"),
    ):
        with pytest.raises(DataError, match=f"^a.jpg: {told}"):
            open_photo(content + bytes(64), "a.jpg")


@pytest.mark.parametrize(
    ("module", "kind"),
    [("pillow_heif.HeifImagePlugin", "HEIF"), ("pillow_jxl.JpegXLImagePlugin", "JXL")],
)
def test_a_format_with_its_decoder_is_read(module: str, kind: str) -> None:
    pytest.importorskip(module)
    array = open_photo(encoded(quadrants(), kind, quality=95), "a.jpg")
    assert np.abs(corners(array) - [RED, GREEN, BLUE, GREY]).max() <= 10


@pytest.mark.parametrize(("wide", "high"), [(11_648, 8_736), (16_320, 12_240)])
def test_a_photograph_of_100_megapixels_and_more_is_read_at_half_its_size(
    wide: int, high: int
) -> None:
    content = encoded(Image.new("L", (wide, high), 99), "JPEG")  # 102 and 200 million pixels
    array = open_photo(content)
    assert array.shape == (high // 2, wide // 2, 3) and (array[::999, ::999] == 99).all()


def test_a_jpeg_bomb_is_refused_by_its_header() -> None:
    content = bytearray(encoded(noisy(), "JPEG"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", 65_000, 65_000)
    with pytest.raises(DataError, match=r"bomb\.jpg: more than 256 million pixels"):
        open_photo(bytes(content), "bomb.jpg")
