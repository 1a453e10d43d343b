"""HMR2's network: a vision transformer (ViTPose's, Xu et al. 2022) reads the crop, a transformer decoder with a single
query asks it for the body.

Parameters have the names and shapes of the published checkpoint, so that it loads as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

CROP, PATCH, PADDING = 256, 16, 2
"""Pixels: the side of a crop, of a patch, and the frame of zeros about the image that patches are cut from."""
SIDES = 32
"""The columns on either side of the crop that the network does not see: it was trained on 192 x 256."""
PATCHES = (CROP // PATCH) * ((CROP - 2 * SIDES) // PATCH)
ROTATIONS, BETAS, CAMERA = 24, 10, 3


@dataclass(frozen=True)
class Sizes:
    """The sizes of a network; as they stand, the published one's."""

    embed: int = 1280
    depth: int = 32
    heads: int = 16
    hidden: int = 5120
    """Of the perceptrons between the attention layers."""
    decoder_embed: int = 1024
    decoder_depth: int = 6
    decoder_heads: int = 8
    decoder_attention: int = 512
    """Of all the decoder's heads together."""
    decoder_hidden: int = 1024

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]], heads: int = heads, decoder_heads: int = decoder_heads) -> "Sizes":
        """The sizes of the network whose parameters have these shapes; what they do not tell is as published.

        Shapes do not show how many heads share an attention layer.
        """

        def first(name: str, otherwise: int) -> int:
            return next(iter(shapes.get(name, ())), otherwise)

        def count(prefix: str, otherwise: int) -> int:
            return len({name[len(prefix) :].split(".")[0] for name in shapes if name.startswith(prefix)}) or otherwise

        layers = "smpl_head.transformer.transformer.layers."
        return cls(
            embed=first("backbone.last_norm.weight", cls.embed),
            depth=count("backbone.blocks.", cls.depth),
            heads=heads,
            hidden=first("backbone.blocks.0.mlp.fc1.bias", cls.hidden),
            decoder_embed=first("smpl_head.transformer.to_token_embedding.bias", cls.decoder_embed),
            decoder_depth=count(layers, cls.decoder_depth),
            decoder_heads=decoder_heads,
            decoder_attention=first(f"{layers}0.1.fn.to_q.weight", cls.decoder_attention),
            decoder_hidden=first(f"{layers}0.2.fn.net.0.bias", cls.decoder_hidden),
        )


@dataclass(frozen=True)
class Prediction:
    """What the network says of N crops."""

    rotations: torch.Tensor
    """(N, 24, 3, 3) SMPL's rotations: the first turns the body into camera axes, the others are relative to the
    parent's."""
    betas: torch.Tensor
    """(N, 10) SMPL's shape."""
    camera: torch.Tensor
    """(N, 3) weak-perspective camera of the crop: scale s, and t_x, t_y in metres."""


class Network(nn.Module):
    """Crops in, bodies out."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.backbone = _Backbone(sizes)
        self.smpl_head = _Head(sizes)

    def forward(self, crops: torch.Tensor) -> Prediction:
        """`crops` (N, 3, 256, 256) are RGB, normalised as `crops.normalised` does. All but the backbone is computed in
        single precision, whatever autocast says: rotations need the digits, and it takes no time."""
        features = self.backbone(crops[..., SIDES:-SIDES])
        with torch.autocast(crops.device.type, enabled=False):
            return self.smpl_head(features.float())


class _Backbone(nn.Module):
    """(N, 3, 256, 192) -> (N, embed, 16, 12)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        # The first of the positions was meant for a class token, of which there is none: all patches share it.
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + PATCHES, sizes.embed))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, sizes.embed, PATCH, stride=PATCH, padding=PADDING)})
        self.blocks = nn.ModuleList(_Block(sizes) for _ in range(sizes.depth))
        self.last_norm = nn.LayerNorm(sizes.embed, eps=1e-6)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        grid = self.patch_embed["proj"](images)
        tokens = grid.flatten(2).transpose(1, 2) + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        for block in self.blocks:
            tokens = block(tokens)
        return self.last_norm(tokens).transpose(1, 2).reshape(grid.shape)


class _Block(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(sizes.embed, eps=1e-6)
        self.attn = _Attention(sizes)
        self.norm2 = nn.LayerNorm(sizes.embed, eps=1e-6)
        hidden = {"fc1": nn.Linear(sizes.embed, sizes.hidden), "fc2": nn.Linear(sizes.hidden, sizes.embed)}
        self.mlp = nn.ModuleDict(hidden)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(tokens))))


