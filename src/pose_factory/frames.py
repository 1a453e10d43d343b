"""Usual frame rates, which frames of a motion are filmed, what their files are called, and reading them back."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from pose_factory.errors import PoseFactoryError

USUAL_RATES = (24, 24000 / 1001, 25, 30, 30000 / 1001, 48, 48000 / 1001, 50, 60, 60000 / 1001, 120, 120000 / 1001)
"""Frames a second; an NTSC rate after the whole one that it is taken for where both would do."""
ROUNDED = 0.0011
"""Of a rate: how far off it is where its frames' seconds were rounded, of 30 a second to 0.0333."""


def usual_rate(fps: float) -> float:
    """The usual rate nearest to `fps`, if that is it but for rounding, else `fps` itself."""
    nearest = min(USUAL_RATES, key=lambda rate: abs(rate / fps - 1))
    return float(nearest) if abs(nearest / fps - 1) < ROUNDED else fps


def select(first: int, last: int, selection: str | dict) -> list[int]:
    """The frame numbers to film of a motion from `first` to `last`, both included.

    `selection` is the config's "all", "first", "last" or any of {"first": n, "last": n, "step": n}.
    Raises PoseFactoryError when none is left.
    """
    if isinstance(selection, str):
        selection = {"all": {}, "first": {"last": first}, "last": {"first": last}}[selection]
    start, end = max(first, selection.get("first", first)), min(last, selection.get("last", last))
    if start > end:
        raise PoseFactoryError(
            f"render.frames asks for frames {selection.get('first', first)} to {selection.get('last', last)}, but the "
            f"motion has {first} to {last}."
        )
    return list(range(start, end + 1, selection.get("step", 1)))


def image(folder: str | Path, frame: int) -> Path:
    """The image of one frame, such as `frames/0001.png`."""
    return Path(folder) / f"{frame:04d}.png"


def read_image(path: str | Path) -> np.ndarray:
    """The image at `path` as (H, W, 3) uint8 BGR. Raises PoseFactoryError when it cannot be read."""
    import cv2  # Blender's side only names frames

    data = Path(path).read_bytes() if Path(path).is_file() else b""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if pixels is None:
        raise PoseFactoryError(f"{path} is missing or not an image; render its view again.")
    return pixels


def read_rgb(folder: str | Path, numbers: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """(frame number, image (H, W, 3) uint8 RGB) of each frame, one at a time."""
    import cv2

    for number in numbers:
        yield number, cv2.cvtColor(read_image(image(folder, number)), cv2.COLOR_BGR2RGB)
