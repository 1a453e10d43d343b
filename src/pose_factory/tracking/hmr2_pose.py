"""HMR2: whole bodies (SMPL), on a GPU if there is one, of the people whose boxes another detector finds.

Its authors' detector, ViTDet, cannot be installed with a current PyTorch; MediaPipe's stands in for it. HMR2 sees a
body in any crop and does not say how sure it is, so scores are the detector's, and so is every joint's confidence.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from pose_factory.association.associator import choose_predictor
from pose_factory.errors import PoseFactoryError
from pose_factory.hmr2 import body, checkpoint, crops, models
from pose_factory.hmr2.network import Prediction
from pose_factory.skeleton import JOINTS
from pose_factory.tracking import appearance, camera
from pose_factory.tracking.people import Pose, fault, overlap

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SURROUNDINGS = 0.25
"""Where to look for a person is shown to the detector with so much of the box's width and height on each side."""

log = logging.getLogger(__name__)


class Detector(Protocol):
    """Who finds the people."""

    def boxes(self, images: Sequence[np.ndarray], least: float | None = None) -> list[list[tuple[np.ndarray, float]]]:
        """For each image the boxes (4,) of everybody in it, pixels, with a score from 0 to 1, and of at least `least`,
        if that is given."""


@dataclass(frozen=True)
class _Person:
    """Somebody to be read by the network: in which image, by which box to crop, and what the detector says."""

    image: np.ndarray
    crop: np.ndarray
    box: np.ndarray
    score: float


class Backend:
    """See pose_factory.tracking."""

    joints = JOINTS
    parametrisation = "SMPL: rotations of its 24 joints, the first in camera axes, and its 10 shape parameters"

    def __init__(self, settings: dict, threads: int, detector: Detector | None = None) -> None:
        """`detector` is MediaPipe's, with so many `threads`, unless it is given.

        Raises PoseFactoryError for files that are missing, damaged, hostile or of something else, and for a device
        that is not there or has not the memory.
        """
        if sentence := models.missing(settings):
            raise PoseFactoryError(sentence)
        own, files = settings["hmr2"], models.folder(settings)
        self._device = device(own["device"])
        self._precision = PRECISIONS[own["precision"]]
        self._batch = own["batch"]
        # The body stays on the CPU: it takes milliseconds, and memory that the network can use.
        self._body = body.load(models.body(files), files / models.REGRESSOR)
        try:
            network = checkpoint.load(files / models.CHECKPOINT).to(self._device)
            self.predict_pose = choose_predictor(files, str(self._device))
        except torch.OutOfMemoryError as error:
            raise PoseFactoryError(
                f"HMR2 does not fit into the memory of {self._device}: run fewer jobs at once (--cores), or set "
                "tracking.hmr2.device to cpu."
            ) from error
        self._network = torch.compile(network) if own["compile"] else network
        if detector is None:
            from pose_factory.tracking.mediapipe_pose import PersonDetector

            detector = PersonDetector(settings, threads)
        self._detector = detector

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Pose]]:
        """Everybody whom the detector finds in each image, the surest first."""
        found = self._detector.boxes(images)
        people = [
            [_Person(image, box, box, score) for box, score in boxes if _can_be_cropped(image, box)]
            for image, boxes in zip(images, found, strict=True)
        ]
        poses = iter(self._poses([person for of_image in people for person in of_image]))
        return [[pose for _ in of_image if (pose := next(poses))] for of_image in people]

    def look(self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray], threshold: float) -> list[Pose | None]:
        """The body in the crop about each box, if there is a person: the detector, asked again with `threshold` as all
        that it needs, must find one in the box's surroundings; the box and the score are of the one that overlaps the
        given box most."""
        boxes = [np.asarray(box, float) for box in boxes]
        windows = {
            row: _window(image, box)
            for row, (image, box) in enumerate(zip(images, boxes, strict=True))
            if _can_be_cropped(image, box)
        }
        found = self._detector.boxes([window for window, _ in windows.values()], threshold)
        people = {}
        for (row, (_, corner)), candidates in zip(windows.items(), found, strict=True):
            there = [_Person(images[row], boxes[row], box + corner, score) for box, score in candidates]
            there = [person for person in there if person.score >= threshold]
            if there:
                people[row] = max(there, key=lambda person: overlap(person.box, boxes[row]))
        poses = dict(zip(people, self._poses(list(people.values())), strict=True))
        return [poses.get(row) for row in range(len(boxes))]

    def assemble(self, rotations: np.ndarray, shape: np.ndarray) -> np.ndarray:
        """(..., 23, 3) joints of SMPL's rotations (..., 24, 3, 3) and shape (..., 10)."""
        return self._body.assemble(rotations, shape)[0]

    def mesh(self, rotations: np.ndarray, shape: np.ndarray) -> np.ndarray:
        """(6890, 3) SMPL's vertices of one pose, metres, camera axes, relative to the midpoint of the hips."""
        return self._body.mesh(rotations, shape)

    @property
    def faces(self) -> np.ndarray:
        """(F, 3) the mesh's triangles."""
        return self._body.faces

    def _poses(self, people: Sequence[_Person]) -> list[Pose | None]:
        """The pose of each; None where the network says nothing that can be used, which is logged."""
        poses: list[Pose | None] = []
        while len(poses) < len(people):
            part = people[len(poses) : len(poses) + self._batch]
            try:
                poses += self._read(part)
            except torch.OutOfMemoryError as error:
                if len(part) == 1:
                    raise PoseFactoryError(
                        f"Not even one crop fits into the memory of {self._device}: set tracking.hmr2.device to cpu."
                    ) from error
                self._batch = len(part) // 2
                log.warning(
                    "Out of memory on %s with %d crops at once: from now on %d.", self._device, len(part), self._batch
                )
        return poses

    def _read(self, people: Sequence[_Person]) -> list[Pose | None]:
        squares = crops.squares(np.stack([person.crop for person in people]))
        pictures = [crops.crop(person.image, *square) for person, *square in zip(people, *squares, strict=True)]
        said = self._predict(crops.normalised(pictures))
        rotations, betas, cameras = (
            part.float().cpu().numpy().astype(float) for part in (said.rotations, said.betas, said.camera)
        )
        joints, hips = self._body.assemble(rotations, betas)
        return [_pose(*each) for each in zip(people, rotations, betas, cameras, joints, hips, strict=True)]

    @torch.inference_mode()
    def _predict(self, pictures: np.ndarray) -> Prediction:
        reduced = self._precision != torch.float32
        with torch.autocast(self._device.type, self._precision if reduced else None, enabled=reduced):
            return self._network(torch.from_numpy(pictures).to(self._device))


