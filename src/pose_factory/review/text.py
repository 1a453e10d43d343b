"""Antialiased text on BGR images, in the font that comes with Pillow (Latin letters, digits, common signs)."""

from functools import lru_cache
from math import ceil

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def width(string: str, size: int) -> int:
    """How many pixels wide `string` is at `size` pixels."""
    return ceil(_font(size).getlength(string))


def line_height(size: int) -> int:
    """The height in pixels of a line of text at `size` pixels, ascenders and descenders included."""
    return sum(_font(size).getmetrics())


def write(image: np.ndarray, string: str, corner: tuple[int, int], size: int, colour: tuple[int, int, int]) -> None:
    """Write `string` into the (H, W, 3) uint8 `image` in place, top left at `corner` (x, y), clipped at the edges."""
    x, y = corner
    opacity = _opacity(string, size)
    region = image[max(y, 0) : max(y + opacity.shape[0], 0), max(x, 0) : max(x + opacity.shape[1], 0)]
    opacity = opacity[max(-y, 0) :, max(-x, 0) :][: region.shape[0], : region.shape[1], None]
    region[:] = np.rint(region * (1 - opacity) + np.array(colour) * opacity)


def fit(string: str, size: int, available: int) -> str:
    """`string`, its end replaced by an ellipsis if it is wider than `available` pixels."""
    if width(string, size) <= available:
        return string
    kept = next((n for n in range(len(string), 0, -1) if width(string[:n] + "…", size) <= available), 0)
    return string[:kept].rstrip() + "…"


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


@lru_cache(maxsize=256)
def _opacity(string: str, size: int) -> np.ndarray:
    canvas = Image.new("L", (max(width(string, size), 1), line_height(size)))
    ImageDraw.Draw(canvas).text((0, 0), string, fill=255, font=_font(size))
    return np.asarray(canvas) / 255
