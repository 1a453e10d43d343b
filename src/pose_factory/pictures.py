"""Users' pictures as backgrounds."""

import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pose_factory.errors import PoseFactoryError


def cover(file: Path, width: int, height: int) -> np.ndarray:
    """The picture in `file`, upright, as (height, width, 3) uint8 sRGB: scaled until it covers that size, without being
    distorted, and cut at two sides alike. Raises PoseFactoryError where it cannot be read to its end."""
    try:
        with Image.open(file) as image:
            upright = ImageOps.exif_transpose(image)
            return np.asarray(ImageOps.fit(_rgb(upright), (width, height), Image.Resampling.LANCZOS))
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise PoseFactoryError(
            f"The background {file} cannot be read (damaged or cut short?): {error}; replace or delete it."
        ) from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, of which none is known to be white")
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