def device(name: str) -> torch.device:
    """The device of that name, or for `auto` the best there is."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(each for each in there if there[each])
    if not there[name]:
        raise PoseFactoryError(f"tracking.hmr2.device is {name}, which PyTorch does not find here: use auto or cpu.")
    return torch.device(name)


def _pose(
    person: _Person, rotations: np.ndarray, betas: np.ndarray, weak: np.ndarray, joints: np.ndarray, hips: np.ndarray
) -> Pose | None:
    """From what the network says of a person; None where that is not numbers, or behind the camera."""
    height, width = person.image.shape[:2]
    translation = crops.translations(weak[None], person.crop[None], width, height)[0] + hips
    if not np.isfinite(np.concatenate([rotations.ravel(), betas, joints.ravel(), translation])).all():
        log.warning("Left out the person in the box %s: the network's answer is not finite.", person.crop.round(1))
        return None
    pixels = camera.project(joints, translation, width, height)
    pose = Pose(
        box=person.box,
        score=float(person.score),
        pixels=pixels,
        joints=joints,
        confidence=np.full(len(joints), float(person.score)),
        translation=translation,
        rotations=rotations,
        shape=betas,
        appearance=appearance.describe(person.image, pixels, JOINTS),
    )
    if reason := fault(pose):
        log.warning("Left out the person in the box %s: %s.", person.crop.round(1), reason)
        return None
    return pose


def _can_be_cropped(image: np.ndarray, box: np.ndarray) -> bool:
    height, width = image.shape[:2]
    return bool(crops.can_be_cropped(box[None], width, height)[0])


def _window(image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of the image about a box, and where its corner is, (4,) to be added to boxes in it."""
    low, high = box[:2], box[2:]
    margin = SURROUNDINGS * (high - low)
    start = np.clip(np.floor(low - margin), 0, None).astype(int)
    end = np.ceil(high + margin).astype(int)
    return image[start[1] : end[1], start[0] : end[0]], np.tile(start, 2).astype(float)
