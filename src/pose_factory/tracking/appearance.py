"""How a person looks, in a few numbers: the colours of head, torso, arms and legs.

PHALP compares textures that its own network encodes; this takes what people mostly differ by, the colours they wear,
and needs no network. It is scaled to PHALP's distance (of vectors / 1000, squared): about 1 between people in different
clothes, a hundredth of that between two sights of one.
"""

import cv2
import numpy as np

PARTS = {
    "head": [("nose", "left_ear"), ("nose", "right_ear")],
    "torso": [
        ("left_shoulder", "left_hip"),
        ("right_shoulder", "right_hip"),
        ("left_shoulder", "right_hip"),
        ("right_shoulder", "left_hip"),
    ],
    "upper_arms": [("left_shoulder", "left_elbow"), ("right_shoulder", "right_elbow")],
    "lower_arms": [("left_elbow", "left_wrist"), ("right_elbow", "right_wrist")],
    "thighs": [("left_hip", "left_knee"), ("right_hip", "right_knee")],
    "shins": [("left_knee", "left_ankle"), ("right_knee", "right_ankle")],
}
"""Lines between joints along which each part's colour is taken; its median is the part's."""
ALONG = np.linspace(0.2, 0.8, 7)
"""Where along a line, clear of the joints, at which parts meet."""
SCALE = 1000 / np.sqrt(2500 * len(PARTS))
"""Makes (squared distance / 1000^2) the mean over parts of the squared CIELAB difference, divided by 50^2."""
LENGTH = 3 * len(PARTS)


def describe(image: np.ndarray, pixels: np.ndarray, joints: list[str]) -> np.ndarray:
    """The descriptor (LENGTH,) of the person in `image`, (H, W, 3) uint8 RGB, whose `joints` are at `pixels` (J, 2).

    Raises KeyError when a joint that it needs is not among `joints`.
    """
    at = dict(zip(joints, pixels, strict=True))
    lines = [(at[start], at[end]) for part in PARTS.values() for start, end in part]
    starts, ends = np.array(lines).swapaxes(0, 1)
    points = starts[:, None] + ALONG[:, None] * (ends - starts)[:, None]
    height, width = image.shape[:2]
    columns, rows = (np.clip(np.floor(points), 0, [width - 1, height - 1]).astype(int).reshape(-1, 2)).T
    colours = image[rows, columns].astype(np.float32)[None] / 255
    lab = cv2.cvtColor(colours, cv2.COLOR_RGB2LAB).reshape(len(lines), len(ALONG), 3)
    counts = np.cumsum([len(part) for part in PARTS.values()])[:-1]
    return SCALE * np.concatenate([np.median(part.reshape(-1, 3), axis=0) for part in np.split(lab, counts)])
