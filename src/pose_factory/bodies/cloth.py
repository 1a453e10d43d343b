"""How a pattern lies on a garment: flat coordinates for each corner of the body's faces, as a tailor cuts cloth.

A garment is cut where MakeHuman's texture is, at the back and along the inside of the legs, across the shoulders, and
where the sleeves are sewn on. Each piece is laid flat with little change of lengths, as rigid as possible: Liu, Zhang,
Xu, Gotsman & Gortler 2008, 'A Local/Global Approach to Mesh Parameterization'.
"""

from functools import cache

import numpy as np
from scipy.sparse import coo_array, identity
from scipy.sparse.linalg import splu

from pose_factory.bodies.anny_body import SIDES, Body, _model

ROUNDS = 4
"""Of fitting turns and places to each other; more change patterns by less than a thread."""


def lay(body: Body, garment: str, pattern: str, size: float) -> np.ndarray:
    """(F, 3, 3) where each corner of the faces lies in `pattern` on a zone ("top", "bottom", "shoes"), 0 elsewhere.

    The first two coordinates run around the body and up it (on sleeves around the arm and up to the shoulder), in
    repeats of `size` metres; `mottled` is a solid out of which the garment is cut, and has three. For `gradient`, which
    does not repeat, the second one runs from 0 at the garment's lowest point to 1 at its highest.
    """
    worn = (body.zones[garment][body.faces] > 0).any(axis=1)
    corners = body.vertices[body.faces[worn]]
    coordinates = np.zeros((len(body.faces), 3, 3))
    if pattern == "gradient":
        inside = body.vertices[body.zones[garment] > 0, 2]
        coordinates[worn, :, 1] = (corners[..., 2] - inside.min()) / np.ptp(inside)
    elif pattern == "mottled":
        coordinates[worn] = corners / size
    elif garment == "shoes":  # too small and round to be cut: looked at from the side
        coordinates[worn] = corners[..., [1, 2, 0]] / size
    else:
        for piece, up in _pieces(body, worn):
            coordinates[piece, :, :2] = _flatten(body, piece, up) / size
    return coordinates


def _pieces(body: Body, worn: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pieces of a garment: the trunk or the legs, and the sleeves where it has any; of each its faces (F,) and the
    direction (3,) that is up on it."""
    arms = [any(part in name for part in ("Arm", "Hand")) for name in body.bones]
    arm = (body.weights[:, arms].sum(axis=1) > 0.5)[body.faces].all(axis=1)
    left = body.vertices[body.faces, 0].mean(axis=1) > 0
    pieces = [(worn & ~arm, np.array([0.0, 0.0, 1.0]))]
    for side, sign in SIDES.items():
        along = body.heads[body.bone(f"{side.title()}Arm")] - body.heads[body.bone(f"{side.title()}Hand")]
        pieces.append((worn & arm & (left == (sign > 0)), along / np.linalg.norm(along)))
    return [(piece, up) for piece, up in pieces if piece.any()]


@cache
def _texture() -> np.ndarray:
    """(F, 3) the corners of the faces of MakeHuman's texture, which is cut where clothes are."""
    return _model().face_texture_coordinate_indices.numpy()


def _cut(body: Body, piece: np.ndarray) -> tuple[int, np.ndarray]:
    """The corners of the `piece`'s n faces (n, 3), those that hang together by the same number, and how many there are.
    The texture is cut at the back and inside the legs; across the shoulders it is cut here."""
    texture = _texture()[piece]
    place = body.vertices[body.faces[piece]]
    shoulders = np.stack([body.heads[body.bone(f"{side}Arm")] for side in ("Left", "Right")])
    behind = place.mean(axis=1)[:, 1] > shoulders[:, 1].mean()
    above = (place[..., 2] > shoulders[:, 2].mean()) & np.isin(texture, texture[~behind])
    corners = np.where(behind[:, None] & above, texture + texture.max() + 1, texture)
    used, corners = np.unique(corners, return_inverse=True)
    return len(used), corners.reshape(-1, 3)


def _flatten(body: Body, piece: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(n, 3, 2) metres: the corners of the `piece`'s n faces, laid flat with `up` up."""
    count, corners = _cut(body, piece)
    place = body.vertices[body.faces[piece]]
    # each triangle in its own plane: its first edge to the right, seen from outside
    first, second = place[:, 1] - place[:, 0], place[:, 2] - place[:, 0]
    length = np.linalg.norm(first, axis=1)
    x = first / length[:, None]
    y = np.cross(np.cross(first, second), x)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    triangles = np.zeros((len(place), 3, 2))
    triangles[:, 1, 0], triangles[:, 2, 0], triangles[:, 2, 1] = length, np.sum(second * x, 1), np.sum(second * y, 1)

    edges = np.roll(triangles, -1, axis=1) - triangles  # from each corner to the next
    opposite = triangles[:, [2, 0, 1]]
    towards = triangles - opposite, np.roll(triangles, -1, axis=1) - opposite
    cotangent = np.sum(towards[0] * towards[1], axis=2) / (length * triangles[:, 2, 1])[:, None]
    weight = np.clip(cotangent, 0.01, 10.0)  # slivers
    start, end = corners.ravel(), np.roll(corners, -1, axis=1).ravel()
    rows, columns = np.concatenate([start, end, start, end]), np.concatenate([start, end, end, start])
    entries = np.concatenate([weight.ravel()] * 2 + [-weight.ravel()] * 2)
    # where a piece lies as a whole is free: next to its own middle
    solver = splu((coo_array((entries, (rows, columns)), shape=(count, count)) + 1e-9 * identity(count)).tocsc())

    c, s = np.stack([y @ up, x @ up]) / np.maximum(np.hypot(x @ up, y @ up), 1e-12)
    turns = np.stack([np.stack([c, -s], axis=1), np.stack([s, c], axis=1)], axis=1)
    for _ in range(ROUNDS):
        wanted = (weight[..., None] * np.einsum("fij,fej->fei", turns, edges)).reshape(-1, 2)
        pull = np.zeros((count, 2))
        np.add.at(pull, start, -wanted)
        np.add.at(pull, end, wanted)
        flat = solver.solve(pull)
        now = np.roll(flat[corners], -1, axis=1) - flat[corners]
        u, _, v = np.linalg.svd(np.einsum("fe,fei,fej->fij", weight, now, edges))
        u[:, :, 1] *= np.linalg.det(u @ v)[:, None]
        turns = u @ v
    return flat[corners]
