"""Anny's skeleton as the fit needs it: where the joints are for a pose and a phenotype, and how they move with both.

No mesh takes part. `Skeleton` has the bones of the body without the fingers and the canonical joints; a joint is a
bone's head or, on the face, a few vertices that follow the head bone. Anny's rest positions are products of functions
that are piecewise linear in one phenotype each, so interpolating linearly between the corners of these pieces is exact.
"""

import itertools
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from pose_factory.bodies import anny_body
from pose_factory.bodies.anny_body import PHENOTYPES
from pose_factory.fitting.fitted import joint_bones
from pose_factory.skeleton import JOINTS

CORNERS: tuple[tuple[float, ...], ...] = (
    (0.0, 1.0),
    (0.0, 1 / 3, 2 / 3, 1.0),
    (0.0, 0.5, 1.0),
    (0.0, 0.5, 1.0),
    (0.0, 1.0),
    (0.0, 1.0),
)
"""Where Anny's body bends as a function of each of PHENOTYPES."""


@dataclass(frozen=True)
class Skeleton:
    """The bones that a fit turns or carries along, parents first, and the points on them.

    A point is a bone's head, in the order of `bones`, or one of the canonical joints on the face, behind them. `rest`
    is their positions at all combinations of CORNERS, metres, in the axes of the rest pose (Z up, facing -Y); only
    differences of them mean anything.
    """

    bones: tuple[str, ...]
    parents: np.ndarray
    """(B,) the bone that each bone hangs on, -1 for the root."""
    rows: np.ndarray
    """(B,) which of Body.bones they are."""
    count: int
    """How many bones Body.bones has."""
    holders: np.ndarray
    """(P,) the bone that carries each point: its parent for a bone's head, -1 for the root's."""
    joints: np.ndarray
    """(23,) the point of each canonical joint."""
    rest: np.ndarray
    """(2, 4, 3, 3, 2, 2, P, 3)."""
    below: np.ndarray
    """(B, P) whether a point moves when a bone turns."""

    def points(self, phenotype: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The points (P, 3) of a body in its rest pose, and their derivatives (P, 3, 6) by the phenotype (6,); at a
        corner, those towards greater values, or at 1 towards smaller ones."""
        return _points(tuple(map(float, phenotype)))

    def pose(self, turns: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each bone's turn from the rest pose's axes to the posed ones (N, B, 3, 3), and the points (N, P, ...)
        relative to the root's head, for `turns` (N, B, 3, 3) of each bone in its parent's axes and the rest points, or
        whatever is linear in them, (P, 3) or (P, 3, K)."""
        turned = np.empty_like(turns)
        points = np.zeros((len(turns), *rest.shape))
        for bone, parent in enumerate(self.parents):
            turned[:, bone] = turns[:, bone] if parent < 0 else turned[:, parent] @ turns[:, bone]
        for point, holder in enumerate(self.holders):
            if holder >= 0:
                points[:, point] = points[:, holder] + turned[:, holder] @ (rest[point] - rest[holder])
        return turned, points


@cache
def skeleton() -> Skeleton:
    """Anny's own, computed once per process."""
    body = anny_body.bare_body()
    rows = np.array([row for row, name in enumerate(body.bones) if not _finger(name)])
    parents = np.array([int(np.flatnonzero(rows == body.parents[row])[0]) if row else -1 for row in rows])
    bones = tuple(body.bones[row] for row in rows)
    face = list(body.landmarks)
    head = bones.index("mixamorig:Head")
    holders = np.concatenate([parents, np.full(len(face), head)])
    place = {joint: bones.index(bone) for joint, bone in joint_bones().items()}
    place |= {joint: len(bones) + index for index, joint in enumerate(face)}
    below = np.zeros((len(bones), len(holders)), bool)
    for point, holder in enumerate(holders):
        while holder >= 0:
            below[holder, point] = True
            holder = parents[holder]
    joints = np.array([place[joint] for joint in JOINTS])
    return Skeleton(bones, parents, rows, len(body.bones), holders, joints, _corners(body, rows, face), below)


@lru_cache(maxsize=64)  # a live fit asks for the same body again and again
def _points(phenotype: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    values, slopes = zip(*(_hat(corners, x) for corners, x in zip(CORNERS, phenotype, strict=True)), strict=True)
    derivatives = [
        _blend([slopes[j] if j == i else values[j] for j in range(len(CORNERS))]) for i in range(len(CORNERS))
    ]
    found = _blend(list(values)), np.stack(derivatives, axis=-1)
    for array in found:
        array.flags.writeable = False
    return found


def _blend(weights: list[np.ndarray]) -> np.ndarray:
    found = skeleton().rest
    for weight in weights:
        found = np.tensordot(weight, found, axes=1)
    return found


def _finger(bone: str) -> bool:
    return "Hand" in bone and not bone.endswith("Hand")


def _corners(body: anny_body.Body, rows: np.ndarray, face: list[str]) -> np.ndarray:
    import torch

    model = anny_body._model()
    grid = torch.tensor(list(itertools.product(*CORNERS)), dtype=model.dtype)
    with torch.no_grad():
        share = model.get_phenotype_blendshape_coefficients(**dict(zip(PHENOTYPES, grid.T, strict=True)))
        heads = model.template_bone_heads + torch.einsum("nk,kbi->nbi", share, model.bone_heads_blendshapes)
        points = [heads[:, rows].double().numpy()]
        for joint in face:
            vertices, weights = body.landmarks[joint]
            moved = torch.einsum("nk,kvi->nvi", share, model.blendshapes[:, vertices])
            points.append(
                ((model.template_vertices[vertices] + moved).double().numpy() * weights[:, None]).sum(1)[:, None]
            )
    return np.concatenate(points, axis=1).reshape(*map(len, CORNERS), -1, 3)


def _hat(corners: tuple[float, ...], value: float) -> tuple[np.ndarray, np.ndarray]:
    """The share of each corner at `value`, by linear interpolation, and its derivative."""
    last = min(int(np.searchsorted(corners, value, side="right")), len(corners) - 1)
    width = corners[last] - corners[last - 1]
    share, slope = np.zeros(len(corners)), np.zeros(len(corners))
    share[[last - 1, last]] = (corners[last] - value) / width, (value - corners[last - 1]) / width
    slope[[last - 1, last]] = -1 / width, 1 / width
    return share, slope
