"""A recording put onto a body of other proportions: limbs point where they pointed, feet stay where they stood.

Every part of the body is turned as in the recording, from a rest pose in which its limbs point as the recording's do:
upper arms, forearms, thighs and shins so keep their directions exactly, and their twist. Hips travel as far as legs are
long. On other proportions feet would now slide and leave the floor a little, so where they carry weight they are held:
the whole body moves, and thighs and shins turn by BEND at most, as a least squares solution over all frames has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import sparse
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.sparse.linalg import spsolve
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from pose_factory import rigs
from pose_factory.bodies.anny_body import Body
from pose_factory.bodies.kinematics import Motion, between, continuous, unit
from pose_factory.retargeting import contacts
from pose_factory.retargeting.contacts import Foot, feet
from pose_factory.retargeting.recording import LIMBS, SIDES, Recording, leg_length, middle

BEND, MOST_TILT, MOST_PITCH = 1.8, 4.0, 15.0
"""Degrees that thighs and shins, the pelvis and feet may turn away from the recording's to hold feet."""
ROUNDS = 6
"""How often the solution is found, each time with more weight on what it must not do."""
RATE = 30.0
"""Frames a second that what is said of frames below is for."""
# What the solution may be off by in each respect, for the same cost.
SLIDE = 0.0002  # metres a frame, of a foot that is held
LIFT, SINK = 0.002, 0.001  # metres that it is off the floor, and that any foot is below it
TURN = np.radians(0.7)  # of thighs and shins
TILT, PITCH = np.radians(1.0), np.radians(3.0)  # of the pelvis; of feet
SWAY, JOLT, SHAKE = 0.004, 0.0015, np.radians(0.25)  # metres a frame of the body; their change; a turn's, likewise
ASTRAY = 10.0  # metres that the body is moved by
EASE = 0.1
"""Seconds to either side over which the body is raised for a frame with a foot below the floor."""
HOVER = 0.015
"""Of the leg: what the recording holds so far above its floor stands on it; from twice that on it is in the air."""


@dataclass(frozen=True)
class _Rest:
    """A body at rest, in a recording's terms: where joints are {name: (3,)}, and the bones of its parts."""

    joints: Mapping[str, np.ndarray]
    chains: Mapping[str, list[int]]

    def bone(self, part: str) -> int:
        return self.chains[part][0]


def retarget(recording: Recording, body: Body) -> Motion:
    """The recording's motion on `body`, frame by frame; the hips of the first frame are above the origin.

    Raises PoseFactoryError if the body's bones are those of no rig that is known.
    """
    rest = _rest(body)
    turned = _turned(recording, rest)
    scale = leg_length(rest.joints) / leg_length(recording.rest)
    touched = feet(recording)
    hips = middle(recording.places)
    hips = scale * (hips - [*hips[0, :2], touched["left"].floor])
    legs = [_Leg.of(side, body, rest, recording, turned, touched[side], hips, scale) for side in SIDES]
    move, tilt = _hold(legs, recording.fps)
    for leg in legs:
        leg.turn(turned)
    pelvis = Rotation.from_rotvec(tilt).as_matrix() @ turned[0]
    turned |= dict.fromkeys((0, *rest.chains["pelvis"]), pelvis)
    root = hips + move + pelvis @ (body.heads[0] - middle(rest.joints))
    return Motion(_local(body, turned), root, {side: foot.planted for side, foot in touched.items()})


def _rest(body: Body) -> _Rest:
    match = rigs.detect(body.bones)
    index = {bone: number for number, bone in enumerate(body.bones)}
    chains = {part: [index[bone] for bone in bones] for part, bones in match.chains.items()}
    joints = {joint: body.heads[index[bone]] for joint, (bone, end) in match.joints.items() if end == "head"}
    return _Rest({part: body.heads[bones[0]] for part, bones in chains.items()} | joints, chains)


# ---- turning -------------------------------------------------------------------------------------------------------


