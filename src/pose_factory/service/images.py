"""Pictures as requests carry them: from base64 to a checked file, from there to pixels, and back with a skeleton drawn
over them.

Only JPEG, PNG and WebP are taken, and what a file is shows in its content. A picture is what a viewer shows: turned
upright as its Exif data say, the first one of an animation, its transparency left out; greys, palettes, CMYK and 16
bits become 8-bit RGB.
"""

import base64
import binascii
import io
import re
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from pose_factory.errors import PoseFactoryError
from pose_factory.skeleton import INDEX, JOINTS

if TYPE_CHECKING:
    from pose_factory.tracking.session import Sighting

FORMATS = ("JPEG", "PNG", "WEBP")
JPEG_QUALITY = 85
"""Of pictures that are sent back."""
_DATA_URL = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_SENTENCE = "image_base64 is {}; send a JPEG, PNG or WebP."

Image.MAX_IMAGE_PIXELS = None  # `read` has a limit of its own, for which a warning would be no use


def read(text: str, max_bytes: int, max_pixels: int) -> bytes:
    """The file that `text` holds in base64, which may be a data URL and have line breaks.

    It is a JPEG, PNG or WebP of no more bytes and pixels than given, going by its header; it is not decoded yet. Raises
    PoseFactoryError with one sentence for anything else.
    """
    prefix = _DATA_URL.match(text)
    encoded = "".join(text[prefix.end() if prefix else 0 :].split())
    if len(encoded) * 3 // 4 > max_bytes + 2:  # two of the bytes may be padding
        raise PoseFactoryError(f"image_base64 is larger than {max_bytes:,} bytes; send a smaller image.")
    try:
        file = base64.b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise PoseFactoryError("image_base64 is not base64; send the image file's bytes in base64.") from error
    if len(file) > max_bytes:
        raise PoseFactoryError(f"image_base64 is larger than {max_bytes:,} bytes; send a smaller image.")
    width, height = _open(file).size
    if width * height > max_pixels:
        raise PoseFactoryError(
            f"image_base64 has {width} x {height} pixels, more than {max_pixels:,} in all; send a smaller image."
        )
    return file


def decode(file: bytes) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a file that `read` let pass. Raises PoseFactoryError where it breaks off or is damaged."""
    image = _open(file)
    try:
        image.load()
        return np.array(_rgb(ImageOps.exif_transpose(image)))
    except Exception as error:  # Pillow's decoders raise all kinds of errors for damaged files
        raise PoseFactoryError(_SENTENCE.format("damaged or breaks off")) from error


def draw(image: np.ndarray, sighting: "Sighting | None", names: list[str]) -> str:
    """The (H, W, 3) uint8 RGB image with the skeleton of whoever is sighted over it, whose joints are called `names`: a
    JPEG in base64."""
    import cv2  # these bring pandas and more, which the process that speaks HTTP does without

    from pose_factory.review import overlay

    tracks = []
    if sighting:
        uv = np.full((len(JOINTS), 2), np.nan)
        uv[[INDEX[name] for name in names]] = sighting.pose.pixels
        tracks.append(overlay.Track(uv, sighting.provenance))
    picture = overlay.skeletons(np.ascontiguousarray(image[..., ::-1]), overlay.Overlay([], tracks))
    _, file = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return base64.b64encode(file).decode()


def _open(file: bytes) -> Image.Image:
    if not file:
        raise PoseFactoryError(_SENTENCE.format("empty"))
    try:
        return Image.open(io.BytesIO(file), formats=FORMATS)
    except Exception as error:  # as above, for headers
        raise PoseFactoryError(_SENTENCE.format("not an image of a known format")) from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, of which Pillow would cut off what is beyond 255
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    return image.convert("RGBA" if "transparency" in image.info else "RGB").convert("RGB")
