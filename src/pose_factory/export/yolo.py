"""YOLO's format for poses (https://docs.ultralytics.com/datasets/pose/): a text file for each picture, a line for each
person, everything as fractions of the picture."""

import json

import numpy as np

from pose_factory.export.splits import SPLITS
from pose_factory.export.views import View
from pose_factory.skeleton import COCO, PAIRS

HEADER = "# People with COCO's keypoints: class, box (centre, size), and x, y, visibility of each keypoint.\n"


def lines(view: View, row: int) -> list[str]:
    """The lines of the view's picture `row`: one for each person in it, with COCO's 17 keypoints."""
    size = np.array([view.camera.width, view.camera.height], float)
    found = []
    for person in np.flatnonzero(view.present[row]):
        low, high = view.boxes[row, person].reshape(2, 2) / size
        visibility = view.visibility[row, person, : len(COCO)]
        places = np.where(visibility[:, None] > 0, view.pixels[row, person, : len(COCO)] / size, 0.0)
        numbers = " ".join(f"{x:.6f} {y:.6f} {v}" for (x, y), v in zip(places, visibility, strict=True))
        box = " ".join(f"{value:.6f}" for value in (*(low + high) / 2, *(high - low)))
        found.append(f"0 {box} {numbers}\n")
    return found


def data_file() -> str:
    """What data.yaml holds: where the pictures are, and which keypoints change places in a mirror. It names no `path`,
    so the folder may be moved."""
    swapped = {joint: other for a, b in PAIRS for joint, other in ((a, b), (b, a))}
    content = {split: f"images/{split}" for split in SPLITS}
    content |= {"kpt_shape": [len(COCO), 3], "flip_idx": [COCO.index(swapped.get(joint, joint)) for joint in COCO]}
    content |= {"names": {0: "person"}, "kpt_names": {0: COCO}}
    return HEADER + "".join(f"{key}: {_flow(value)}\n" for key, value in content.items())


def _flow(value) -> str:
    """YAML in one line, with numbers as keys where JSON has only text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)