class _Attention(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.qkv = nn.Linear(sizes.embed, 3 * sizes.embed)
        self.proj = nn.Linear(sizes.embed, sizes.embed)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.proj(_attend(*self.qkv(tokens).chunk(3, dim=-1), self.heads))


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Multi-head attention of queries (N, Q, D) to keys and values (N, K, D); (N, Q, D)."""
    parts = [part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key, value)]
    return F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)


class _Head(nn.Module):
    """(N, embed, 16, 12) -> Prediction: what the decoder reads is added to the mean of the training data."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.register_buffer("init_body_pose", torch.zeros(1, 6 * ROTATIONS))
        self.register_buffer("init_betas", torch.zeros(1, BETAS))
        self.register_buffer("init_cam", torch.zeros(1, CAMERA))
        self.transformer = _Decoder(sizes)
        self.decpose = nn.Linear(sizes.decoder_embed, 6 * ROTATIONS)
        self.decshape = nn.Linear(sizes.decoder_embed, BETAS)
        self.deccam = nn.Linear(sizes.decoder_embed, CAMERA)

    def forward(self, features: torch.Tensor) -> Prediction:
        answer = self.transformer(features.flatten(2).transpose(1, 2))
        return Prediction(
            rotations=rotation_matrices((self.init_body_pose + self.decpose(answer)).unflatten(-1, (ROTATIONS, 6))),
            betas=self.init_betas + self.decshape(answer),
            camera=self.init_cam + self.deccam(answer),
        )


class _Decoder(nn.Module):
    """What a single query, which carries no information, gathers from tokens (N, K, embed): (N, decoder_embed)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, 1, sizes.decoder_embed))
        self.to_token_embedding = nn.Linear(1, sizes.decoder_embed)
        layers = nn.ModuleList(_layer(sizes) for _ in range(sizes.decoder_depth))
        self.transformer = nn.ModuleDict({"layers": layers})

    def forward(self, context: torch.Tensor) -> torch.Tensor:
        query = self.to_token_embedding(context.new_zeros(len(context), 1, 1)) + self.pos_embedding
        for own, cross, perceptron in self.transformer["layers"]:
            query = query + own(query)
            query = query + cross(query, context)
            query = query + perceptron(query)
        return query[:, 0]


def _layer(sizes: Sizes) -> nn.ModuleList:
    return nn.ModuleList(_Normed(part, sizes) for part in (_OwnAttention, _CrossAttention, _Perceptron))


class _Normed(nn.Module):
    """A part of the decoder behind the norm of its input."""

    def __init__(self, part: type[nn.Module], sizes: Sizes) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(sizes.decoder_embed)
        self.fn = part(sizes)

    def forward(self, query: torch.Tensor, *context: torch.Tensor) -> torch.Tensor:
        return self.fn(self.norm(query), *context)


class _OwnAttention(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = sizes.decoder_heads
        self.to_qkv = nn.Linear(sizes.decoder_embed, 3 * sizes.decoder_attention, bias=False)
        self.to_out = nn.Sequential(nn.Linear(sizes.decoder_attention, sizes.decoder_embed))

    def forward(self, query: torch.Tensor) -> torch.Tensor:
        return self.to_out(_attend(*self.to_qkv(query).chunk(3, dim=-1), self.heads))


class _CrossAttention(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = sizes.decoder_heads
        self.to_q = nn.Linear(sizes.decoder_embed, sizes.decoder_attention, bias=False)
        self.to_kv = nn.Linear(sizes.embed, 2 * sizes.decoder_attention, bias=False)
        self.to_out = nn.Sequential(nn.Linear(sizes.decoder_attention, sizes.decoder_embed))

    def forward(self, query: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return self.to_out(_attend(self.to_q(query), *self.to_kv(context).chunk(2, dim=-1), self.heads))


class _Perceptron(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        first = nn.Linear(sizes.decoder_embed, sizes.decoder_hidden)
        last = nn.Linear(sizes.decoder_hidden, sizes.decoder_embed)
        self.net = nn.Sequential(first, nn.GELU(), nn.Identity(), last)  # the third was dropout, and numbers the fourth

    def forward(self, query: torch.Tensor) -> torch.Tensor:
        return self.net(query)


def rotation_matrices(columns: torch.Tensor) -> torch.Tensor:
    """(..., 3, 3) rotations from (..., 6): their first two columns one after the other, before Gram-Schmidt makes them
    orthonormal (Zhou et al. 2019, "On the Continuity of Rotation Representations in Neural Networks")."""
    first, second = columns[..., :3], columns[..., 3:]
    x = F.normalize(first, dim=-1)
    y = F.normalize(second - (x * second).sum(dim=-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)
