"""Pictures of requests: what is taken and how it looks, what is refused and in which words."""

import base64
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from motions import NAMES, motion, track
from PIL import Image

from pose_factory.errors import PoseFactoryError
from pose_factory.service import images
from pose_factory.tracking.people import PREDICTED
from pose_factory.tracking.session import Sighting

BYTES, PIXELS = 100_000, 10_000
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def file(image: np.ndarray | Image.Image = PICTURE, kind="PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def read(words: str) -> bytes:
    return images.read(words, BYTES, PIXELS)


# What is taken


@pytest.mark.parametrize("kind, options", [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_files_come_through_as_they_are(kind, options):
    content = file(kind=kind, **options)
    assert read(text(content)) == content
    np.testing.assert_array_equal(images.decode(content), PICTURE)


def test_a_jpeg_is_what_opencv_sees():
    smooth = cv2.GaussianBlur(PICTURE, (15, 15), 0)
    content = file(smooth, "JPEG", quality=95)
    expected = cv2.imdecode(np.frombuffer(read(text(content)), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(images.decode(content).astype(int) - expected).max() <= 2


def test_data_urls_and_line_breaks():
    content = file()
    lines = base64.encodebytes(content).decode().replace("\n", "\r\n")
    for words in (
        f"data:image/png;base64,{text(content)}",
        f"data:image/jpeg;charset=x;base64,{text(content)}",  # what it says it is does not count
        f"DATA:;BASE64, {lines}",
        f"\n{lines}\n",
    ):
        assert read(words) == content


def test_upright_as_its_exif_data_say():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a quarter
    np.testing.assert_array_equal(images.decode(file(exif=exif)), np.rot90(PICTURE, -1))


def test_the_first_image_of_an_animation():
    frames = [Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE)]
    content = file(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_array_equal(images.decode(content), PICTURE)


GREY = PICTURE[..., 0]


@pytest.mark.parametrize(
    "image, expected",
    [
        (Image.fromarray(GREY), np.repeat(GREY[..., None], 3, axis=2)),
        (Image.fromarray(GREY.astype(np.uint16) * 257), np.repeat(GREY[..., None], 3, axis=2)),
        (Image.fromarray(GREY > 127), np.repeat((255 * (GREY > 127))[..., None], 3, axis=2)),
        (Image.fromarray(np.dstack([PICTURE, GREY])), PICTURE),  # with transparency
        (Image.fromarray(np.dstack([GREY, PICTURE[..., 1]]), "LA"), np.repeat(GREY[..., None], 3, axis=2)),
    ],
    ids=["grey", "16 bits", "1 bit", "alpha", "grey and alpha"],
)
@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_all_kinds_of_pixels_become_rgb(image, expected):
    np.testing.assert_array_equal(images.decode(file(image)), expected)


def test_palettes_and_their_transparency():
    image = Image.fromarray(PICTURE // 64 * 64).quantize(64)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(images.decode(file(image)), expected)
    np.testing.assert_array_equal(images.decode(file(image, transparency=3)), expected)


def test_cmyk():
    red = Image.new("CMYK", (60, 40), (0, 255, 255, 0))
    assert np.abs(images.decode(file(red, "JPEG")).astype(int) - [255, 0, 0]).max() < 10


# What is refused


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    """Of a PNG that says to have so many pixels, in a few bytes."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("", "is empty"),
        ("data:image/png;base64,", "is empty"),
        ("not base64!", "is not base64"),
        ("abc", "is not base64"),  # padding is missing
        ("ä" * 8, "is not base64"),
        ("\ud800aaa", "is not base64"),
        (text(b"hello, world"), "is not an image of a known format"),
        (text(b"GIF89a" + bytes(100)), "is not an image of a known format"),
        (text(file(kind="GIF")), "is not an image of a known format"),
        (text(file(kind="TIFF")), "is not an image of a known format"),
        (text(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "is not an image of a known format"),
        (text(bytes(BYTES + 1)), "is larger than 100,000 bytes"),
        ("A" * 10 * BYTES, "is larger than 100,000 bytes"),
        (text(file(np.zeros((101, 100, 3), np.uint8))), "has 100 x 101 pixels, more than 10,000"),
        (text(png_header(2**30, 2**30)), "has 1073741824 x 1073741824 pixels"),
        (text(png_header(0, 10)), "is not an image of a known format"),
    ],
)
def test_what_is_no_image_or_too_large_is_told_in_a_sentence(words, sentence):
    with pytest.raises(PoseFactoryError, match=f"^image_base64 {sentence}.*[.]$") as caught:
        read(words)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 150


def test_the_limits_are_inclusive():
    read(text(file(np.zeros((100, 100, 3), np.uint8))))
    noise = np.random.default_rng(1).integers(0, 256, (90, 90, 3), np.uint8)
    content = file(noise)
    assert images.read(text(content), len(content), 8100) == content
    with pytest.raises(PoseFactoryError, match="larger than"):
        images.read(text(content), len(content) - 1, 8100)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_files_that_break_off_or_are_damaged(kind):
    """Cut anywhere, a file is refused at once or when it is decoded, or, by luck, still an image; nothing else."""
    content, refused = file(kind=kind), 0
    damaged = bytearray(content)
    damaged[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    for part in [content[:end] for end in range(1, len(content), 97)] + [bytes(damaged)]:
        try:
            assert images.decode(read(text(part))).shape == PICTURE.shape
        except PoseFactoryError as error:
            assert str(error).startswith("image_base64 is ")
            refused += 1
    assert refused > 5


def test_a_bomb_in_a_text_chunk():
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**28), 9))
    content = file()
    with pytest.raises(PoseFactoryError):
        images.decode(images.read(text(content[:33] + bomb + content[33:]), 2**24, PIXELS))


# What is drawn


def test_the_skeleton_is_drawn_where_the_joints_are():
    pose = track(motion("walk", 1)).pose(0)
    blank = np.zeros((480, 640, 3), np.uint8)
    sighting = Sighting(1, 0, pose, PREDICTED, True)
    shown = images.decode(base64.b64decode(images.draw(blank, sighting, NAMES)))
    assert shown.shape == blank.shape
    u, v = pose.pixels[NAMES.index("left_knee")].astype(int)
    assert shown[v, u].max() > 80
    assert shown[v, u, 0] > shown[v, u, 2]  # predicted is red
    assert images.decode(base64.b64decode(images.draw(blank, None, NAMES))).max() < 5
