"""The learned forecast of SMPL poses: PHALP's transformer (`Pose_transformer_v2`), read from its published weights.

A film of frame_length slots is filled with the poses seen, masked where there is none, and the network tells the pose
of every slot. Built from what is published of its code; no reference output of it was available, so that tests hold it
to its own properties only (names, shapes, masks), not to the original's numbers. Two defects of the original are not
reproduced: it gives every track the slot of the first one, and that slot is the last seen one instead of the next.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from pose_factory.association.cost import SMPL_POSE
from pose_factory.association.detection import SMPL_ROTATIONS, SMPL_SHAPE
from pose_factory.errors import PoseFactoryError
from pose_factory.hmr2.checkpoint import read_state_dict
from pose_factory.hmr2.models import POSE_STATISTICS
from pose_factory.hmr2.network import rotation_matrices

HEAD_SIZE = 64
CONVOLUTION_PADDING = 1
HIDDEN = 1024
ITERATIONS = 3
"""How often the read-out of the SMPL parameters corrects itself."""
STATISTICS = Path(POSE_STATISTICS).name
"""Beside the weights: mean and standard deviation of the pose vectors, each (1, D), D up to 229."""


class LearnedPredictor:
    """The PosePredictor with the network at `weights`, for poses of PHALP's 229 numbers.

    Raises PoseFactoryError where the weights or the statistics beside them are missing or not those of this network.
    """

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        self._network = load(weights).to(device)
        self._mean, self._deviation = (torch.from_numpy(values).to(device) for values in _statistics(weights.parent))
        self._device = device

    def __call__(self, poses: np.ndarray, times: np.ndarray, horizon: np.ndarray) -> np.ndarray:
        """See pose_factory.association.forecast. A history too long for the network loses its oldest poses."""
        slots = self._network.frame_length
        target = times[:, -1] + horizon
        first = np.maximum(times[:, 0], target - (slots - 1))
        position, rows = times - first[:, None], np.arange(len(times))
        person, observation = np.nonzero(position >= 0)
        film = np.zeros((len(times), slots, SMPL_POSE), dtype=np.float32)
        seen = np.zeros((len(times), slots), dtype=bool)
        at = position[person, observation]
        film[person, at], seen[person, at] = poses[person, observation], True
        with torch.inference_mode():
            vectors = (torch.from_numpy(film).to(self._device) - self._mean) / (self._deviation + 1e-10)
            told = self._network(vectors, torch.from_numpy(seen).to(self._device)).cpu().numpy()
        return told[rows, target - first].astype(float)


class PoseTransformer(nn.Module):
    """The network, with the parameter names of the published checkpoint (there under `state_dict`, after `encoder.`),
    as far as this forecast needs them."""

    def __init__(self, size: int, frame_length: int, layers: int, heads: int, hidden: int, encoded: int, kernel: int):
        super().__init__()
        self.frame_length = frame_length
        self.mask_token = nn.Parameter(torch.zeros(size))
        self.pos_embedding_learned1 = nn.Parameter(torch.zeros(1, frame_length, size))
        self.pos_embedding_learned2 = nn.Parameter(torch.zeros(1, frame_length, size))
        self.pose_shape_encoder = nn.Sequential(nn.Linear(SMPL_POSE, encoded), nn.ReLU(), nn.Linear(encoded, size))
        self.transformer1 = _Transformer(size, layers, heads, hidden)
        self.transformer2 = _Transformer(size, 1, heads, hidden)
        stride = kernel - 2 * CONVOLUTION_PADDING
        self.conv_en = nn.Conv1d(size, size, kernel, stride, CONVOLUTION_PADDING)
        self.conv_de = nn.ConvTranspose1d(size, size, kernel, stride, CONVOLUTION_PADDING)
        self.smpl_head = nn.ModuleList([_SmplHead(size)])
        self.loca_head = nn.ModuleList(
            [nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size), nn.ReLU(), nn.Linear(size, 3))]
        )

    def forward(self, poses: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Pose vectors (N, frame_length, 229) of all slots, from the normalised `poses` (N, frame_length, 229) of those
        that were `seen` (N, frame_length); at least one per person."""
        tokens = torch.where(seen[..., None], self.pose_shape_encoder(poses), self.mask_token)
        tokens = self.transformer1(tokens + self.pos_embedding_learned1, seen[:, None, None])
        tokens = self.conv_de(self.conv_en(tokens.transpose(1, 2))).transpose(1, 2)
        tokens = self.transformer2(tokens + self.pos_embedding_learned2, None)
        return torch.cat([self.smpl_head[0](tokens), self.loca_head[0](tokens)], dim=-1)


