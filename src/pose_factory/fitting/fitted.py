"""What a fit finds: one person's Anny body in each frame, and the file that holds such bodies."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from pose_factory import rigs, tables
from pose_factory.bodies.anny_body import PHENOTYPES, Body, bare_body, skin
from pose_factory.errors import PoseFactoryError
from pose_factory.files import atomic
from pose_factory.skeleton import JOINTS


@dataclass(frozen=True)
class FittedBody:
    """One person's Anny body, without clothes, over N frames; metres, camera axes (x right, y down, z forward).

    `rotations[:, b]` turns bone b away from the rest pose, in the axes of the rest pose (Blender's: Z up, the body
    faces -Y) as its parent has turned them: G[b] = G[parent] @ rotations[b]. The root's carries the rest pose's axes
    into the camera's. A bone's head follows its parent: head[b] = head[parent] + G[parent] @ (rest[b] - rest[parent]).
    """

    frames: np.ndarray
    """(N,) int frame numbers, increasing."""
    provenance: np.ndarray
    """(N,) words of tracking.people.PROVENANCES."""
    rotations: np.ndarray
    """(N, B, 3, 3) rotation matrices, of the bones of Body.bones."""
    translation: np.ndarray
    """(N, 3) metres, camera axes: the root bone's head, for the focal length of tracking.camera."""
    phenotype: np.ndarray
    """(6,) 0 to 1, in the order of PHENOTYPES."""
    local: Mapping[str, float] = field(default_factory=dict)
    """Anny's local changes, which no fit finds: a body that was made here may have them."""

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows) -> "FittedBody":
        """The rows that a slice, mask or index array selects."""
        per_frame = ("frames", "provenance", "rotations", "translation")
        return replace(self, **{name: getattr(self, name)[rows] for name in per_frame})

    @property
    def body(self) -> Body:
        """The body in its rest pose, in Blender's world axes. Not to be changed: it is kept for the next call."""
        return _rest(tuple(float(value) for value in self.phenotype), tuple(self.local.items()))

    def bones(self) -> tuple[np.ndarray, np.ndarray]:
        """Each bone's turn from the rest pose's axes into the camera's (N, B, 3, 3) and its head (N, B, 3), camera
        axes, metres."""
        body = self.body
        turned, heads = np.empty_like(self.rotations, float), np.empty((len(self), len(body.bones), 3))
        for bone, parent in enumerate(body.parents):
            if parent < 0:
                turned[:, bone], heads[:, bone] = self.rotations[:, bone], self.translation
            else:
                turned[:, bone] = turned[:, parent] @ self.rotations[:, bone]
                heads[:, bone] = heads[:, parent] + turned[:, parent] @ (body.heads[bone] - body.heads[parent])
        return turned, heads

    def joints(self) -> np.ndarray:
        """(N, 23, 3) the canonical joints, camera axes, metres: where the ground truth of a rendered Anny body has
        them, which is at heads of bones, and on the skin for the face and the top of the head."""
        body = self.body
        turned, heads = self.bones()
        points = np.empty((len(self), len(JOINTS), 3))
        for joint, bone in joint_bones().items():
            points[:, JOINTS.index(joint)] = heads[:, body.bones.index(bone)]
        for joint, (chosen, weights) in body.landmarks.items():
            patch = replace(body, vertices=body.vertices[chosen], weights=body.weights[chosen])
            points[:, JOINTS.index(joint)] = weights @ skin(patch, turned, heads)
        return points

    def vertices(self, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
        """(n, V, 3) the vertices in the frames that `rows` selects, camera axes, metres; their triangles are
        `body.faces`."""
        return skin(self.body, *self[rows].bones())


@cache
def joint_bones() -> dict[str, str]:
    """The bone of an Anny body at whose head a canonical joint lies, for those that are not landmarks on the skin."""
    body = bare_body()
    match = rigs.detect(body.bones)
    return {joint: bone for joint, (bone, _) in match.joints.items() if joint not in body.landmarks}


@lru_cache(maxsize=8)
def _rest(phenotype: tuple[float, ...], local: tuple[tuple[str, float], ...]) -> Body:
    return bare_body(dict(zip(PHENOTYPES, phenotype, strict=True)), dict(local))


def write_bodies(path: str | Path, bodies: Mapping[int, FittedBody], fps: float) -> None:
    """Write the bodies {track_id: body} of one view or film, which has `fps` frame numbers a second, as body.npz
    (docs/tables.md). Raises PoseFactoryError where it cannot be written."""
    bones = bare_body().bones
    ordered = dict(sorted(bodies.items()))
    content = {
        "about": json.dumps(tables.BODY | {"fps": fps, "bones": bones, "phenotypes": PHENOTYPES, "joints": JOINTS}),
        "tracks": np.array(list(ordered), np.int32),
        "phenotype": np.array([body.phenotype for body in ordered.values()], float).reshape(-1, len(PHENOTYPES)),
        "track_id": np.repeat(np.array(list(ordered), np.int32), [len(body) for body in ordered.values()]),
        "frame": _joined(np.empty(0, np.int32), [body.frames for body in ordered.values()]),
        "provenance": _joined(np.empty(0, "U1"), [body.provenance for body in ordered.values()]),
        "rotations": _joined(np.empty((0, len(bones), 3, 3)), [body.rotations for body in ordered.values()]),
        "translation": _joined(np.empty((0, 3)), [body.translation for body in ordered.values()]),
    }
    with atomic(path) as temporary:
        np.savez_compressed(temporary, **content)


def _joined(none: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
    """`parts` one after another, of the kind of `none`, which is what there is without any."""
    kind = str if none.dtype.kind == "U" else none.dtype  # as long as the longest word
    return np.concatenate([none, *[part.astype(kind) for part in parts]])


def read_bodies(path: str | Path) -> tuple[dict[int, FittedBody], float]:
    """The bodies {track_id: body} that `write_bodies` wrote, and the frame numbers a second.

    Raises PoseFactoryError if the file is missing, damaged, or not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            content = dict(file)
        about = json.loads(str(content["about"]))
        if about["schema"] != tables.BODY["schema"] or about["bones"] != bare_body().bones:
            raise PoseFactoryError(f"{path} is of another version of this program: delete it and make it again.")
        return _bodies(content), float(about["fps"])
    except FileNotFoundError:
        raise PoseFactoryError(f"{path} is not there: make it with snakemake --cores all {path}.") from None
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile, zlib.error) as error:
        raise PoseFactoryError(
            f"{path} holds no bodies (damaged, or another file?): delete it and make it again."
        ) from error


def _bodies(content: Mapping[str, np.ndarray]) -> dict[int, FittedBody]:
    bodies = {}
    for track_id, phenotype in zip(content["tracks"], content["phenotype"], strict=True):
        mine = content["track_id"] == track_id
        frames, provenance, rotations, translation = (
            content[name][mine] for name in ("frame", "provenance", "rotations", "translation")
        )
        bodies[int(track_id)] = FittedBody(frames.astype(int), provenance, rotations, translation, phenotype)
    return bodies
