"""From the angles that anatomy measures joints by to the rotations of a body's bones.

In degrees, all zero for a body that stands upright with straight legs side by side and straight arms hanging, thumbs to
the front. Those of the two sides mirror each other:

- pelvis: pitch forwards, roll to the left, yaw to the left, of the whole body in the world, in this order;
- trunk, on top of that: bend forwards, lean to the left, twist to the left; head, on top of the trunk: nod, tilt, turn,
  alike;
- arm, against the chest: flex forwards, abduct sideways, rotate outwards about its own length; elbow; pronate (the
  thumb turns inwards); wrist, to the palm's side; shrug lifts the collar bone beyond what a lifted arm does by itself;
  curl of each finger's joint;
- leg, against the pelvis: flex, abduct, rotate; knee; ankle, toes to the shin; toes, bent up.

Flexion comes last, about the axis through both hips or both shoulders, as in the joint coordinate system of Grood and
Suntay (1983) that Wu et al. (2002, 2005) recommend: a leg flexed by 90 and abducted by 45 degrees is horizontal.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from pose_factory.bodies.anny_body import SIDES, Body
from pose_factory.bodies.kinematics import axes, euler, unit

GROUPS = {
    "pelvis": {"pitch": 0.0, "roll": 0.0, "yaw": 0.0},
    "trunk": {"bend": 2.0, "lean": 0.0, "twist": 0.0},
    "head": {"nod": 2.0, "tilt": 0.0, "turn": 0.0},
    "arm": {
        "flex": 2.0,
        "abduct": 8.0,
        "rotate": 0.0,
        "elbow": 14.0,
        "pronate": 25.0,
        "wrist": 4.0,
        "shrug": 0.0,
        "curl": 17.0,
    },
    "leg": {"flex": 2.0, "abduct": 3.0, "rotate": 6.0, "knee": 5.0, "ankle": 3.0, "toes": 0.0},
}
"""Each group's angles, and how they are at ease."""
CHANNELS = {
    f"{group if group in ('pelvis', 'trunk', 'head') else f'{side}_{group}'}.{angle}": value
    for group, angles in GROUPS.items()
    for side in (SIDES if group in ("arm", "leg") else ("",))
    for angle, value in angles.items()
}
RANGES = {
    "pelvis.pitch": (-360, 360),
    "pelvis.roll": (-360, 360),
    "pelvis.yaw": (-360, 360),
    "trunk.bend": (-50, 75),
    "trunk.lean": (-40, 40),
    "trunk.twist": (-45, 45),
    "head.nod": (-60, 62),
    "head.tilt": (-45, 45),
    "head.turn": (-80, 80),
    "arm.flex": (-60, 185),
    "arm.abduct": (-45, 180),
    "arm.rotate": (-80, 90),
    "arm.elbow": (0, 148),
    "arm.pronate": (-85, 85),
    "arm.wrist": (-86, 80),
    "arm.shrug": (-10, 30),
    "arm.curl": (-20, 90),
    "leg.flex": (-32, 130),
    "leg.abduct": (-30, 62),
    "leg.rotate": (-45, 50),
    "leg.knee": (0, 152),
    "leg.ankle": (-55, 35),
    "leg.toes": (-40, 65),
}
"""Degrees that healthy adults reach, in round numbers: the norms of the American Academy of Orthopaedic Surgeons (1965)
and of Soucie et al. (2011, 'Range of motion measurements: reference values'), widened by about 10 as in fitting's
limits.json; of legs that are flexed, abducted and turned out at once, what such sums of angles come to."""
EXTREME = {"trunk.bend": (-62, 85), "leg.flex": (-70, 145), "leg.abduct": (-30, 88), "leg.rotate": (-45, 65)}
"""What the limber reach: dancers and gymnasts."""
FOOT = {"leg.tilt": (-30, 45), "leg.turn": (-25, 25)}
"""Of a foot against its shin, which no key names: the sole turned inwards (the Academy's 35 of inversion and 20 of
eversion, widened alike), and the toes outwards, for which there is no norm: what gives with it."""
FLAT = -20.0
"""The curl of a flat hand."""
FINGERS = ("Index", "Middle", "Ring", "Pinky")
DOWN, RIGHT = np.array([0.0, 0.0, -1.0]), np.array([-1.0, 0.0, 0.0])
RHYTHM = 0.3  # of each degree that an arm is lifted beyond RHYTHM_FROM its collar bone does (Inman et al. 1944)
RHYTHM_FROM = 45.0
NEARING = 8  # rounds of `nearest`, which the tests compare with a grid


