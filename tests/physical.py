"""Whether a motion could be a person's: what it does to the floor, to its contacts, to its joints and to its own skin."""

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from pose_factory.bodies import anatomy
from pose_factory.bodies.anny_body import SIDES, skin
from pose_factory.bodies.contact import posed
from pose_factory.bodies.kinematics import forward_kinematics, leg_length

LIMBS = {
    "arm": ("Arm", "ForeArm", "Hand"),
    "forearm": ("ForeArm", "Hand"),
    "leg": ("UpLeg", "Leg", "Foot", "ToeBase"),
    "shin": ("Leg", "Foot", "ToeBase"),
}


class Posed:
    """A body in N frames of a motion: bones and skin, metres, world."""

    def __init__(self, body, motion):
        self.body, self.motion = body, motion
        self.rotations, self.heads = forward_kinematics(body, motion)
        self.vertices = skin(body, self.rotations, self.heads)

    def lowest(self):
        """(N,) metres."""
        return self.vertices[..., 2].min(axis=1)


def share(body, *parts):
    """(V,) the weight of the bones with one of `parts` in their name."""
    return body.weights[:, [any(part in name for part in parts) for name in body.bones]].sum(axis=1)


def limb(body, side, name):
    """(V,) whether a vertex belongs to a limb, well away from where it begins."""
    return share(body, *(f"{side.title()}{part}" for part in LIMBS[name])) > 0.95


def trunk(body):
    return share(body, "Spine", "Neck", "Head", "Hips") > 0.95


def angles(body, rotations):
    """{channel: (N,) degrees} of bones turned by `rotations` (N, B, 3, 3), without fingers: the inverse of
    anatomy.rotations but for how the trunk shares its bend."""
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
        upper = turned[:, body.bone("Spine2")].transpose(0, 2, 1) @ turned[:, body.bone(f"{name}Arm")]
        found[f"{side}_arm.raise"] = np.degrees(np.arccos(np.clip(upper[:, 2, 2], -1, 1)))
        found[f"{side}_arm.behind"] = np.degrees(np.arcsin(np.clip(upper @ [0, 0, -1], -1, 1)))[:, 1]
        found[f"{side}_arm.across"] = -sign * np.degrees(np.arcsin(np.clip(upper @ [0, 0, -1], -1, 1)))[:, 0]
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


def self_penetration(posed_body, frame):
    """{pair: metres} of limbs that are not neighbours."""
    body, vertices = posed_body.body, posed_body.vertices[frame]
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


def turning(rotations, fps):
    """(N-2, B) how fast a bone's turning on top of its parent's changes, degrees/s^2, and (N-1, B) its speed."""
    steps = Rotation.from_matrix(
        (rotations[:-1].swapaxes(-1, -2) @ rotations[1:]).reshape(-1, 3, 3)
    ).as_rotvec().reshape(len(rotations) - 1, -1, 3)
    speed = np.degrees(steps) * fps
    return np.linalg.norm(np.diff(speed, axis=0), axis=-1) * fps, np.linalg.norm(speed, axis=-1)


def scale(body):
    """The body's size next to an adult's."""
    return leg_length(body) / 0.85
