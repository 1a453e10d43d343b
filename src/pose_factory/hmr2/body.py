"""SMPL (Loper et al. 2015), the body that HMR2's parameters are of, and where our joints are on it.

The model's file is the user's own: its licence forbids passing it on. As published it is a Python 2 pickle of chumpy
and SciPy objects; chumpy does not work with this Python, so their arrays are taken out here.
"""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import smplx
import torch

from pose_factory.errors import PoseFactoryError
from pose_factory.hmr2 import unpickle
from pose_factory.hmr2.network import BETAS, ROTATIONS
from pose_factory.skeleton import JOINTS

VERTICES, EXTRA = 6890, 19
_OWN = 45
"""Joints that smplx gives: SMPL's 24, five of the face, six of the feet and ten finger tips, which are vertices."""
SOURCES = {
    "nose": 24,
    "left_eye": 26,
    "right_eye": 25,
    "left_ear": 28,
    "right_ear": 27,
    "left_shoulder": 16,
    "right_shoulder": 17,
    "left_elbow": 18,
    "right_elbow": 19,
    "left_wrist": 20,
    "right_wrist": 21,
    "left_hip": 1,
    "right_hip": 2,
    "left_knee": 4,
    "right_knee": 5,
    "left_ankle": 7,
    "right_ankle": 8,
    "pelvis": 0,
    "spine": 6,
    "neck": 12,
    "head_top": _OWN + 13,
    "left_foot": 10,
    "right_foot": 11,
}
"""Where each canonical joint comes from: smplx's joints, then the 19 of the regressor that HMR2 adds.

Eyes, ears and nose are vertices; limbs, hips, pelvis and neck are SMPL's own joints. These are the first 19 of HMR2's
44 joints, in another order, so it was trained to put them where people mark OpenPose's. The top of the head is the
regressor's (LSP's, HMR2's joint 38). The spine and the balls of the feet are SMPL's Spine2 and Foot, which are not
among HMR2's 44, but are what our rig maps call by these names.
"""
_SHAPES = {
    "v_template": (VERTICES, 3),
    "shapedirs": (VERTICES, 3, None),
    "posedirs": (VERTICES, 3, 9 * (ROTATIONS - 1)),
    "J_regressor": (ROTATIONS, VERTICES),
    "weights": (VERTICES, ROTATIONS),
    "kintree_table": (2, ROTATIONS),
    "f": (None, 3),
}
_AT_ONCE = 256