def rotations(body: Body, angles: dict[str, np.ndarray]) -> np.ndarray:
    """(N, B, 3, 3) the turn of each bone from its rest orientation on top of its parent's, in world axes at rest.

    angles {channel: (N,) degrees} with all of CHANNELS.
    """
    frames = len(next(iter(angles.values())))
    turned = {"Hips": _turn(angles, "pelvis", "pitch", "roll", "yaw")}
    third = euler(*(angles[f"trunk.{angle}"] / 3 for angle in ("bend", "lean", "twist")))
    half = euler(*(angles[f"head.{angle}"] / 2 for angle in ("nod", "tilt", "turn")))
    for below, bone, turn in (
        ("Hips", "Spine", third),
        ("Spine", "Spine1", third),
        ("Spine1", "Spine2", third),
        ("Spine2", "Neck", half),
        ("Neck", "Head", half),
    ):
        turned[bone] = turned[below] @ turn
    for side, sign in SIDES.items():
        of_side = {key.partition(".")[2]: value for key, value in angles.items() if key.startswith(f"{side}_arm")}
        turned |= _arm(body, side, sign, turned["Spine2"], of_side)
        of_side = {key.partition(".")[2]: value for key, value in angles.items() if key.startswith(f"{side}_leg")}
        turned |= _leg(body, side, sign, turned["Hips"], of_side)
    world = np.empty((frames, len(body.bones), 3, 3))
    local = np.empty_like(world)
    curls = {side: curled(body, side, angles[f"{side}_arm.curl"]) for side in SIDES}
    fingers = curls["left"] | curls["right"]
    for bone, parent in enumerate(body.parents):
        name = body.bones[bone].partition(":")[2]
        above = world[:, parent] if parent >= 0 else np.broadcast_to(np.eye(3), (frames, 3, 3))
        world[:, bone] = turned[name] if name in turned else above @ fingers.get(name, np.eye(3))
        local[:, bone] = above.transpose(0, 2, 1) @ world[:, bone]
    return local


def hinge(body: Body, bone: str) -> np.ndarray:
    """(3,) the axis that a knee (UpLeg's child) or an elbow bends about, at rest: positive for bending."""
    side, part = (
        ("Left", bone.removeprefix("Left")) if bone.startswith("Left") else ("Right", bone.removeprefix("Right"))
    )
    if part == "ForeArm":
        return _elbow_hinge(body, side)
    if part == "Leg":
        return -_knee_hinge(body, side)
    return np.array([-1.0, 0.0, 0.0])  # toes


def palm(body: Body, side: str) -> np.ndarray:
    """(3, 3) the rotation that takes a hand from its rest orientation to hanging straight, its thumb to the front."""
    at = body.heads
    hand, index, middle, little = (
        at[body.bone(f"{side.title()}Hand{part}")] for part in ("", "Index1", "Middle1", "Pinky1")
    )
    across = index - little
    return axes(DOWN, np.array([0.0, -1.0, 0.0])) @ axes(middle - hand, across).T


@dataclass(frozen=True)
class Ball:
    """A joint that turns about three axes, within ranges. Its rotation from anatomy's zero is `before` @ what its
    `chain` of bones has on top of their parents' @ `after`; `low` and `high` (3,) are radians of its angles about x, y
    and z, in this order."""

    chain: list[int]
    before: np.ndarray
    after: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def excess(self, local: np.ndarray) -> np.ndarray:
        """(N, 3) the shortest turn that brings it back into its ranges, a rotation vector in the axes of the last bone
        of the chain, for `local` (N, B, 3, 3); zero within."""
        turned = np.broadcast_to(self.before, (len(local), 3, 3))
        for bone in self.chain:
            turned = turned @ local[:, bone]
        turned = turned @ self.after
        angles = _angles(turned)
        beyond = (np.sin((_within(angles, self.low, self.high) - angles) / 2) ** 2 > 1e-12).any(axis=1)
        excess = np.zeros((len(local), 3))
        if beyond.any():
            allowed = Rotation.from_euler("XYZ", nearest(turned[beyond], self.low, self.high)).as_matrix()
            back = turned[beyond].transpose(0, 2, 1) @ allowed
            excess[beyond] = Rotation.from_matrix(back).as_rotvec() @ self.after.T
        return excess


