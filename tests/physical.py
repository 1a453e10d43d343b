"""Whether a motion could be a person's: what it does to the floor, to its contacts, to its joints and to its own skin.

Lengths are those of an adult: they are multiplied by the length of the body's leg over an adult's.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from pose_factory.bodies import anatomy
from pose_factory.bodies.anny_body import SIDES, skin
from pose_factory.bodies.contact import Touch, posed
from pose_factory.bodies.kinematics import forward_kinematics, leg_length

SUNK = 0.018  # metres that flesh may be pressed below the floor
AWAY = 0.012  # metres that what is in contact may be off the floor
SLID = 0.006  # metres that a point of a hand or of a foot may move in all the time that it is planted
INSIDE = 0.040  # metres that flesh may be pressed into flesh
FREE = 5.0  # degrees beyond the range of a joint that settling on a body may take it
FASTEST, SHARPEST = 1400.0, 70_000.0  # degrees a second, and a second squared, of a bone against its parent

TRUNK, HEAD = ("bend", "lean", "twist"), ("nod", "tilt", "turn")
HIP, SHOULDER = ([f"{limb}.{angle}" for angle in ("flex", "abduct", "rotate")] for limb in ("leg", "arm"))
ANKLE = ["leg.ankle", "leg.tilt", "leg.turn"]
CHUNK = 16  # frames whose skin is looked at together
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


def beyond(body, rotations, extreme):
    """{joint or angle: (N,) degrees} that bones turned by `rotations` (N, B, 3, 3) are beyond the ranges of anatomy, 0
    within: of hips, shoulders and feet, the angle from the nearest orientation that their three ranges allow together.
    The inverse of anatomy.rotations but for how the trunk shares its bend; without fingers."""
    ranges = anatomy.RANGES | anatomy.FOOT | (anatomy.EXTREME if extreme else {})
    zero = {channel: np.zeros(1) for channel in anatomy.CHANNELS}
    straight, _ = posed(body, anatomy.rotations(body, zero), np.zeros((1, 3)))
    turned = rotations @ straight[0].transpose(0, 2, 1)

    def relative(parent, child):
        return turned[:, body.bone(parent)].transpose(0, 2, 1) @ turned[:, body.bone(child)]

    def one(channel, parent, child, order, sign=1, axis=0):
        value = sign * Rotation.from_matrix(relative(parent, child)).as_euler(order, degrees=True)[:, axis]
        low, high = ranges[channel]
        return np.maximum(np.maximum(low - value, value - high), 0)

    def ball(channels, parent, child, signs):
        low, high = np.sort(np.radians([ranges[channel] for channel in channels]) * np.array(signs)[:, None]).T
        actual = relative(parent, child)
        allowed = anatomy.nearest(actual, low, high)
        assert ((low <= allowed) & (allowed <= high)).all()
        apart = actual.transpose(0, 2, 1) @ Rotation.from_euler("XYZ", allowed).as_matrix()
        return np.degrees(Rotation.from_matrix(apart).magnitude())

    found = {f"trunk.{angle}": one(f"trunk.{angle}", "Hips", "Spine2", "xyz", axis=i) for i, angle in enumerate(TRUNK)}
    found |= {f"head.{angle}": one(f"head.{angle}", "Spine2", "Head", "xyz", axis=i) for i, angle in enumerate(HEAD)}
    for side, sign in SIDES.items():
        name = side.title()
        found |= {
            f"{side} hip": ball(HIP, "Hips", f"{name}UpLeg", (-1, -sign, sign)),
            f"{side} shoulder": ball(SHOULDER, "Spine2", f"{name}Arm", (-1, -sign, sign)),
            f"{side} foot": ball(ANKLE, f"{name}Leg", f"{name}Foot", (-1, sign, sign)),
            f"{side}_leg.knee": one("leg.knee", f"{name}UpLeg", f"{name}Leg", "XYZ"),
            f"{side}_leg.toes": one("leg.toes", f"{name}Foot", f"{name}ToeBase", "XYZ", -1),
            f"{side}_arm.elbow": one("arm.elbow", f"{name}Arm", f"{name}ForeArm", "XYZ", -1),
            f"{side}_arm.wrist": one("arm.wrist", f"{name}ForeArm", f"{name}Hand", "ZYX", sign, 1),
        }
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


@dataclass(frozen=True)
class Finding:
    """One thing that was measured: at most `limit` is right, in the unit that `said` says it in."""

    kind: str
    value: float
    limit: float
    said: str


def problems(score, body, motion, fps, frames, seat):
    """What is wrong with a motion of the library on a body, a sentence each."""
    found = findings(score, body, motion, fps, frames, seat)
    return [finding.said for finding in found if finding.value > finding.limit]


def findings(score, body, motion, fps, frames, seat):
    """All that is measured of a motion of the library on a body. All frames are looked at but for what is inside of
    what, which the chosen `frames` are; `seat` is the height of its chair, metres."""
    size, pace = leg_length(body) / 0.85, np.sqrt(leg_length(body) / 0.85)
    times = np.minimum(np.arange(len(motion.root)) / fps / pace, score.seconds)
    rotations, heads = forward_kinematics(body, motion)
    found = [*_floor(score, body, rotations, heads, times, size, seat)]
    found += _inside(body, rotations[frames], heads[frames], times[frames], size)
    found += [*_planted(score, body, rotations, heads, times, size)]
    for joint, values in beyond(body, rotations, score.extreme).items():
        said = f"{joint} is {values.max():.0f} degrees beyond its range at {times[values.argmax()]:.2f} s"
        found.append(Finding("free", values.max(), FREE, said))
    speed, change = turning(rotations, body.parents, fps)
    for kind, what, values, limit in (
        ("fast", "turns at", speed * pace, FASTEST),
        ("sharp", "changes its speed by", change * pace**2, SHARPEST),
    ):
        if values.size:
            frame, bone = np.unravel_index(values.argmax(), values.shape)
            said = f"{body.bones[bone]} {what} {values.max():.0f} degrees at frame {frame}"
            found.append(Finding(kind, values.max(), limit, said))
    return found


def in_contact(score, part, times):
    """(N,) whether a part is to be in contact, as its spans say; those of a motion that loops come again each time."""
    again = (-score.seconds, 0.0, score.seconds) if score.loops else (0.0,)
    on = [
        (start - 1e-9 <= times + shift) & (times + shift <= end + 1e-9)
        for start, end in score.contacts[part]
        for shift in again
    ]
    return np.any(on, axis=0)


def stretches(on):
    """The frames of each unbroken stretch of true values."""
    frames = np.flatnonzero(on)
    return [run for run in np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1) if len(run)]


def _touch(body, made={}):  # noqa: B006 - it takes a while, and the tests keep their few bodies
    if id(body) not in made:
        made[id(body)] = body, Touch(body)
    return made[id(body)][1]


def _floor(score, body, rotations, heads, times, size, seat):
    touch = _touch(body)
    lows = np.concatenate(
        [
            heights(body, slice(None), rotations[frames : frames + CHUNK], heads[frames : frames + CHUNK]).min(axis=1)
            for frames in range(0, len(times), CHUNK)
        ]
    )
    sunk = -1000 * lows.min()
    said = f"{sunk:.0f} mm below the floor at {times[lows.argmin()]:.2f} s"
    yield Finding("sunk", sunk / size, 1000 * SUNK, said)
    for part in score.contacts:
        on = in_contact(score, part, times)
        if not on.any():
            continue
        if part in touch.prints:
            height = (touch.places(part, rotations[on], heads[on]) - touch.prints[part][3])[..., 2]
        else:
            low = heights(body, touch.vertices[touch.regions[part]], rotations[on], heads[on]).min(axis=1)
            height = low - (seat if part == "seat" else 0.0)
        away = 1000 * np.abs(height).max()
        yield Finding("away", away / size, 1000 * AWAY, f"{part} is {away:.0f} mm off what it is said to touch")


def heights(body, vertices, rotations, heads):
    """(N, P) the heights alone of what skin() gives of `vertices` (P,), which is quick enough for all frames."""
    rows = np.concatenate([rotations[..., 2, :], heads[..., 2:]], axis=-1)
    rows[..., 3] -= np.sum(rows[..., :3] * body.heads, axis=-1)
    weights, points = body.weights[vertices], body.vertices[vertices]
    blended = (weights @ rows.transpose(1, 0, 2).reshape(len(body.bones), -1)).reshape(len(points), -1, 4)
    return (np.sum(blended[..., :3] * points[:, None], axis=-1) + blended[..., 3]).T


def _inside(body, rotations, heads, times, size):
    for time, vertices in zip(times, skin(body, rotations, heads), strict=True):
        for pair, depth in self_penetration(body, vertices).items():
            yield Finding(
                "inside", 1000 * depth / size, 1000 * INSIDE, f"{pair}: {1000 * depth:.0f} mm deep at {time:.2f} s"
            )


def _planted(score, body, rotations, heads, times, size):
    touch = _touch(body)
    for part in set(score.contacts) & set(touch.prints):
        for frames in stretches(in_contact(score, part, times)):
            points = touch.places(part, rotations[frames], heads[frames])
            slid = 1000 * np.linalg.norm(points - points.mean(axis=0), axis=-1).max()
            yield Finding(
                "slid", slid / size, 1000 * SLID, f"{part} slides {slid:.0f} mm from {times[frames[0]]:.2f} s on"
            )
