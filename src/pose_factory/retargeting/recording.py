"""A motion as a file of any rig holds it, in terms that all rigs share: joints, parts of the body, a person who stands.

Its lengths have no unit: whoever takes them scales them to a body of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from pose_factory.errors import PoseFactoryError
from pose_factory.geometry import playback
from pose_factory.rigs import FINGERS, RigMatch
from pose_factory.skeleton import JOINTS

SIDES = ("left", "right")
LIMBS = {
    "upper_arm": ("shoulder", "elbow"),
    "forearm": ("elbow", "wrist"),
    "thigh": ("hip", "knee"),
    "shin": ("knee", "ankle"),
}
"""The joints between which limbs point somewhere."""
LEG = 0.9
"""Metres: a leg, where a length has to be compared with metres."""
FAR = 1000.0
"""Legs from where somebody mostly is that nobody goes: a glitch of the capture, or mixed units."""
REMOTE = 1e9
"""Legs from the origin up to which places are exact enough."""
LEAN = 50.0
"""Degrees from upright that legs and trunk may have in a rest pose for it to be one that stands."""


@dataclass(frozen=True)
class Recording:
    """N frames of somebody, Z up, who at rest stands and faces -Y with the left at +X.

    fps: frames a second; rest {joint: (3,)} and places {joint: (N, 3)}: where joints are at rest and in each frame, the
    canonical ones and those where fingers begin (`left_index`), in a unit of the file's own; turns {part: (N, 3, 3)}:
    how parts of the body (rigs.CHAINS; each bone of a finger as `left_index 0`) are turned from rest, in world axes.
    """

    fps: float
    rest: Mapping[str, np.ndarray]
    places: Mapping[str, np.ndarray]
    turns: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.places["pelvis"])

    def played(self, frames: int | None = None, fps: float | None = None) -> "Recording":
        """It in `frames` frames at `fps` a second, by default its own, at its real speed: turned evenly between the
        frames that it has. Where more are wanted than it has, it starts over from the place it has come to if its end
        leads back to its beginning (geometry.playback), else its last pose is held."""
        fps = fps or self.fps
        rate = self.fps / fps
        length = frames or int((len(self) - 1) / rate + 1e-6) + 1
        cycle = playback.find_cycle(self._ends() * LEG / leg_length(self.rest), len(self))
        shown = playback.play(len(self), rate, length, cycle)
        travel = cycle.travel * leg_length(self.rest) / LEG if cycle else np.zeros(3)
        places = {
            joint: _place_at(place, shown) + shown.turns[:, None] * travel for joint, place in self.places.items()
        }
        return Recording(fps, self.rest, places, {part: _turn_at(turn, shown) for part, turn in self.turns.items()})

    def _ends(self) -> np.ndarray:
        """(4, J, 3) the canonical joints in the first two and the last two frames; NaN where there are none."""
        last = len(self) - 1
        ends = np.full((4, len(JOINTS), 3), np.nan)
        for index, joint in enumerate(JOINTS):
            if joint in self.places:
                ends[:, index] = self.places[joint][[0, min(1, last), max(last - 1, 0), last]]
        return ends


def record(
    match: RigMatch, fps: float, bones: Sequence[str], rest: np.ndarray, heads: np.ndarray, turns: np.ndarray
) -> Recording:
    """The recording of a rig: of its `bones` (B names) the heads at rest (B, 3) and in each frame (N, B, 3), and how
    they are turned from rest (N, B, 3, 3), in any axes of which gravity pulls along one.

    Joints at the tails of bones are left out. Raises PoseFactoryError if it does not stand at rest, has a limb without
    a length, or joints that are absurdly far away.
    """
    index = {bone: number for number, bone in enumerate(bones)}
    at = {joint: index[bone] for joint, (bone, end) in match.joints.items() if end == "head"}
    parts = {part: index[chain[-1]] for part, chain in match.chains.items() if not part.endswith(FINGERS)}
    for finger in (f"{side}_{finger}" for side in SIDES for finger in FINGERS):
        chain = match.chains.get(finger, [])
        at |= {finger: index[chain[0]]} if chain else {}
        parts |= {f"{finger} {number}": index[bone] for number, bone in enumerate(chain)}
    rests = {joint: rest[number] for joint, number in at.items()}
    places = {joint: heads[:, number] for joint, number in at.items()}
    _check_limbs(rests)
    _check_places(places, leg_length(rests))
    upright = _upright(rests)
    return Recording(
        fps,
        {joint: upright @ place for joint, place in rests.items()},
        {joint: place @ upright.T for joint, place in places.items()},
        {part: upright @ turns[:, number] @ upright.T for part, number in parts.items()},
    )


def leg_length(rest: Mapping[str, np.ndarray]) -> float:
    """From hip to ankle along the leg, the mean of both."""
    return sum(
        float(np.linalg.norm(rest[f"{side}_{end}"] - rest[f"{side}_{start}"])) / 2
        for side in SIDES
        for start, end in (LIMBS["thigh"], LIMBS["shin"])
    )


def middle(places: Mapping[str, np.ndarray]) -> np.ndarray:
    """(..., 3) midway between the hips."""
    return (places["left_hip"] + places["right_hip"]) / 2


def _check_limbs(rest: Mapping[str, np.ndarray]) -> None:
    size = max(np.linalg.norm(place - rest["pelvis"]) for place in rest.values())
    for side in SIDES:
        for start, end in LIMBS.values():
            if not np.linalg.norm(rest[f"{side}_{end}"] - rest[f"{side}_{start}"]) > 1e-3 * size:
                raise PoseFactoryError(f"its {side} {start} and {end} are in one place at rest; mend its skeleton")


def _check_places(places: Mapping[str, np.ndarray], leg: float) -> None:
    places = {"pelvis": places["pelvis"], **places}  # which is told of first, as it takes all others along
    usual = np.median(places["pelvis"], axis=0).clip(-REMOTE * leg, REMOTE * leg)
    away = np.stack([np.abs(place - usual).max(axis=1) / leg for place in places.values()], axis=1)
    if (far := away > FAR).any():
        frame, joint = np.argwhere(far)[0]
        raise PoseFactoryError(
            f"its {list(places)[joint].replace('_', ' ')} is {away[frame, joint]:.2g} leg lengths off in frame "
            f"{frame + 1}, where nobody gets to; correct that frame, or cut it out"
        )


def _upright(rest: Mapping[str, np.ndarray]) -> np.ndarray:
    """(3, 3) the turn by right angles about the floor's axes, then any about Z, after which the joints stand and face
    -Y."""
    ankles = (rest["left_ankle"] + rest["right_ankle"]) / 2
    up = rest["neck"] - ankles
    axis = int(np.argmax(np.abs(up)))
    upward = np.zeros(3)
    upward[axis] = np.sign(up[axis])
    for below, above in ((ankles, middle(rest)), (middle(rest), rest["neck"])):
        lean = np.degrees(np.arccos((above - below) @ upward / max(np.linalg.norm(above - below), 1e-12)))
        if not lean < LEAN:
            raise PoseFactoryError(
                "its rest pose is not that of a person who stands; export it with a T-pose or an A-pose as rest pose"
            )
    across = rest["left_hip"] - rest["right_hip"] + rest["left_shoulder"] - rest["right_shoulder"]
    left = across - (across @ upward) * upward
    left /= np.linalg.norm(left)
    return np.stack([left, np.cross(upward, left), upward])


def _place_at(place: np.ndarray, shown: playback.Playback) -> np.ndarray:
    numbers = np.arange(len(place))
    now = np.stack([np.interp(shown.frame, numbers, along) for along in place.T], axis=1)
    return now + shown.closing[:, None] * (place[0] - now)


def _turn_at(turn: np.ndarray, shown: playback.Playback) -> np.ndarray:
    turns = Rotation.from_matrix(turn)
    now = Slerp(np.arange(len(turn)), turns)(shown.frame) if len(turn) > 1 else turns[np.zeros(len(shown.frame), int)]
    closing = shown.closing[:, None] * (turns[0] * now.inv()).as_rotvec()
    return (Rotation.from_rotvec(closing) * now).as_matrix()