def balls(body: Body, limber: bool) -> list[Ball]:
    """Hips, shoulders (against the chest) and feet."""
    ranges = RANGES | FOOT | (EXTREME if limber else {})
    found = []
    for side, sign in SIDES.items():
        name = side.title()
        hip, knee, ankle, upper, fore = (
            body.heads[body.bone(f"{name}{part}")] for part in ("UpLeg", "Leg", "Foot", "Arm", "ForeArm")
        )
        thigh = axes(knee - hip, _knee_hinge(body, name)) @ axes(DOWN, RIGHT).T
        shin = axes(ankle - knee, _knee_hinge(body, name)) @ axes(DOWN, RIGHT).T
        arm = axes(fore - upper, _elbow_hinge(body, name)) @ axes(DOWN, RIGHT).T
        for chain, before, after, angles, signs in (
            (("UpLeg",), np.eye(3), thigh, ("leg.flex", "leg.abduct", "leg.rotate"), (-1, -sign, sign)),
            (("Foot",), shin.T, np.eye(3), ("leg.ankle", "leg.tilt", "leg.turn"), (-1, sign, sign)),
            (("Shoulder", "Arm"), np.eye(3), arm, ("arm.flex", "arm.abduct", "arm.rotate"), (-1, -sign, sign)),
        ):
            ends = np.radians([ranges[angle] for angle in angles]) * np.array(signs)[:, None]
            bones = [body.bone(f"{name}{bone}") for bone in chain]
            found.append(Ball(bones, before, after, ends.min(axis=1), ends.max(axis=1)))
    return found