class Body(torch.nn.Module):
    """The joints and meshes of SMPL bodies."""

    def __init__(self, model: dict[str, np.ndarray], extra: np.ndarray) -> None:
        """From the arrays of `read_model` and the regressor (19, 6890) of `read_regressor`."""
        super().__init__()
        with contextlib.redirect_stdout(io.StringIO()):  # smplx warns that there are ten shape parameters: HMR2 has ten
            self._smpl = smplx.SMPLLayer("", data_struct=smplx.utils.Struct(**model), num_betas=BETAS)
        self.register_buffer("_extra", torch.from_numpy(extra).float())
        self.register_buffer("_sources", torch.tensor([SOURCES[joint] for joint in JOINTS]))

    def forward(self, rotations: torch.Tensor, betas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 23, 3) canonical joints and (N, 6890, 3) vertices, metres, in camera axes and relative to SMPL's origin,
        of SMPL's rotations (N, 24, 3, 3) and shape (N, 10)."""
        posed = self._smpl(betas=betas, global_orient=rotations[:, :1], body_pose=rotations[:, 1:])
        joints = torch.cat([posed.joints, self._extra @ posed.vertices], dim=1)
        return joints[:, self._sources], posed.vertices

    def assemble(self, rotations: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(..., 23, 3) canonical joints relative to the midpoint of the hips, and that midpoint (..., 3) relative to
        SMPL's origin, in metres and camera axes, of rotations (..., 24, 3, 3) and shape (..., 10)."""
        leading = np.broadcast_shapes(rotations.shape[:-3], betas.shape[:-1])
        pose = np.broadcast_to(rotations, (*leading, ROTATIONS, 3, 3)).reshape(-1, ROTATIONS, 3, 3)
        shape = np.broadcast_to(betas, (*leading, BETAS)).reshape(-1, BETAS)
        joints = np.empty((len(pose), len(JOINTS), 3))
        for start in range(0, len(pose), _AT_ONCE):  # all 6890 vertices of so many bodies are in memory
            part = slice(start, start + _AT_ONCE)
            with torch.no_grad():
                joints[part] = self(self._tensor(pose[part]), self._tensor(shape[part]))[0].cpu().numpy()
        middle = joints[:, [JOINTS.index("left_hip"), JOINTS.index("right_hip")]].mean(axis=1)
        relative = (joints - middle[:, None]).reshape(*leading, len(JOINTS), 3)
        return relative, middle.reshape(*leading, 3)

    def mesh(self, rotations: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """(6890, 3) vertices of one body relative to the midpoint of its hips, metres, camera axes, of rotations
        (24, 3, 3) and shape (10,)."""
        with torch.no_grad():
            joints, vertices = self(self._tensor(rotations[None]), self._tensor(betas[None]))
        middle = joints[0, [JOINTS.index("left_hip"), JOINTS.index("right_hip")]].mean(dim=0)
        return (vertices[0] - middle).cpu().numpy()

    @property
    def faces(self) -> np.ndarray:
        """(F, 3) the triangles of the mesh, as indices of its vertices."""
        return np.asarray(self._smpl.faces)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(array, dtype=np.float32), device=self._extra.device)


def load(model: Path, regressor: Path) -> Body:
    """The body of SMPL's file (.pkl or .npz) and the file of HMR2's extra joints, SMPL_to_J19.pkl.

    Raises PoseFactoryError for files that are not these, or damaged, or hostile.
    """
    return Body(read_model(model), read_regressor(regressor))


def read_model(path: Path) -> dict[str, np.ndarray]:
    """SMPL's arrays: v_template (6890, 3), shapedirs (6890, 3, >= 10), posedirs (6890, 3, 207), J_regressor (24, 6890),
    weights (6890, 24), kintree_table (2, 24) and f (F, 3)."""
    content = _read(path)
    if not isinstance(content, dict):
        raise PoseFactoryError(f"{path} is not an SMPL model: it holds no table of arrays.")
    model = {name: _array(content.get(name), name, shape, path) for name, shape in _SHAPES.items()}
    if model["shapedirs"].shape[2] < BETAS:
        raise PoseFactoryError(f"{path} is not an SMPL model for HMR2: it has fewer than {BETAS} shape parameters.")
    if (model["kintree_table"][0, 1:] >= np.arange(1, ROTATIONS)).any():
        raise PoseFactoryError(
            f"{path} is not what it should be: in its kintree_table a joint comes before its parent."
        )
    return model


def read_regressor(path: Path) -> np.ndarray:
    """(19, 6890) weights of the vertices for each of the joints that HMR2 adds."""
    return _array(_read(path), "regressor", (EXTRA, VERTICES), path)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise PoseFactoryError(f"There is no {path}; docs/models.md says where it comes from.")
    try:
        with path.open("rb") as file:
            if path.suffix != ".npz":
                return unpickle.load(file, _KNOWN)
            arrays = np.load(file, allow_pickle=False)
            return {name: arrays[name] for name in _SHAPES if name in arrays}
    except unpickle.UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        raise PoseFactoryError(f"Cannot read {path} ({type(error).__name__}: {reason}); get it anew.") from error


def _array(value: Any, name: str, shape: tuple[int | None, ...], path: Path) -> np.ndarray:
    """`value` as numbers of that shape, in which None is any length."""
    try:
        array = value.array(shape) if isinstance(value, _Stored) else value
    except unpickle.UNREADABLE as error:
        raise PoseFactoryError(f"{path} is damaged: its {name} has no values; get it anew.") from error
    fits = (
        isinstance(array, np.ndarray)
        and array.dtype.kind in "fiu"
        and len(array.shape) == len(shape)
        and all(wanted in (None, size) for size, wanted in zip(array.shape, shape, strict=True))
    )
    if not fits or not np.isfinite(array).all():
        wanted = " x ".join("any" if size is None else str(size) for size in shape)
        found = " x ".join(map(str, array.shape)) if isinstance(array, np.ndarray) else type(value).__name__
        raise PoseFactoryError(f"{path} is not what it should be: its {name} is {found}, not {wanted} numbers.")
    return array


class _Stored(unpickle.Inert):
    """An object of chumpy or SciPy as far as its array goes."""

    def __setstate__(self, state: Any) -> None:
        vars(self)["state"] = state

    def array(self, shape: tuple[int | None, ...]) -> np.ndarray:
        """Its values, which should have that shape; UNREADABLE is what it raises."""
        raise NotImplementedError


class _Leaf(_Stored):
    """chumpy.Ch: an array."""

    def array(self, shape: tuple[int | None, ...]) -> np.ndarray:
        return self.state["x"]


class _Selection(_Stored):
    """chumpy's Select: elements of another one."""

    def array(self, shape: tuple[int | None, ...]) -> np.ndarray:
        source = self.state["a"]
        values = source.array(shape) if isinstance(source, _Stored) else source
        return values.ravel()[self.state["idxs"]].reshape(self.state["preferred_shape"])


class _Sparse(_Stored):
    """SciPy's compressed sparse column matrix."""

    def array(self, shape: tuple[int | None, ...]) -> np.ndarray:
        parts = tuple(self.state[name] for name in ("data", "indices", "indptr"))
        matrix = scipy.sparse.csc_matrix(parts, shape=shape)
        matrix.check_format(full_check=True)
        return matrix.toarray()


def _reconstruct(cls: type, base: type, state: Any) -> Any:
    """What Python 2 calls to make an object, for our stand-ins."""
    return cls() if issubclass(cls, unpickle.Inert) else unpickle.Inert()


_KNOWN = {
    ("chumpy", "Ch"): _Leaf,
    ("chumpy.ch", "Ch"): _Leaf,
    ("chumpy.reordering", "Select"): _Selection,
    ("scipy.sparse.csc", "csc_matrix"): _Sparse,
    ("scipy.sparse._csc", "csc_matrix"): _Sparse,
    ("copyreg", "_reconstructor"): _reconstruct,
    ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): np.core.multiarray._reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): np.core.multiarray._reconstruct,
}
