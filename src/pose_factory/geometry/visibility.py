"""Which joints a camera sees, from where the first surface on each joint's ray lies and which limb it belongs to."""

import numpy as np

from pose_factory.skeleton import EDGES, INDEX, JOINTS

FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
PARTS = ("left_foot", "right_foot")
"""Joints that stand for the whole part beyond them: to see the toes is to see the ball of the foot."""
FLESH_SLACK = 2.5
"""How far, in multiples of a joint's flesh thickness, the surface over it may lie when it is seen at a slant."""
LEAST_FLESH = 0.05
"""Metres: joints that lie on the skin itself (nose, eyes) have next to none of their own."""
NEIGHBOURHOOD = 2
"""A surface within this many bones of a joint is the joint's own; any other limb hides it."""


def sphere_directions(count: int) -> np.ndarray:
    """(count, 3) unit vectors spread evenly over the sphere (Fibonacci lattice)."""
    index = np.arange(count) + 0.5
    z, angle = 1 - 2 * index / count, np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


def flesh_thickness(first_surface: np.ndarray) -> np.ndarray:
    """The flesh over each joint, metres (J,), from `first_surface` (frames, J, directions).

    That is the distance from the joint to the first surface met on the way to it from outside, NaN where nothing covers
    it. The lower third over directions passes over the directions along the bone and those that another limb blocks;
    the least over frames passes over poses in which a limb rests on another.
    """
    return np.quantile(np.nan_to_num(first_surface, nan=0.0), 1 / 3, axis=2, method="lower").min(axis=0)


def bone_distances() -> np.ndarray:
    """(J, J) number of bones of the canonical skeleton between two joints; the face counts as one with the neck."""
    distance = np.full((len(JOINTS), len(JOINTS)), np.inf)
    np.fill_diagonal(distance, 0)
    for a, b in EDGES:
        distance[INDEX[a], INDEX[b]] = distance[INDEX[b], INDEX[a]] = 1
    for name in FACE:
        distance[INDEX[name], INDEX["neck"]] = distance[INDEX["neck"], INDEX[name]] = 0
    for middle in range(len(JOINTS)):  # Floyd-Warshall
        distance = np.minimum(distance, distance[:, middle, None] + distance[None, middle])
    return distance


def visible(gap: np.ndarray, surface_joint: np.ndarray, flesh: np.ndarray) -> np.ndarray:
    """Whether each joint is seen (bool, same shape as `gap`).

    gap (..., J): metres between joint and first surface on its ray from the camera, NaN where the ray met none,
    infinite where that is another person's or a thing's.
    surface_joint (..., J): index of the canonical joint whose limb that surface is, -1 where it belongs to none.
    flesh (J,): metres, from `flesh_thickness`.
    """
    near = np.nan_to_num(gap, nan=0.0) <= np.maximum(FLESH_SLACK * flesh, LEAST_FLESH)
    joints = np.arange(len(JOINTS))
    own = bone_distances()[joints, surface_joint] <= NEIGHBOURHOOD
    part = np.isin(JOINTS, PARTS) & (surface_joint == joints)
    return part | near & (own | (surface_joint < 0))