def _turned(recording: Recording, rest: _Rest) -> dict[int, np.ndarray]:
    """{bone: (N, 3, 3) how it is turned from rest, in world axes}; bones that are not in it follow their parents."""
    turns, chains = recording.turns, rest.chains
    turned = dict.fromkeys((0, *chains["pelvis"]), turns["pelvis"])
    if "trunk" in turns and "trunk" in chains:
        for number, bone in enumerate(chains["trunk"], 1):
            turned[bone] = between(turns["pelvis"], turns["trunk"], number / len(chains["trunk"]))
    for part in ("neck", "head", "left_collar", "right_collar"):
        if part in turns and part in chains:
            turned[rest.bone(part)] = turns[part]
    for side in SIDES:
        for limb in (("upper_arm", "forearm"), ("thigh", "shin")):
            aligned = np.eye(3)
            for part in limb:
                start, end = (f"{side}_{joint}" for joint in LIMBS[part])
                own = rest.joints[end] - rest.joints[start]
                aligned = _arc(aligned @ own, recording.rest[end] - recording.rest[start]) @ aligned
                turn = turns[f"{side}_{part}"] @ aligned
                # Twist bones, and joints that move on their own, do not point exactly where the limb does.
                along = recording.places[end] - recording.places[start]
                turned[rest.bone(f"{side}_{part}")] = _arc(turn @ own, along) @ turn
            if "forearm" in limb:
                _turn_hand(recording, rest, side, aligned, turned)
        _turn_foot(recording, rest, side, turned)
    return turned


def _turn_hand(recording: Recording, rest: _Rest, side: str, aligned: np.ndarray, turned: dict) -> None:
    """A hand whose palm faces where the recording's does, as far as the fingers tell, and its fingers."""
    palms = [_palm(joints, side) for joints in (rest.joints, recording.rest)]
    if all(palm is not None for palm in palms):
        aligned = palms[1] @ palms[0].T
    turned[rest.bone(f"{side}_hand")] = recording.turns[f"{side}_hand"] @ aligned
    for finger in rigs.FINGERS:
        for number, bone in enumerate(rest.chains.get(f"{side}_{finger}", [])):
            if (turn := recording.turns.get(f"{side}_{finger} {number}")) is not None:
                turned[bone] = turn @ aligned


def _palm(joints: Mapping[str, np.ndarray], side: str) -> np.ndarray | None:
    """(3, 3) axes of a hand at rest as columns: along the palm, across it, away from it; None without fingers."""
    names = [f"{side}_{name}" for name in ("wrist", "index", "pinky")]
    if not all(name in joints for name in names):
        return None
    wrist, index, pinky = (joints[name] for name in names)
    along, across = (index + pinky) / 2 - wrist, index - pinky
    away = unit(np.cross(along, across))
    return np.stack([unit(along), np.cross(away, unit(along)), away], axis=1)


def _turn_foot(recording: Recording, rest: _Rest, side: str, turned: dict) -> None:
    """A foot that points where the recording's does. At rest both stand flat on their soles, however high their ankles
    are, so they are aligned about the vertical only."""
    ways = [
        joints.get(f"{side}_foot", joints[f"{side}_ankle"]) - joints[f"{side}_ankle"]
        for joints in (rest.joints, recording.rest)
    ]
    flat = [way * [1, 1, 0] for way in ways]
    known = all(np.linalg.norm(along) > 0.3 * np.linalg.norm(way) > 0 for along, way in zip(flat, ways, strict=True))
    aligned = _arc(*flat) if known else np.eye(3)
    for part in (f"{side}_foot", f"{side}_toes"):
        if part in recording.turns and part in rest.chains:
            turned[rest.bone(part)] = recording.turns[part] @ aligned


def _local(body: Body, turned: Mapping[int, np.ndarray]) -> np.ndarray:
    """(N, B, 4) quaternions of each bone in its own rest axes."""
    frames = len(next(iter(turned.values())))
    world = np.empty((frames, len(body.bones), 3, 3))
    local = np.empty_like(world)
    for bone, parent in enumerate(body.parents):
        above = world[:, parent] if parent >= 0 else np.broadcast_to(np.eye(3), (frames, 3, 3))
        world[:, bone] = turned.get(bone, above)
        axes = body.orientations[bone]
        local[:, bone] = axes.T @ above.transpose(0, 2, 1) @ world[:, bone] @ axes
    quaternions = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_quat().reshape(*local.shape[:2], 4)
    return continuous(quaternions[..., [3, 0, 1, 2]])


# ---- holding feet --------------------------------------------------------------------------------------------------


