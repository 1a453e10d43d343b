"""The label passes of a view: what they hold, how they are stored, and reading them.

    from pose_factory import passes
    depth = passes.read_depth(passes.file("results/ada/front/passes", "depth", 1))

All are (H, W) or (H, W, C), from the top left. A pixel is labelled with what is seen through its very centre, so no
value is a mixture of its neighbours'. Where there is neither a person nor something before one, all are 0.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose_factory.errors import PoseFactoryError
from pose_factory.files import atomic, read_json
from pose_factory.skeleton import INDEX, JOINTS

OCCLUDER = 255
"""In `instances`, what is nobody's; index i into the people of character.json is i + 1."""
_PARTS: list[dict] = read_json(Path(__file__).with_name("parts.json"))["parts"]
PARTS: dict[str, int] = {part["name"]: part["id"] for part in _PARTS}
"""In `parts`, the number of each part of the body (data: parts.json)."""


def part_of_limb(limb) -> np.ndarray:
    """The part (uint8) that the limb of each canonical joint is; `limb` are indices of joints, -1 for none's."""
    parts = np.full(len(JOINTS) + 1, PARTS["other"], np.uint8)
    for part in _PARTS:
        parts[[INDEX[joint] for joint in part["joints"]]] = part["id"]
    return parts[limb]


@dataclass(frozen=True)
class Pass:
    """How a pass is stored: the file's suffix, `channels` of an EXR file (none: an 8-bit grey PNG), the type of its
    values, and the power of two that these are rounded to (None: they are as they are)."""

    suffix: str
    channels: tuple[str, ...] = ()
    type: type = np.uint8
    step: float | None = None

    @property
    def raw_bytes(self) -> int:
        """Bytes of a pixel without rounding and compression: single precision, or a byte for a label."""
        return 4 * len(self.channels) or 1

    @property
    def error(self) -> float:
        """How far a stored value is from the true one at most."""
        return (self.step or 0) / 2

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """`values` as they are stored."""
        return (values if self.step is None else np.round(values / self.step) * self.step).astype(self.type)


PASSES: dict[str, Pass] = {
    # One channel is called Y because OpenCV reads no other by itself.
    "depth": Pass(".exr", ("Y",), np.float32, 2.0**-14),  # metres
    "normals": Pass(".exr", ("R", "G", "B"), np.float16, 2.0**-11),
    "instances": Pass(".png"),
    "parts": Pass(".png"),
    "flow": Pass(".exr", ("R", "G"), np.float32, 2.0**-8),  # pixels
}


def file(folder: str | Path, name: str, frame: int) -> Path:
    """The file of one frame of the pass `name` in a view's folder `passes`, such as `passes/depth/0001.exr`."""
    return Path(folder) / name / f"{frame:04d}{PASSES[name].suffix}"


def read_depth(path: str | Path) -> np.ndarray:
    """(H, W) float32: z in camera axes, metres; 0 where nothing is. Raises PoseFactoryError as all readers do when the
    file is missing or damaged."""
    return _read_exr(path, "depth")[..., 0]


def read_normals(path: str | Path) -> np.ndarray:
    """(H, W, 3) float32: unit vectors in camera axes (x right, y down, z forward), out of the surface and towards the
    camera; 0 where nothing is."""
    return _read_exr(path, "normals")


def read_flow(path: str | Path) -> np.ndarray:
    """(H, W, 2) float32: how far right and down, in pixels, the point seen here is in the next picture, in which
    something else may hide it; 0 where nothing is, NaN where the point goes behind the camera."""
    return _read_exr(path, "flow")


def read_instances(path: str | Path) -> np.ndarray:
    """(H, W) uint8: 0 nothing, i + 1 the person with index i in character.json, OCCLUDER what is nobody's."""
    return _read_png(path)


def read_parts(path: str | Path) -> np.ndarray:
    """(H, W) uint8: 0 nothing or nobody's, else a number of PARTS."""
    return _read_png(path)


READERS: dict[str, Callable[[str | Path], np.ndarray]] = {
    "depth": read_depth,
    "normals": read_normals,
    "instances": read_instances,
    "parts": read_parts,
    "flow": read_flow,
}


def write(path: Path, name: str, values: np.ndarray) -> int:
    """Write one frame of the pass `name`, (H, W) or (H, W, C), already rounded; return its size in bytes.

    The same values give the same bytes. Raises PoseFactoryError when the file cannot be written.
    """
    stored = PASSES[name]
    data = _exr(values.reshape(*values.shape[:2], -1), stored.channels) if stored.channels else _png(values)
    with atomic(path) as temporary:
        temporary.write_bytes(data)
    return len(data)


def _exr(values: np.ndarray, channels: tuple[str, ...]) -> bytes:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    planes = {name: np.ascontiguousarray(values[..., index]) for index, name in enumerate(channels)}
    buffer = io.BytesIO()
    OpenEXR.File(header, planes).write(buffer)
    return buffer.getvalue()


def _png(values: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def _read_exr(path: str | Path, name: str) -> np.ndarray:
    import OpenEXR

    channels = PASSES[name].channels
    try:
        with OpenEXR.File(str(path), separate_channels=True) as image:
            planes = {channel: plane.pixels for channel, plane in image.channels().items()}
        # What is missing at the end of a file is only printed of; its pixels are then none.
        return np.stack([planes[channel].astype(np.float32) for channel in channels], axis=-1)
    except (RuntimeError, OSError, ValueError, KeyError, AttributeError) as error:
        raise PoseFactoryError(f"{path} is missing, damaged or not of the pass {name}; make it again.") from error


def _read_png(path: str | Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode != "L":
                raise ValueError(f"not an image of 8 bits: {image.mode}")
            return np.array(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise PoseFactoryError(f"{path} is missing or damaged; make it again.") from error
