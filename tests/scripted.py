"""A tracker's backend that plays a script, and footage for it."""

import motions
import numpy as np

from pose_factory.association.forecast import hold_last
from pose_factory.tracking.people import Pose, Track

FRAMES = list(range(1, 61))


class Film:
    """Images that only tell their frame number."""

    fps = 30.0
    size = motions.SIZE

    def __init__(self, frames=FRAMES) -> None:
        self.frames = frames
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        return ((frame, np.full((2, 2, 3), frame, np.uint16)) for frame in self.frames)


class Scripted:
    """A backend that sees `people` (a Track each) but for the frames `hidden` from it (a set each), of which it may see
    those in `seen_again` when it looks."""

    joints = motions.NAMES
    parametrisation = "swings"
    predict_pose = staticmethod(hold_last)
    assemble = staticmethod(motions.assemble)

    def __init__(self, people: list[Track], hidden: list[set], seen_again: list[set] | None = None) -> None:
        self.people, self.hidden = people, hidden
        self.seen_again = seen_again or [set() for _ in people]
        self.looked: list[tuple[int, np.ndarray]] = []

    def detect(self, images) -> list[list[Pose]]:
        frames = [int(image[0, 0, 0]) for image in images]
        return [self._at(frame, [frame not in hidden for hidden in self.hidden]) for frame in frames]

    def look(self, images, boxes, threshold) -> list[Pose | None]:
        found = []
        for image, box in zip(images, boxes, strict=True):
            frame = int(image[0, 0, 0])
            self.looked.append((frame, box))
            there = self._at(frame, [frame in again for again in self.seen_again])
            there.sort(key=lambda pose: np.abs(pose.box - box).sum())
            found.append(there[0] if there else None)
        return found

    def _at(self, frame: int, seen: list[bool]) -> list[Pose]:
        return [
            person.pose(int(np.searchsorted(person.frames, frame)))
            for person, is_seen in zip(self.people, seen, strict=True)
            if is_seen and frame in person.frames
        ]


def walker(side: float = 0.0, name: str = "walk", frames=FRAMES) -> Track:
    """Somebody who is `side` metres off the middle, in these frames."""
    track = motions.track(motions.motion(name)[: len(FRAMES)] + [side, 0, 0])
    return track[np.isin(track.frames, frames)]
