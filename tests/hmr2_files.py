"""Small files like those that HMR2 needs: a checkpoint of a tiny random network, and a body in SMPL's format."""

import collections
import contextlib
import pickle
import struct
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.sparse
import torch

from pose_factory.hmr2 import models
from pose_factory.hmr2.network import Network, Sizes

TINY = Sizes(embed=32, depth=2, hidden=48, decoder_embed=24, decoder_depth=2, decoder_attention=16, decoder_hidden=20)
VERTICES = 6890
PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]
REST = np.array(
    [
        (0.00, 0.00, 0.00),  # pelvis
        (0.07, -0.09, 0.00),  # left hip, which is at +x
        (-0.07, -0.09, 0.00),
        (0.00, 0.11, -0.02),  # spine 1
        (0.10, -0.47, 0.00),  # left knee
        (-0.10, -0.47, 0.00),
        (0.00, 0.25, -0.02),  # spine 2
        (0.09, -0.87, -0.03),  # left ankle
        (-0.09, -0.87, -0.03),
        (0.00, 0.30, 0.00),  # spine 3
        (0.11, -0.93, 0.09),  # left foot
        (-0.11, -0.93, 0.09),
        (0.00, 0.51, -0.03),  # neck
        (0.08, 0.42, -0.02),  # left collar
        (-0.08, 0.42, -0.02),
        (0.00, 0.60, 0.02),  # head
        (0.17, 0.45, -0.03),  # left shoulder
        (-0.17, 0.45, -0.03),
        (0.43, 0.44, -0.05),  # left elbow
        (-0.43, 0.44, -0.05),
        (0.69, 0.45, -0.05),  # left wrist
        (-0.69, 0.45, -0.05),
        (0.77, 0.44, -0.06),  # left hand
        (-0.77, 0.44, -0.06),
    ]
)
UPRIGHT = [1.0, 0, 0, 0, -1, 0]
"""SMPL's y is up, a camera's down: the first two columns of the rotation that stands a body up in camera axes."""


# The checkpoint


def state_dict(sizes: Sizes = TINY, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of a network that sees an upright body about the crop's middle, a little different in each crop."""
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(tensor.shape, generator=generator) * (0.2 if "norm" not in name else 0.1)
        for name, tensor in Network(sizes).state_dict().items()
    }
    weights |= {name: value + 1 for name, value in weights.items() if "norm" in name and name.endswith("weight")}
    for name in ("decpose", "decshape", "deccam"):
        weights |= {
            f"smpl_head.{name}.{part}": 0.1 * weights[f"smpl_head.{name}.{part}"] for part in ("weight", "bias")
        }
    weights["smpl_head.init_body_pose"] = torch.tensor([UPRIGHT + 23 * [1.0, 0, 0, 0, 1, 0]])
    weights["smpl_head.init_betas"] = torch.zeros(1, 10)
    weights["smpl_head.init_cam"] = torch.tensor([[0.9, 0, 0]])
    return weights


