"""Tell by the bytes of a JPEG that pixels are missing: decoders fill them in without a word.

What stays unseen are changed bytes that still decode, and a stop within the last rows.
"""

import re
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

_SCAN_END = re.compile(rb"\xff+[^\0\xd0-\xd7\xff]")
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_TABLES, _SCAN, _END = 0xC4, 0xDA, 0xD9
_HOLE = bytes(32)  # zeros that a disk or a download left
_TAIL = 512  # bytes of a scan


def has_hole(content: bytes) -> bool:
    """Tell whether part of the data is zeros, or some bits of the pixels never came."""
    kind, flat, left = 0, [], {}
    for marker, body, scan in _segments(content):
        if marker in (*_SEQUENTIAL, _PROGRESSIVE):
            kind = marker
        elif marker == _TABLES:
            flat += _flat_by_zeros(body)
        elif marker == _SCAN and kind in _SEQUENTIAL:
            whole = body[0] > 1 or len(flat) == 1  # luminance is among what it holds
            if whole and not all(flat) and _HOLE in scan.rstrip(b"\0"):
                return True
        elif marker == _SCAN and body:
            bands, bits = range(body[-3], body[-2] + 1), body[-1] & 15
            left |= {(part, band): bits for part in body[1:-3:2] for band in bands}
    return kind == _PROGRESSIVE and any(left.values())


def stops_early(content: bytes, image: Image.Image) -> bool:
    """Tell whether the last rows of the decoded ``image`` are grey because the data ended.

    Where they are grey in truth, the data end with one code again and again.
    """
    width, height = image.size
    last = np.asarray(image.crop((0, height - 8, width, height)))
    if image.mode == "CMYK" or (last != 128).any():
        return False
    scan = next((scan for marker, _, scan in _segments(content) if marker == _SCAN), b"")
    return len(zlib.compress(scan[-_TAIL:])) > _TAIL // 2


def _segments(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the marker and the body of each segment, and the data that follow a scan's."""
    at = 2
    while content[at : at + 1] == b"\xff" and content[at + 1] != _END:
        if content[at + 1] == 0xFF:
            at += 1
            continue
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4])
        marker, body, at = content[at + 1], content[at + 4 : end], end
        if marker == _SCAN:
            found = _SCAN_END.search(content, at)
            end = found.start() if found else len(content)
        yield marker, body, content[at:end]
        at = end


def _flat_by_zeros(tables: bytes) -> Iterator[bool]:
    """Tell of each Huffman table for details whether zeros are its code of "no detail"."""
    at = 0
    while at + 17 < len(tables):
        if tables[at] >> 4:
            yield tables[at + 17] == 0
        at += 17 + sum(tables[at + 1 : at + 17])