@dataclass
class _Leg:
    """One leg over N frames, metres, as it would be without holding its foot, and how much it turns to do so.

    bones, lengths, directions (2, N, 3): of thigh and shin; across (2, N, 3, 2): two axes perpendicular to each; hip
    (N, 3): from midway between the hips; ankle (N, 3); foot, toes (N, 3, 3): their turns from rest; pitch (N, 3): the
    axis about which the foot pitches; points (P, 3): contacts.points of the foot; parts: the heel's and the front's
    points at rest, relative to what they turn about; settled (N, P): how surely those of the recording are on the
    floor, 0 to 1; anchors, steps: contacts.Foot.anchors, scaled. bent (2, N, 2) is how far thigh and shin turn along
    `across`, and pitched (N,) how far the foot does, radians.
    """

    side: str
    bones: tuple[int, int, int]
    lengths: list[float]
    directions: np.ndarray
    across: np.ndarray
    hip: np.ndarray
    ankle: np.ndarray
    foot: np.ndarray
    toes: np.ndarray
    pitch: np.ndarray
    points: np.ndarray
    parts: list[np.ndarray]
    settled: np.ndarray
    anchors: np.ndarray
    steps: np.ndarray
    bent: np.ndarray
    pitched: np.ndarray

    @classmethod
    def of(cls, side, body, rest, recording, turned, touched: Foot, hips, scale: float) -> "_Leg":
        joints = [rest.joints[f"{side}_{name}"] for name in ("hip", "knee", "ankle")]
        bones = [rest.bone(f"{side}_{part}") for part in ("thigh", "shin", "foot")]
        ways = [end - start for start, end in pairwise(joints)]
        reaches = [turned[bone] @ way for bone, way in zip(bones, ways, strict=False)]
        directions = np.stack([unit(reach) for reach in reaches])
        hip = turned[rest.bone("pelvis")] @ (joints[0] - middle(rest.joints))
        foot = turned[bones[2]]
        of_foot = contacts.points(rest.joints, side)
        anchors, steps = touched.anchors()
        settled = touched.touching * _settled(touched.height / (HOVER * leg_length(recording.rest)))
        return cls(
            side=side,
            bones=tuple(bones),
            lengths=[float(np.linalg.norm(way)) for way in ways],
            directions=directions,
            across=_across(directions),
            hip=hip,
            ankle=hips + hip + sum(reaches),
            foot=foot,
            toes=turned.get(rest.chains.get(f"{side}_toes", [-1])[0], foot),
            pitch=foot @ unit(np.cross([0, 0, 1.0], of_foot[-1] * [1, 1, 0] + [0, -1e-9, 0])),
            points=of_foot,
            parts=_soles(body, rest, side),
            settled=settled[:, : len(of_foot)],
            anchors=np.minimum(anchors, len(of_foot) - 1),
            steps=min(scale, 1.0) * steps,
            bent=np.zeros((*directions.shape[:2], 2)),
            pitched=np.zeros(len(foot)),
        )

    def turned_foot(self) -> np.ndarray:
        """(N, 3, 3) the foot's turn from rest with its pitch."""
        return Rotation.from_rotvec(self.pitched[:, None] * self.pitch).as_matrix() @ self.foot

    def paths(self) -> np.ndarray:
        """(N, P, 3) the foot's points, pitched, from the ankle."""
        return self.points @ self.turned_foot().transpose(0, 2, 1)

    def lowest(self) -> np.ndarray:
        """(N, 2) how high the lowest points of heel and front are, the foot pitched."""
        foot = self.turned_foot()
        heel = (self.parts[0] @ foot.transpose(0, 2, 1))[..., 2].min(axis=1)
        front = (foot @ self.points[-1])[:, 2] + (self.parts[1] @ self.toes.transpose(0, 2, 1))[..., 2].min(axis=1)
        return self.ankle[:, 2:] + np.stack([heel, front], axis=1)

    def turn(self, turned: dict[int, np.ndarray]) -> None:
        """Turn thigh, shin and foot."""
        aside = (self.across @ self.bent[..., None])[..., 0]
        for bone, direction, shift in zip(self.bones, self.directions, aside, strict=False):
            turned[bone] = _arc(direction, direction + shift) @ turned[bone]
        turned[self.bones[2]] = self.turned_foot()


def _settled(height: np.ndarray) -> np.ndarray:
    """How surely what is at a height is on the floor: 1 up to a height of 1, less up to 2, and 0 from there on."""
    share = np.clip(2 - height, 0, 1)
    return share**2 * (3 - 2 * share)


def _soles(body: Body, rest: _Rest, side: str) -> list[np.ndarray]:
    """The corners of the sole at rest that turn with the foot, from the ankle, and with the toes, from their base."""
    ankle = rest.joints[f"{side}_ankle"]
    low = body.vertices[:, 2] < ankle[2]
    found = []
    for part, pivot in (("foot", ankle), ("toes", rest.joints.get(f"{side}_foot", ankle))):
        points = body.vertices[low & (body.weights[:, rest.chains.get(f"{side}_{part}", [])].sum(axis=1) > 0.5)] - pivot
        found.append(points[ConvexHull(points).vertices] if len(points) > 3 else -pivot[None] * [0, 0, 1])
    return found


