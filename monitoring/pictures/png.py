"""A screenshot with a palette: a third of the size, for text and lines have few colours.

Source: PNG, third edition, https://www.w3.org/TR/png-3/ (filters: section 9).
"""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_COLOURS: Final = 256
_PIXEL: Final = 3  # bytes


def indexed(png: bytes) -> bytes:
    """The same picture in its 256 most frequent colours; each other one becomes the nearest of them.

    Raises ValueError unless it is 8-bit RGB without interlacing, as Chromium writes it."""
    header, data = b"", b""
    for kind, content in _chunks(png):
        if kind == b"IHDR":
            header = content
        elif kind == b"IDAT":
            data += content
    width, height, *form = struct.unpack(">IIBBBBB", header)
    if form != [8, 2, 0, 0, 0]:
        raise ValueError(f"no 8-bit RGB without interlacing: {form}")
    rows = [
        [row[at : at + _PIXEL] for at in range(0, len(row), _PIXEL)]
        for row in _unfiltered(zlib.decompress(data), width * _PIXEL)
    ]
    counted = Counter(pixel for row in rows for pixel in row)
    palette = [colour for colour, _ in counted.most_common(_COLOURS)]
    index = {colour: _nearest(colour, palette) for colour in counted} | {c: i for i, c in enumerate(palette)}
    packed = b"".join(b"\0" + bytes(index[pixel] for pixel in row) for row in rows)
    return _SIGNATURE + b"".join(
        _chunk(kind, content)
        for kind, content in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            (b"PLTE", b"".join(palette)),
            (b"IDAT", zlib.compress(packed, 9)),
            (b"IEND", b""),
        )
    )


def _nearest(colour: bytes, palette: list[bytes]) -> int:
    return min(range(len(palette)), key=lambda i: sum((a - b) ** 2 for a, b in zip(colour, palette[i], strict=True)))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGNATURE)
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        yield kind, png[at + 8 : at + 8 + length]
        at += 12 + length


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _unfiltered(data: bytes, stride: int) -> Iterator[bytes]:
    """The rows as they are, each from its difference to its neighbours."""
    above = bytes(stride)
    for at in range(0, len(data), stride + 1):
        row = bytearray(data[at + 1 : at + 1 + stride])
        match data[at]:
            case 1:
                for i in range(_PIXEL, stride):
                    row[i] = row[i] + row[i - _PIXEL] & 255
            case 2:
                row = bytearray(a + b & 255 for a, b in zip(row, above, strict=True))
            case 3:
                for i in range(stride):
                    left = row[i - _PIXEL] if i >= _PIXEL else 0
                    row[i] = row[i] + (left + above[i] >> 1) & 255
            case 4:
                for i in range(stride):
                    left, corner = (row[i - _PIXEL], above[i - _PIXEL]) if i >= _PIXEL else (0, 0)
                    row[i] = row[i] + _paeth(left, above[i], corner) & 255
        above = bytes(row)
        yield above


def _paeth(left: int, above: int, corner: int) -> int:
    """Which of the three is nearest to left + above - corner."""
    guess = left + above - corner
    by_left, by_above, by_corner = abs(guess - left), abs(guess - above), abs(guess - corner)
    if by_left <= by_above and by_left <= by_corner:
        return left
    return above if by_above <= by_corner else corner