class _Transformer(nn.Module):
    def __init__(self, size: int, layers: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([_PreNorm(size, _Attention(size, heads)), _PreNorm(size, _FeedForward(size, hidden))])
            for _ in range(layers)
        )

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        for attention, feed_forward in self.layers:
            tokens = tokens + attention(tokens, mask)
            tokens = tokens + feed_forward(tokens)
        return tokens


class _PreNorm(nn.Module):
    def __init__(self, size: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(size), fn

    def forward(self, tokens: torch.Tensor, *more) -> torch.Tensor:
        return self.fn(self.norm(tokens), *more)


class _Attention(nn.Module):
    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(size, 3 * heads * HEAD_SIZE, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * HEAD_SIZE, size))

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, HEAD_SIZE)).transpose(1, 2) for part in self.to_qkv(tokens).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.to_out(mixed.transpose(1, 2).flatten(-2))


class _FeedForward(nn.Module):
    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        # the third and fifth are the original's dropouts, which number its parameters
        self.net = nn.Sequential(
            nn.Linear(size, hidden), nn.GELU(), nn.Identity(), nn.Linear(hidden, size), nn.Identity()
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.net(tokens)


class _SmplHead(nn.Module):
    """Rotations as matrices (216) and betas (10) of each token, found by correcting the mean body three times."""

    def __init__(self, size: int) -> None:
        super().__init__()
        sizes = {"body_pose": 6 * SMPL_ROTATIONS, "betas": SMPL_SHAPE, "cam": 3}
        for name, count in sizes.items():
            self.register_buffer(f"init_{name}", torch.zeros(1, count))
        self.fc1 = nn.Linear(size + sum(sizes.values()), HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, HIDDEN)
        self.decpose, self.decshape, self.deccam = (nn.Linear(HIDDEN, count) for count in sizes.values())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        start = (self.init_body_pose, self.init_betas, self.init_cam)
        pose, shape, camera = (values.expand(*tokens.shape[:-1], -1) for values in start)
        for _ in range(ITERATIONS):
            state = F.relu(self.fc2(F.relu(self.fc1(torch.cat([tokens, pose, shape, camera], dim=-1)))))
            pose, shape, camera = pose + self.decpose(state), shape + self.decshape(state), camera + self.deccam(state)
        return torch.cat([rotation_matrices(pose.unflatten(-1, (SMPL_ROTATIONS, 6))).flatten(-3), shape], dim=-1)


def load(weights: Path) -> PoseTransformer:
    """The network in a published checkpoint, in evaluation mode; its sizes follow from the parameters' shapes.

    Raises PoseFactoryError where the file cannot be read or its parameters are not those of this network.
    """
    stored = read_state_dict(weights)
    found = {name.removeprefix("encoder."): value for name, value in stored.items()}
    try:
        kernel, frames = found["conv_en.weight"].shape[2], found["pos_embedding_learned1"].shape[1]
        network = PoseTransformer(
            size=len(found["mask_token"]),
            frame_length=frames,
            layers=len({name.split(".")[2] for name in found if name.startswith("transformer1.layers.")}),
            heads=len(found["transformer1.layers.0.0.fn.to_qkv.weight"]) // (3 * HEAD_SIZE),
            hidden=len(found["transformer1.layers.0.1.fn.net.0.weight"]),
            encoded=len(found["pose_shape_encoder.0.weight"]),
            kernel=kernel,
        )
        network.load_state_dict({name: found[name] for name in network.state_dict()})
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise PoseFactoryError(
            f"{weights} does not hold PHALP's pose predictor ({reason}); put the published pose_predictor.pth there."
        ) from error
    return network.eval()


def _statistics(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (229,) float32 of pose vectors; what the file lacks is 0 and 1."""
    file = folder / STATISTICS
    try:
        stored = np.load(file, allow_pickle=False).astype(np.float32).reshape(2, -1)
        mean, deviation = np.zeros(SMPL_POSE, np.float32), np.ones(SMPL_POSE, np.float32)
        mean[: stored.shape[1]], deviation[: stored.shape[1]] = stored
    except (OSError, ValueError) as error:
        raise PoseFactoryError(
            f"{file} does not hold the mean and deviation of poses ({error}); put PHALP's {STATISTICS} there."
        ) from error
    return mean, deviation