def nearest(turned: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(N, 3) the angles about x, y and z, in this order and from `low` to `high` (3,), radians, of the rotation that is
    nearest to `turned` (N, 3, 3).

    One angle after the other, each of which has a closed form, from the angles of `turned` and from their other values:
    single angles would say little where y is near a right angle, and x and z turn about the same line.
    """
    first, best = _angles(turned), None
    for angles in (first, first * [1, -1, 1] + np.pi):
        angles = _within(angles, low, high)
        parts = [_about("xyz"[axis], angles[:, axis], degrees=False) for axis in range(3)]
        for _ in range(NEARING):
            for axis in range(3):
                before = [np.eye(3), parts[0], parts[0] @ parts[1]][axis]
                after = [parts[1] @ parts[2], parts[2], np.eye(3)][axis]
                rest = after @ turned.transpose(0, 2, 1) @ before
                i, j = (axis + 1) % 3, (axis + 2) % 3
                free = np.arctan2(rest[:, i, j] - rest[:, j, i], rest[:, i, i] + rest[:, j, j])
                angles[:, axis] = _within(free, low[axis], high[axis])
                parts[axis] = _about("xyz"[axis], angles[:, axis], degrees=False)
        like = np.einsum("nij,nij->n", parts[0] @ parts[1] @ parts[2], turned)
        best = (angles, like) if best is None else (np.where((like > best[1])[:, None], angles, best[0]), like)
    return best[0]


def _angles(turned: np.ndarray) -> np.ndarray:
    """(N, 3) radians about x, y and z, in this order, of rotations (N, 3, 3)."""
    return np.stack(
        [
            np.arctan2(-turned[:, 1, 2], turned[:, 2, 2]),
            np.arcsin(np.clip(turned[:, 0, 2], -1, 1)),
            np.arctan2(-turned[:, 0, 1], turned[:, 0, 0]),
        ],
        axis=1,
    )


def _within(angles: np.ndarray, low, high) -> np.ndarray:
    """Angles (N,) or (N, 3), radians, or the nearer end of their range, the short way around."""
    middle = (low + high) / 2
    angles = angles - 2 * np.pi * np.round((angles - middle) / (2 * np.pi))
    return np.clip(angles, low, high)


def _turn(angles, group: str, *names: str) -> np.ndarray:
    return euler(*(angles[f"{group}.{name}"] for name in names))


def _about(axis: str, angles, degrees: bool = True) -> np.ndarray:
    return Rotation.from_euler(axis, np.asarray(angles)[:, None], degrees=degrees).as_matrix()


def _ball(sign: float, angles: dict[str, np.ndarray]) -> np.ndarray:
    """(N, 3, 3) a hip or a shoulder, from anatomy's zero."""
    return _about("x", -angles["flex"]) @ _about("y", -sign * angles["abduct"]) @ _about("z", sign * angles["rotate"])


def _arm(body: Body, side: str, sign: float, chest: np.ndarray, angles: dict[str, np.ndarray]) -> dict:
    name = side.title()
    upper, fore, hand = (body.heads[body.bone(f"{name}{part}")] for part in ("Arm", "ForeArm", "Hand"))
    bend = _elbow_hinge(body, name)
    shoulder = _ball(sign, angles)
    flexed = chest @ shoulder @ _about("x", -angles["elbow"])
    half = _about("z", -0.5 * sign * angles["pronate"])
    lifted = np.degrees(np.arccos(np.clip(-(shoulder @ DOWN)[:, 2], -1, 1)))
    lift = angles["shrug"] + RHYTHM * np.clip(lifted - RHYTHM_FROM, 0, None)
    reach = 12.0 * np.clip(-(shoulder @ DOWN)[:, 1], -0.7, 1)  # forwards, the shoulder blade slides around the ribs
    return {
        f"{name}Shoulder": chest @ euler(roll=-sign * lift, yaw=-sign * reach),
        f"{name}Arm": chest @ shoulder @ axes(DOWN, RIGHT) @ axes(fore - upper, bend).T,
        f"{name}ForeArm": flexed @ half @ axes(DOWN, RIGHT) @ axes(hand - fore, bend).T,
        f"{name}Hand": flexed @ half @ half @ _about("y", sign * angles["wrist"]) @ palm(body, side),
    }


def _leg(body: Body, side: str, sign: float, pelvis: np.ndarray, angles: dict[str, np.ndarray]) -> dict:
    name = side.title()
    hip, knee, ankle = (body.heads[body.bone(f"{name}{part}")] for part in ("UpLeg", "Leg", "Foot"))
    bend = _knee_hinge(body, name)
    thigh = pelvis @ _ball(sign, angles)
    shin = thigh @ _about("x", angles["knee"])
    foot = shin @ _about("x", -angles["ankle"])
    return {
        f"{name}UpLeg": thigh @ axes(DOWN, RIGHT) @ axes(knee - hip, bend).T,
        f"{name}Leg": shin @ axes(DOWN, RIGHT) @ axes(ankle - knee, bend).T,
        f"{name}Foot": foot,
        f"{name}ToeBase": foot @ _about("x", -angles["toes"]),
    }


def _elbow_hinge(body: Body, name: str) -> np.ndarray:
    upper, fore, hand = (body.heads[body.bone(f"{name}{part}")] for part in ("Arm", "ForeArm", "Hand"))
    return unit(np.cross(fore - upper, hand - fore))


def _knee_hinge(body: Body, name: str) -> np.ndarray:
    hip, ankle = (body.heads[body.bone(f"{name}{part}")] for part in ("UpLeg", "Foot"))
    return unit(np.cross(ankle - hip, [0.0, -1.0, 0.0]))


def curled(body: Body, side: str, degrees: np.ndarray) -> dict[str, np.ndarray]:
    """{finger bone: (N, 3, 3)} for `degrees` (N,) of curl. From 0 up the fingers come half way to the middle one and
    each joint is bent so far, about the axis that the fingers of the rest pose bend about; FLAT is a flat hand."""
    heads, tails, name = body.heads, body.tails, side.title()
    at = {finger: [body.bone(f"{name}Hand{finger}{joint}") for joint in (1, 2, 3)] for finger in (*FINGERS, "Thumb")}
    along = {finger: unit(tails[bones] - heads[bones]) for finger, bones in at.items()}
    normal = palm(body, side).T @ RIGHT
    axis = unit(sum(np.cross(along[finger][0], along[finger][2]) for finger in FINGERS))
    curl = np.radians(np.maximum(degrees, 0))[:, None] * axis
    share = np.clip(degrees / FLAT, 0, 1)[:, None]
    turns = {}
    for finger, bones in at.items():
        straight = unit(along[finger] - (along[finger] @ normal)[:, None] * normal)
        above = np.eye(3)
        for joint, bone in enumerate(bones):
            gather = (
                0.5 * np.cross(along[finger][0], along["Middle"][0])
                if joint == 0 and finger != "Thumb"
                else np.zeros(3)
            )
            turned = Rotation.align_vectors(straight[joint], along[finger][joint])[0].as_matrix()
            flat = Rotation.from_matrix(above.T @ turned).as_rotvec()
            above = turned
            bent = (curl if finger != "Thumb" else 0.0) + (1 - share) * gather + share * flat
            turns[body.bones[bone].partition(":")[2]] = Rotation.from_rotvec(bent).as_matrix()
    return turns