def write_checkpoint(path: Path, weights: dict[str, torch.Tensor]) -> Path:
    """Save weights as Lightning does: with configuration objects of yacs and omegaconf, and states of training."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = "yacs.config.CfgNode", "omegaconf.dictconfig.DictConfig", "omegaconf.nodes.AnyNode"
    with absent_classes(*names) as (node, config, value):
        tree = node({"MODEL": node({"IMAGE_SIZE": 256, "IMAGE_MEAN": [0.485, 0.456, 0.406]})})
        vars(tree)["__immutable__"] = True
        omega = config()
        vars(omega).update(_metadata={"element_type": typing.Any, "flags": collections.defaultdict(dict, a={})})
        omega["lr"] = value()
        parameter = torch.nn.Parameter(torch.ones(3))
        other = {
            "smpl.betas": torch.zeros(1, 10),
            "discriminator.D.weight": torch.ones(2, 2),
            "initialized": torch.tensor(True),
        }
        torch.save(
            {
                "epoch": 35,
                "global_step": 1000000,
                "pytorch-lightning_version": "1.8.1",
                "state_dict": collections.OrderedDict(weights | other),
                "optimizer_states": [
                    {"state": {0: {"exp_avg": parameter, "step": torch.tensor(1.0)}}, "param_groups": []}
                ],
                "hyper_parameters": {"cfg": tree, "omega": omega},
                "callbacks": {"ModelCheckpoint": {"best_model_score": np.float64(0.5)}},
            },
            path,
        )
    return path


@contextlib.contextmanager
def absent_classes(*names: str) -> Iterator[list[type]]:
    """Classes by full name, of packages that are not installed, for as long as they are pickled; those of modules
    called config are mappings."""
    saved, made = dict(sys.modules), []
    try:
        for module, _, name in (full.rpartition(".") for full in names):
            made.append(type(name, (dict,) if "config" in module else (), {"__module__": module}))
            package = module.partition(".")[0]
            sys.modules.setdefault(package, types.ModuleType(package))
            sys.modules[module] = types.ModuleType(module)
        for kind in made:
            setattr(sys.modules[kind.__module__], kind.__name__, kind)
        yield made
    finally:
        sys.modules.clear()
        sys.modules.update(saved)


# The body


def smpl() -> dict[str, np.ndarray]:
    """SMPL's arrays of a body of rigid limbs: each joint is the mean of the vertices that move with it."""
    generator = np.random.default_rng(0)
    owner = np.arange(VERTICES) % 24
    weights = np.eye(24)[owner]
    scattered = generator.normal(scale=0.03, size=(VERTICES, 3))
    regressor = weights.T / weights.sum(axis=0)[:, None]
    scattered -= (regressor @ scattered)[owner]
    return {
        "v_template": REST[owner] + scattered,
        "shapedirs": generator.normal(scale=0.002, size=(VERTICES, 3, 10)),
        "posedirs": np.zeros((VERTICES, 3, 207), np.float32),
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], range(24)], dtype=np.uint32),
        "f": generator.integers(0, VERTICES, (100, 3)).astype(np.uint32),
    }


def extra() -> np.ndarray:
    """(19, 6890) regressor of joints, each the mean of a few vertices; the fourteenth's are the head's."""
    regressor = np.zeros((19, VERTICES))
    for joint in range(19):
        regressor[joint, [15 + 24 * (5 * joint + each) for each in range(5)]] = 0.2
    return regressor


def write_official(path: Path, model: dict[str, np.ndarray]) -> Path:
    """Save SMPL as its authors did: with Python 2, some arrays as chumpy's, the joint regressor as SciPy's of old."""
    names = ("chumpy.ch.Ch", "chumpy.reordering.Select", "scipy.sparse.csc.csc_matrix", "chumpy.ch_ops.add")
    with absent_classes(*names) as (leaf, select, sparse, add), path.open("wb") as file:
        shape = model["shapedirs"].shape
        more = np.concatenate([model["shapedirs"], np.ones((*shape[:2], 3))], axis=2)
        kept = np.arange(more.size).reshape(more.shape)[:, :, : shape[2]].ravel()
        whole = _with(leaf(), x=more)
        matrix = scipy.sparse.csc_matrix(model["J_regressor"])
        parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "_shape": matrix.shape}
        content = model | {
            "v_template": _with(leaf(), x=model["v_template"], _dirty_vars=set(), _itr=None),
            "shapedirs": _with(select(), a=whole, idxs=kept, preferred_shape=shape),
            "J_regressor": _with(sparse(), maxprint=50, **parts),
            "v_posed": _with(add(), a=whole, b=whole),
            "bs_type": "lrotmin",
        }
        _Python2(file, protocol=1, fix_imports=True).dump(content)
    return path


def _with(thing, **state):
    vars(thing).update(state)
    return thing


class _Python2(pickle._Pickler):
    """Writes bytes and text as Python 2 does, which has one type for both."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_string


def write_all(folder: Path) -> Path:
    """A folder of models with a tiny network and a body of rigid limbs."""
    write_checkpoint(folder / models.CHECKPOINT, state_dict())
    (folder / models.REGRESSOR).parent.mkdir(parents=True, exist_ok=True)
    (folder / models.REGRESSOR).write_bytes(pickle.dumps(extra()))
    body = folder / models.BODIES[1]
    body.parent.mkdir(parents=True)
    np.savez(body, **smpl())
    return folder