def _hold(legs: list[_Leg], fps: float) -> tuple[np.ndarray, np.ndarray]:
    """How to move the body (N, 3), metres, and to turn the pelvis (N, 3), as rotation vectors, so that feet on the
    floor stay where they are and none is below it; sets the turns of the legs.

    All is linear in angles as small as these, but for a foot's pitch, about which it is made linear in each round.
    """
    frames = len(legs[0].ankle)
    width = 6 + 5 * len(legs)
    unknowns = np.broadcast_to(np.eye(width), (frames, width, width))
    move, tilt = unknowns[:, :3], unknowns[:, 3:6]
    bend = [[unknowns[:, 6 + 5 * n + 2 * k : 8 + 5 * n + 2 * k] for k in (0, 1)] for n in range(len(legs))]
    pitch = [unknowns[:, 10 + 5 * n] for n in range(len(legs))]
    aside = [[leg.across[k] @ of_leg[k] for k in (0, 1)] for leg, of_leg in zip(legs, bend, strict=True)]
    goes = [
        move - _cross(leg.hip) @ tilt + leg.lengths[0] * thigh + leg.lengths[1] * shin
        for leg, (thigh, shin) in zip(legs, aside, strict=True)
    ]
    pace = RATE / fps
    once, twice = _differences(frames, 1), _differences(frames, 2)
    steady = _System()
    steady.add(_every(move), 0, ASTRAY)
    steady.add(_each(once, 3) @ _every(move), 0, SWAY * pace)
    steady.add(_each(twice, 3) @ _every(move), 0, JOLT * pace**2)
    for turning in (tilt, *(shift for of_leg in aside for shift in of_leg)):
        steady.add(_each(twice, 3) @ _every(turning), 0, SHAKE * pace**2)
    for turning in pitch:
        steady.add(twice @ _every(turning[:, None]), 0, PITCH / TURN * SHAKE * pace**2)
    # What turns, how far it may for what cost and at most, and how much dearer that has become where it is too much.
    turns = [(tilt, TILT, MOST_TILT), *((chosen, TURN, BEND) for of_leg in bend for chosen in of_leg)]
    turns += [(turning[:, None], PITCH, MOST_PITCH) for turning in pitch]
    dearer = np.ones((len(turns), frames))
    sunk = [np.zeros((frames, 2), bool) for _ in legs]
    solution = np.zeros((frames, width))
    for _ in range(ROUNDS):
        system = steady.copy()
        for (turning, tolerance, _), factor in zip(turns, dearer, strict=True):
            system.add(_every(turning), 0, np.repeat(tolerance / factor, turning.shape[1]))
        for leg, gone, turning, below in zip(legs, goes, pitch, sunk, strict=True):
            _hold_foot(system, leg, gone, turning, below, pace)
        solution = system.solve().reshape(frames, width)
        for (turning, _, most), factor in zip(turns, dearer, strict=True):
            angle = np.linalg.norm((turning @ solution[..., None])[..., 0], axis=1)
            factor *= np.maximum(angle / (0.95 * np.radians(most)), 1.0) ** 2
            limited = np.minimum(np.radians(most) / np.maximum(angle, 1e-12), 1.0)
            solution *= np.where(turning.any(axis=1), limited[:, None], 1.0)
        for leg, of_leg, turning, gone, below in zip(legs, bend, pitch, goes, sunk, strict=True):
            leg.bent = np.stack([(chosen @ solution[..., None])[..., 0] for chosen in of_leg])
            leg.pitched = (turning * solution).sum(axis=1)
            below |= leg.lowest() + (gone[:, 2] * solution).sum(axis=1)[:, None] < 0
    move = solution[:, :3] + np.array([0, 0, 1]) * _lift(legs, goes, solution, fps)[:, None]
    return move, solution[:, 3:6]


def _lift(legs: list[_Leg], goes: list[np.ndarray], solution: np.ndarray, fps: float) -> np.ndarray:
    """(N,) how far to raise the body where feet still are further below the floor than SINK: evenly up and down again,
    so that the few frames in which nothing else helps do not raise all."""
    lowest = [
        leg.lowest().min(axis=1) + (gone[:, 2] * solution).sum(axis=1) for leg, gone in zip(legs, goes, strict=True)
    ]
    deep = np.maximum(-np.min(lowest, axis=0) - SINK, 0)
    window = 2 * round(EASE * fps) + 1
    return uniform_filter1d(maximum_filter1d(deep, window, mode="nearest"), window, mode="nearest")


