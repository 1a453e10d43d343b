"""From boxes in an image to what HMR2 takes, and from what it says of a crop back to the image, as its authors' own
demo does it.

Their crop is the square about the box's centre whose side is the height of the smallest 192:256 box that holds the box,
with no margin (rescale factor 1). OpenCV counts pixels from the middle of the first one and the published code does not
make up for it, so that a crop shows the image shifted by up to half a pixel of the coarser of the two; nor do we, as
the network was trained on such crops.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from pose_factory.hmr2.network import CROP, SIDES
from pose_factory.tracking import camera

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
"""Of ImageNet's RGB, 0 to 1."""
_SHARP, _REACH = 1.1, 4.0
"""Where the image is more than so many times twice as fine as the crop, it is blurred first; and the blur's reach in
standard deviations."""


def squares(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres (N, 2) and sides (N,), pixels, of the squares that are cropped for boxes (N, 4)."""
    low, high = boxes[:, :2], boxes[:, 2:]
    width, height = (high - low).T
    return (low + high) / 2, np.maximum(height, width * CROP / (CROP - 2 * SIDES))


def can_be_cropped(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """(N,) whether boxes (N, 4) are boxes at all, at least one pixel large, and show some of an image of that size."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return ((high - low >= 1) & (high > 0) & (low < [width, height])).all(axis=1)  # NaN is never larger


def crop(image: np.ndarray, centre: np.ndarray, side: float) -> np.ndarray:
    """(256, 256, 3) uint8 or float32 RGB: the square of `image`, (H, W, 3) uint8 RGB, black beyond its edges."""
    scale = CROP / side
    at = np.zeros(2)
    blur = (1 / scale / 2 - 1) / 2
    if 1 / scale / 2 > _SHARP:
        reach = int(_REACH * blur + 0.5)
        # Blurring no more of the image than the crop can show gives the same as blurring all of it.
        margin = side / 2 + reach + 1
        at = np.floor(np.clip(centre - margin, 0, None))
        end = np.ceil(centre + margin).astype(int)
        image = image[int(at[1]) : end[1], int(at[0]) : end[0]].astype(np.float32)
        image = cv2.GaussianBlur(image, (2 * reach + 1,) * 2, blur, borderType=cv2.BORDER_REPLICATE)
    shift = CROP / 2 - scale * (centre - at)
    to_crop = np.column_stack([np.eye(2) * scale, shift])
    return cv2.warpAffine(image, to_crop, (CROP, CROP), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def normalised(crops: Sequence[np.ndarray]) -> np.ndarray:
    """(N, 3, 256, 256) float32, the network's input, of RGB crops (256, 256, 3) from 0 to 255."""
    scaled = (np.stack(crops).astype(np.float32) / 255 - MEAN) / DEVIATION
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), dtype=np.float32)


def translations(cameras: np.ndarray, boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """(N, 3) where SMPL's origin is in the frame of the image's camera, metres, by the crops' cameras (N, 3) (s, t_x,
    t_y), for the focal length of `tracking.camera`.

    As published ("cam_crop_to_full"): at the body's depth, s times the crop's side is two metres long.
    """
    centres, sides = squares(boxes)
    pixels = sides * cameras[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):  # a scale of nothing is infinitely far away
        metres = 2 / pixels
        across = cameras[:, 1:] + (centres - [width / 2, height / 2]) * metres[:, None]
        return np.column_stack([across, camera.focal_length(width, height) * metres])
