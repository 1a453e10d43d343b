"""The published checkpoint: written by PyTorch Lightning, with the weights under `state_dict` among configurations and
the states of training, which are not loaded."""

import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace

import torch

from pose_factory.errors import PoseFactoryError
from pose_factory.hmr2 import unpickle
from pose_factory.hmr2.network import Network, Sizes

PARTS = ("backbone.", "smpl_head.")
"""Of the weights; the others are the body model's, the discriminator's and the losses'."""
_KNOWN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
}
_SHOWN = 3


def load(path: Path, heads: int = Sizes.heads, decoder_heads: int = Sizes.decoder_heads) -> Network:
    """The network of the checkpoint at `path`, of whatever size, on the CPU and ready for inference; its weights stay
    in the file until they are needed. Raises PoseFactoryError for a file that is damaged, hostile or another
    network's."""
    weights = {name: tensor for name, tensor in read_state_dict(path).items() if name.startswith(PARTS)}
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    sizes = Sizes.of(shapes, heads, decoder_heads)
    if sizes.embed % heads or sizes.decoder_attention % decoder_heads:
        raise PoseFactoryError(
            f"{path} is another network's: its {sizes.embed} and {sizes.decoder_attention} channels of attention do "
            f"not divide into HMR2's {heads} and {decoder_heads} heads; name HMR2's checkpoint."
        )
    with torch.device("meta"):
        network = Network(sizes)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if difference := _difference(wanted, shapes):
        raise PoseFactoryError(f"{path} is not HMR2's checkpoint: {difference}; `snakemake fetch_models` gets it.")
    network.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    return network.eval().requires_grad_(False)


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """All parameters in a checkpoint of Lightning's, by name, on the CPU. Raises PoseFactoryError for a file that is
    damaged or hostile."""
    if not path.is_file():
        raise PoseFactoryError(f"There is no checkpoint {path}: run `snakemake fetch_models`.")
    if not zipfile.is_zipfile(path):  # the directory of a zip file is its end
        raise PoseFactoryError(f"{path} is not a whole checkpoint: delete it and run `snakemake fetch_models` again.")
    # torch's own weights_only=True refuses mappings of unknown classes, such as the configuration beside the weights.
    reader = SimpleNamespace(__name__="restricted", Unpickler=unpickle.unpickler(_KNOWN))
    try:
        checkpoint = torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False, mmap=True)
        weights = checkpoint["state_dict"]
        return {name: tensor for name, tensor in weights.items() if isinstance(tensor, torch.Tensor)}
    except unpickle.UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        raise PoseFactoryError(
            f"Cannot read {path} as a checkpoint ({type(error).__name__}: {reason}); delete it and run "
            "`snakemake fetch_models` again."
        ) from error


def _difference(wanted: Mapping[str, tuple], found: Mapping[str, tuple]) -> str:
    """In what the shapes of a network's parameters differ from those that it should have; empty where they do not."""
    misshapen = [name for name in wanted if name in found and found[name] != wanted[name]]
    shapes = [f"{name} ({_times(found[name])} instead of {_times(wanted[name])})" for name in misshapen]
    parts = [
        _listed("missing", [name for name in wanted if name not in found]),
        _listed("unexpected", [name for name in found if name not in wanted]),
        _listed("misshapen", shapes),
    ]
    return ", ".join(filter(None, parts))


def _listed(what: str, names: list[str]) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{more})" if names else ""


def _times(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
