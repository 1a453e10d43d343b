"""Whether a motion could be a person's: what it does to the floor, to its contacts, to its joints and to its own skin.

Lengths are those of an adult: they are multiplied by the length of the body's leg over an adult's.
"""

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from pose_factory.bodies import anatomy
from pose_factory.bodies.anny_body import SIDES, skin
from pose_factory.bodies.contact import Touch, posed
from pose_factory.bodies.kinematics import forward_kinematics, leg_length
from pose_factory.bodies.performing import _active, _runs

SUNK, SUNK_EXTREME = 0.018, 0.035  # metres that flesh may be pressed below the floor; where joints are at their limits
AWAY = 0.012  # metres that what is in contact may be off the floor
SLID = 0.006  # metres that a point of a hand or of a foot may move in all the time that it is planted
INSIDE = 0.040  # metres that flesh may be pressed into flesh
FREE = 12.0  # degrees beyond the range of a joint that settling on a body may take it
FASTEST, SHARPEST = 2100.0, 70_000.0  # degrees a second, and a second squared, of a bone against its parent

LIMBS = {
    "arm": ("Arm", "ForeArm", "Hand"),
    "forearm": ("ForeArm", "Hand"),
    "leg": ("UpLeg", "Leg", "Foot", "ToeBase"),
    "shin": ("Leg", "Foot", "ToeBase"),
}


def share(body, *parts):
    """(V,) the weight of the bones with one of `parts` in their name."""
    return body.weights[:, [any(part in name for part in parts) for name in body.bones]].sum(axis=1)


def limb(body, side, name):
    """(V,) whether a vertex belongs to a limb, well away from where it begins."""
    return share(body, *(f"{side.title()}{part}" for part in LIMBS[name])) > 0.95


def trunk(body):
    return share(body, "Spine", "Neck", "Head", "Hips") > 0.95


def angles(body, rotations):
    """{channel: (N,) degrees} of bones turned by `rotations` (N, B, 3, 3), the inverse of anatomy.rotations but for how
    the trunk shares its bend; without fingers, and without shoulders, whose angles have no single values."""
    zero = {channel: np.zeros(1) for channel in anatomy.CHANNELS}
    straight, _ = posed(body, anatomy.rotations(body, zero), np.zeros((1, 3)))
    turned = rotations @ straight[0].transpose(0, 2, 1)

    def between(parent, child, order):
        relative = turned[:, body.bone(parent)].transpose(0, 2, 1) @ turned[:, body.bone(child)]
        return Rotation.from_matrix(relative).as_euler(order, degrees=True).T

    found = dict(zip(("trunk.bend", "trunk.lean", "trunk.twist"), between("Hips", "Spine2", "xyz"), strict=True))
    found |= dict(zip(("head.nod", "head.tilt", "head.turn"), between("Spine2", "Head", "xyz"), strict=True))
    for side, sign in SIDES.items():
        name = side.title()
        flex, abduct, rotate = between("Hips", f"{name}UpLeg", "XYZ") * [[-1], [-sign], [sign]]
        found |= {f"{side}_leg.flex": flex, f"{side}_leg.abduct": abduct, f"{side}_leg.rotate": rotate}
        found[f"{side}_leg.knee"] = between(f"{name}UpLeg", f"{name}Leg", "XYZ")[0]
        found[f"{side}_leg.ankle"] = -between(f"{name}Leg", f"{name}Foot", "XYZ")[0]
        found[f"{side}_leg.toes"] = -between(f"{name}Foot", f"{name}ToeBase", "XYZ")[0]
        found[f"{side}_arm.elbow"] = -between(f"{name}Arm", f"{name}ForeArm", "XYZ")[0]
        wrist = between(f"{name}ForeArm", f"{name}Hand", "ZYX")
        found[f"{side}_arm.wrist"] = sign * wrist[1]
    return found


