"""One view's labels as dense arrays: what all forms of the dataset are made from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pose_factory.errors import PoseFactoryError
from pose_factory.files import read_json, read_table
from pose_factory.frames import image
from pose_factory.geometry.camera import Camera
from pose_factory.skeleton import JOINTS

BOX = ["x_min", "y_min", "x_max", "y_max"]


@dataclass(frozen=True)
class View:
    """F frames of P people with J = 23 canonical joints each; NaN for what is missing.

    `people` (P,) names of characters; `frames` (F,) numbers; `time` (F,) seconds; `world` (F, P, J, 3) metres in the
    world; `pixels` (F, P, J, 2), the top-left corner of the image being (0, 0); `visibility` (F, P, J) as COCO's;
    `boxes` (F, P, 4) pixels: left, top, right, bottom; `area` (F, P) of the silhouettes, square pixels.
    """

    character: str
    angle: str
    people: list[str]
    frames: np.ndarray
    time: np.ndarray
    world: np.ndarray
    pixels: np.ndarray
    visibility: np.ndarray
    boxes: np.ndarray
    area: np.ndarray
    camera: Camera

    @property
    def names(self) -> list[str]:
        """(F,) what each picture is called among the character's, without a suffix: front/0001."""
        return [f"{self.angle}/{frame:04d}" for frame in self.frames]

    def pictures(self, folder: str | Path) -> list[tuple[str, Path]]:
        """The name of each picture and its file, the view's frames being in `folder`."""
        return [(name, image(folder, frame)) for name, frame in zip(self.names, self.frames, strict=True)]

    @property
    def present(self) -> np.ndarray:
        """(F, P) whether something of the person is in the image, even if others stand before it."""
        width, height = self.boxes[..., 2] - self.boxes[..., 0], self.boxes[..., 3] - self.boxes[..., 1]
        return (width > 0) & (height > 0) & ((self.area > 0) | (self.visibility > 0).any(-1))


def dense(
    character: str,
    angle: str,
    people: Sequence[str],
    frames: Sequence[int],
    labels: pd.DataFrame,
    boxes: pd.DataFrame,
    camera: Camera,
) -> View:
    """The view of those rendered `frames` that the tables ground_truth and boxes describe.

    Raises PoseFactoryError for tables of other frames or people than these.
    """
    shape = len(frames), len(people)
    rows = pd.MultiIndex.from_product([sorted(frames), range(len(people))])
    at = pd.MultiIndex.from_product([sorted(frames), range(len(people)), JOINTS])
    if not rows.equals(_index(boxes, "person")) or not at.equals(_index(labels, "person", "joint")):
        raise PoseFactoryError(
            f"The labels of {character}/{angle} are of other frames or people than its pictures; delete the view's"
            " folder and run again."
        )
    values = labels[["x", "y", "z", "u", "v", "visibility"]].to_numpy(float).reshape(*shape, len(JOINTS), 6)
    return View(
        character=character,
        angle=angle,
        people=list(people),
        frames=np.array(sorted(frames)),
        time=labels.time.to_numpy(float).reshape(*shape, len(JOINTS))[:, 0, 0],
        world=values[..., :3],
        pixels=values[..., 3:5],
        visibility=values[..., 5].astype(int),
        boxes=boxes[BOX].to_numpy(float).reshape(*shape, 4),
        area=boxes.area.to_numpy(float).reshape(shape),
        camera=camera,
    )


def read_views(character: str, angles: Sequence[str], given) -> Iterator[View]:
    """The views of a character, one at a time, from a rule's input: `character`, and in the order of `angles`
    `rendered`, `labels`, `boxes` and `cameras`."""
    people = [person["name"] for person in read_json(given.character)["people"]]
    files = zip(angles, given.rendered, given.labels, given.boxes, given.cameras, strict=True)
    for angle, rendered, labels, boxes, camera in files:
        frames, seen_by = read_json(rendered)["frames"], Camera.from_json(read_json(camera))
        yield dense(character, angle, people, frames, read_table(labels), read_table(boxes), seen_by)


def _index(table: pd.DataFrame, *columns: str) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table[["frame", *columns]])
