"""HMR2's crops and cameras: against the published recipe, written out plainly."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from pose_factory.hmr2 import crops
from pose_factory.tracking import camera


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Noise, which shows every difference."""
    return np.random.default_rng(0).integers(0, 256, (900, 1260, 3), dtype=np.uint8)


def published(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The crop as the published code makes it, from the whole image."""
    width, height = box[2:] - box[:2]
    side = height if height / width >= 256 / 192 else width * 256 / 192
    picture = image
    finer = side / 256 / 2
    if finer > 1.1:
        sigma = (finer - 1) / 2
        picture = ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0), mode="nearest", truncate=4)
    centre = (box[:2] + box[2:]) / 2
    corners = np.float32([centre, centre + [0, side / 2], centre + [side / 2, 0]])
    to_crop = cv2.getAffineTransform(corners, np.float32([(128, 128), (128, 256), (256, 128)]))
    return cv2.warpAffine(picture, to_crop, (256, 256), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def ours(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    centres, sides = crops.squares(box[None])
    return crops.crop(image, centres[0], sides[0])


@pytest.mark.parametrize(
    ("box", "blurred"),
    [
        ((300, 150, 600, 750), True),  # narrow
        ((150, 300, 1050, 600), True),  # wide
        ((150.5, 300.2, 450.1, 420.9), False),
        ((-240, -180, 360, 600), True),  # beyond two edges
        ((900, 300, 1500, 1200), True),  # beyond the other two
        ((1200, 800, 1400, 1000), False),
        ((10.3, 20.7, 15.1, 29.9), False),  # tiny
        ((0, 0, 1260, 900), True),  # the whole image
    ],
)
def test_crops_are_the_published_ones(image, box, blurred):
    expected, found = published(image, np.array(box, float)), ours(image, np.array(box, float))
    assert (found.dtype == np.float32) == (expected.dtype == float) == blurred
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_large_images_are_blurred_against_aliasing():
    stripes = np.zeros((1500, 1500, 3), np.uint8)
    stripes[::2] = 255
    box = np.array([187.5, 0, 1312.5, 1500])
    found = ours(stripes, box).astype(float)
    assert found[5:-5, 5:-5].std() < 2
    plain = cv2.warpAffine(stripes, np.array([[256 / 1500, 0, 0], [0, 256 / 1500, 0]]), (256, 256))
    assert plain.std() > 50


def test_colours_are_normalised_and_channels_come_first():
    picture = np.zeros((256, 256, 3), np.uint8)
    picture[3, 7] = [255, 0, 128]
    batch = crops.normalised([picture, picture.astype(np.float32)])
    assert batch.shape == (2, 3, 256, 256) and batch.dtype == np.float32
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (128 / 255 - 0.406) / 0.225]
    np.testing.assert_allclose(batch[:, :, 3, 7], [expected, expected], rtol=1e-6)


def test_squares_hold_the_box():
    boxes = np.array([[0, 0, 100, 300], [0, 0, 300, 100], [10, 20, 202, 276.0]])
    centres, sides = crops.squares(boxes)
    np.testing.assert_allclose(centres, [[50, 150], [150, 50], [106, 148]])
    np.testing.assert_allclose(sides, [300, 400, 256])


def test_what_can_be_cropped():
    nan = np.nan
    good = [(10, 10, 50, 90), (-30, -30, 5, 5), (95, 75, 200, 200), (-10, -10, 110, 90), (3, 3, 4, 4)]
    bad = [
        (10, 10, 10, 90),  # no width
        (50, 90, 10, 10),  # the wrong way round
        (3, 3, 3.5, 9),  # less than a pixel
        (-50, 10, 0, 90),  # left of the image
        (100, 10, 150, 90),
        (10, -50, 50, 0),
        (10, 80, 50, 90),
        (nan, 10, 50, 90),
        (10, 10, nan, nan),
    ]
    assert crops.can_be_cropped(np.array(good, float), 100, 80).all()
    assert not crops.can_be_cropped(np.array(bad, float), 100, 80).any()


def test_the_image_camera_sees_what_the_crop_camera_saw():
    """At the body's depth a crop's camera takes metres to s * 128 of its pixels; the image's must put the same points
    at the same places."""
    rng = np.random.default_rng(1)
    cameras = np.column_stack([rng.uniform(0.5, 1.2, 20), rng.normal(scale=0.1, size=(20, 2))])
    low = rng.uniform(-50, 400, (20, 2))
    boxes = np.hstack([low, low + rng.uniform(20, 300, (20, 2))])
    width, height = 640, 480
    centres, sides = crops.squares(boxes)
    translations = crops.translations(cameras, boxes, width, height)
    flat = np.column_stack([rng.normal(scale=0.5, size=(9, 2)), np.zeros(9)])
    for row, (s, t_x, t_y) in enumerate(cameras):
        in_crop = 128 * s * (flat[:, :2] + [t_x, t_y]) + 128
        in_image = centres[row] + (in_crop - 128) * sides[row] / 256
        np.testing.assert_allclose(camera.project(flat, translations[row], width, height), in_image, atol=1e-9)
    np.testing.assert_allclose(translations[:, 2], 2 * camera.focal_length(width, height) / (sides * cameras[:, 0]))


def test_a_camera_without_scale_is_infinitely_far_away():
    translation = crops.translations(np.array([[0.0, 0, 0]]), np.array([[0, 0, 30.0, 40]]), 64, 64)
    assert not np.isfinite(translation).all()