def inside(body, vertices, of, other):
    """Metres that the deepest of the vertices `of` lies inside of the part `other` of the body, both (V,) masks: behind
    the nearest vertex of it, along that one's normal, where the normal's line passes that close."""
    points, targets = vertices[of], np.flatnonzero(other)
    surface = vertices[targets]
    low, high = surface.min(axis=0) - 0.01, surface.max(axis=0) + 0.01
    points = points[((points > low) & (points < high)).all(axis=1)]
    if not len(points):
        return 0.0
    corners = vertices[body.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    np.add.at(normals, body.faces, across[:, None])
    distance, nearest = cKDTree(surface).query(points)
    ends = other[body.faces].any(axis=1) & ~other[body.faces].all(axis=1)
    rim = np.isin(targets, body.faces[ends])[nearest]
    normal = normals[targets][nearest]
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    depth = -np.sum((points - surface[nearest]) * normal, axis=1)
    straight = (depth > 0.7 * distance) & ~rim  # a part is open at its rim: nothing there is inside
    return float(max(depth[straight].max(initial=0.0), 0.0))


def self_penetration(body, vertices):
    """{pair: metres} of limbs that are not neighbours, for a posed skin (V, 3)."""
    found = {}
    for side, other in (("left", "right"), ("right", "left")):
        arm, shin = limb(body, side, "forearm"), limb(body, side, "shin")
        for name, part in {
            "trunk": trunk(body),
            "left leg": limb(body, "left", "leg"),
            "right leg": limb(body, "right", "leg"),
            "other arm": limb(body, other, "arm"),
        }.items():
            found[f"{side} forearm in {name}"] = inside(body, vertices, arm, part)
        found[f"{side} shin in other leg"] = inside(body, vertices, shin, limb(body, other, "leg"))
        found[f"{side} shin in trunk"] = inside(body, vertices, shin, trunk(body))
    return found


def turning(rotations, parents, fps):
    """(N-1, B) degrees a second that bones turn against their parents, and (N-2, B) how fast that changes."""
    local = rotations.copy()
    local[:, 1:] = rotations[:, parents[1:]].swapaxes(-1, -2) @ rotations[:, 1:]
    steps = (local[:-1].swapaxes(-1, -2) @ local[1:]).reshape(-1, 3, 3)
    speed = np.degrees(Rotation.from_matrix(steps).as_rotvec()).reshape(len(local) - 1, -1, 3) * fps
    return np.linalg.norm(speed, axis=-1), np.linalg.norm(np.diff(speed, axis=0), axis=-1) * fps


def problems(score, body, motion, fps, frames, seat):
    """What is wrong with a motion of the library on a body, a sentence each. All frames are looked at for how joints
    turn and hands and feet stay, the chosen `frames` for the skin; `seat` is the height of its chair, metres."""
    size, pace = leg_length(body) / 0.85, np.sqrt(leg_length(body) / 0.85)
    times = np.minimum(np.arange(len(motion.root)) / fps / pace, score.seconds)
    rotations, heads = forward_kinematics(body, motion)
    found = [*_floor(score, body, rotations[frames], heads[frames], times[frames], size, seat)]
    found += [*_planted(score, body, rotations, heads, times, size), *_joints(score, body, rotations)]
    speed, change = turning(rotations, body.parents, fps)
    for what, values, limit in (
        ("turns at", speed * pace, FASTEST),
        ("changes its speed by", change * pace**2, SHARPEST),
    ):
        if values.size and values.max() > limit:
            frame, bone = np.unravel_index(values.argmax(), values.shape)
            found.append(f"{body.bones[bone]} {what} {values.max():.0f} degrees at frame {frame}")
    return found


def _touch(body, made={}):  # noqa: B006 - it takes a while, and the tests keep their few bodies
    if id(body) not in made:
        made[id(body)] = body, Touch(body)
    return made[id(body)][1]


def _floor(score, body, rotations, heads, times, size, seat):
    vertices = skin(body, rotations, heads)
    low = vertices[..., 2].min()
    if low < -(SUNK_EXTREME if score.extreme else SUNK) * size:
        yield f"{-1000 * low:.0f} mm below the floor at frame {vertices[..., 2].min(axis=1).argmin()} of those chosen"
    touch = _touch(body)
    for part in score.contacts:
        on = _active(score, [part], times)
        if on.any() and part in touch.prints:
            height = (touch.places(part, rotations[on], heads[on]) - touch.prints[part][3])[..., 2]
        elif on.any():
            points = vertices[on][:, touch.vertices[touch.regions[part]]]
            height = points[..., 2].min(axis=1) - (seat if part == "seat" else 0.0)
        if on.any() and np.abs(height).max() > AWAY * size:
            yield f"{part} is {1000 * np.abs(height).max():.0f} mm off what it is said to touch"
    for frame in range(len(vertices)):
        for pair, depth in self_penetration(body, vertices[frame]).items():
            if depth > INSIDE * size:
                yield f"{pair}: {1000 * depth:.0f} mm deep at {times[frame]:.2f} s"


def _planted(score, body, rotations, heads, times, size):
    touch = _touch(body)
    for part in set(score.contacts) & set(touch.prints):
        for start, end in _runs(_active(score, [part], times), False):
            points = touch.places(part, rotations[start:end], heads[start:end])
            slid = np.linalg.norm(points - points.mean(axis=0), axis=-1).max()
            if slid > SLID * size:
                yield f"{part} slides {1000 * slid:.0f} mm from {times[start]:.2f} s on"


def _joints(score, body, rotations):
    ranges = anatomy.RANGES | (anatomy.EXTREME if score.extreme else {})
    measured = angles(body, rotations)
    for channel, values in measured.items():
        limb, _, angle = channel.partition(".")
        if angle in ("flex", "rotate"):  # which turn into each other where a leg lies along the axis of flexion
            values = values[np.abs(measured[f"{limb}.abduct"]) < 75]
        if not len(values):
            continue
        low, high = ranges[channel.removeprefix("left_").removeprefix("right_")]
        if values.min() < low - FREE or values.max() > high + FREE:
            yield f"{channel} goes from {values.min():.0f} to {values.max():.0f}, beyond {low} to {high}"