def _hold_foot(
    system: "_System", leg: _Leg, gone: np.ndarray, pitch: np.ndarray, sunk: np.ndarray, pace: float
) -> None:
    """Add what a foot is to do: `gone` (N, 3, U) is where the U unknowns take its ankle, `pitch` (N, U) picks its
    pitch; `sunk` (N, 2) is where heel and front would be below the floor."""
    frames = len(gone)
    paths, lowest = leg.paths(), leg.lowest()
    levers = np.cross(leg.pitch[:, None], paths)  # (N, P, 3) where a pitch of one radian takes each point
    moves = [gone + levers[:, point, :, None] * pitch[:, None] for point in range(paths.shape[1])]
    known = levers * leg.pitched[:, None, None]
    natural = np.diff(leg.ankle[:, None] + paths - known, axis=0)[..., :2]
    once = _differences(frames, 1)
    for point, settled in enumerate(leg.settled.T):
        stands = leg.anchors == point
        steps = (_each(once, 2) @ _every(moves[point][:, :2]))[np.repeat(stands, 2)]
        system.add(steps, (leg.steps - natural[:, point])[stands].ravel(), SLIDE * pace)
        on_floor = settled > 0
        heights = _every(moves[point][:, 2:])[on_floor]
        system.add(heights, (known[:, point, 2] - lowest[:, point])[on_floor], LIFT / settled[on_floor])
    for point, below in enumerate(sunk.T[: paths.shape[1]]):
        heights = _every(moves[point][:, 2:])[below]
        system.add(heights, (known[:, point, 2] - lowest[:, point])[below], SINK)


class _System:
    """Linear equations of which the sum of the squared errors, each in terms of its own tolerance, is to be least."""

    def __init__(self, rows: tuple = (), values: tuple = ()):
        self._rows, self._values = list(rows), list(values)

    def copy(self) -> "_System":
        return _System(tuple(self._rows), tuple(self._values))

    def add(self, rows: sparse.csr_array, values, tolerance) -> None:
        weights = 1 / np.broadcast_to(tolerance, rows.shape[0])
        self._rows.append(sparse.diags_array(weights) @ rows)
        self._values.append(weights * values)

    def solve(self) -> np.ndarray:
        rows, values = sparse.vstack(self._rows), np.concatenate(self._values)
        # Unknowns of a frame meet those of two frames around it only, so their order keeps the factors narrow.
        return spsolve((rows.T @ rows).tocsc(), rows.T @ values, permc_spec="NATURAL")


def _every(rows: np.ndarray) -> sparse.csr_array:
    """(N k, N m) the k equations (N, k, m) in the m unknowns of each frame."""
    frames, k, m = rows.shape
    blocks = sparse.bsr_array((rows, np.arange(frames), np.arange(frames + 1)), shape=(frames * k, frames * m))
    equations = sparse.csr_array(blocks)
    equations.eliminate_zeros()
    return equations


def _each(differences: sparse.csr_array, size: int) -> sparse.csr_array:
    """The differences of `size` numbers a frame."""
    return sparse.csr_array(sparse.kron(differences, sparse.eye_array(size)))


def _differences(frames: int, order: int) -> sparse.csr_array:
    """(max(N - order, 0), N) the first or second differences of N numbers."""
    matrix = sparse.csr_array(sparse.eye_array(frames))
    for _ in range(order):
        matrix = matrix[1:] - matrix[:-1]
    return matrix


# ---- small mathematics ---------------------------------------------------------------------------------------------


def _cross(vectors: np.ndarray) -> np.ndarray:
    """(..., 3, 3) matrices that multiply by vectors (..., 3) as the cross product does."""
    return np.cross(vectors[..., None, :], np.eye(3)).swapaxes(-1, -2)


def _across(directions: np.ndarray) -> np.ndarray:
    """(..., 3, 2) two unit vectors, as columns, perpendicular to unit vectors (..., 3) and each other."""
    reference = np.eye(3)[np.argmin(np.abs(directions), axis=-1)]
    first = unit(np.cross(directions, reference))
    return np.stack([first, np.cross(directions, first)], axis=-1)


def _arc(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(..., 3, 3) the least turn that takes the direction of `start` (..., 3) to that of `end`; opposite ones are
    turned about an axis as near to forward as can be."""
    start, end = np.broadcast_arrays(unit(start), unit(end))
    axis = np.cross(start, end)
    sine, cosine = np.linalg.norm(axis, axis=-1, keepdims=True), np.sum(start * end, axis=-1, keepdims=True)
    forward = np.array([0.0, -1.0, 1e-3])
    spare = forward - np.sum(forward * start, axis=-1, keepdims=True) * start
    opposite = (sine < 1e-9) & (cosine < 0)
    axis = np.where(opposite, unit(spare), axis / np.maximum(sine, 1e-30))
    vectors = np.arctan2(sine, cosine) * axis
    return Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*start.shape, 3)
