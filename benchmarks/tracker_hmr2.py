"""HMR2 at its full size, with random weights, on the best device there is: crops one by one and in batches."""

import resource
import sys
import time

import numpy as np
import torch

from pose_factory.hmr2 import crops
from pose_factory.hmr2.network import Network, Sizes
from pose_factory.tracking.hmr2_pose import PRECISIONS, device

BOX = np.array([120.0, 20, 330, 490])
SCALE = 0.02
"""Standard deviation of the weights: what the network says is nonsense, but not NaN."""


def random_network(on: torch.device) -> Network:
    """The full-size network with random weights."""
    with torch.device("meta"):
        network = Network(Sizes())
    network = network.to_empty(device=on).eval().requires_grad_(False)
    for tensor in network.state_dict().values():
        torch.nn.init.normal_(tensor, std=SCALE)
    return network


def measure(
    network: Network, image: np.ndarray, count: int, precision: torch.dtype, on: torch.device
) -> tuple[float, float]:
    """Seconds, and CPU seconds, per crop of cutting `count` of them out of `image` and of asking the network about all
    at once."""
    (centre,), (side,) = crops.squares(BOX[None])
    started, worked = time.perf_counter(), time.process_time()
    batch = torch.from_numpy(crops.normalised([crops.crop(image, centre, side) for _ in range(count)])).to(on)
    reduced = precision != torch.float32
    with torch.inference_mode(), torch.autocast(on.type, precision if reduced else None, enabled=reduced):
        network(batch).rotations.cpu()  # waits for the device
    return (time.perf_counter() - started) / count, (time.process_time() - worked) / count


def megabytes(on: torch.device) -> float:
    """The most memory taken so far, of the device where it has its own."""
    if on.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def main() -> None:
    on = device("auto")
    name = torch.cuda.get_device_name() if on.type == "cuda" else f"{on}, {torch.get_num_threads()} threads"
    network = random_network(on)
    image = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    counts, precisions, rounds = ((1, 4), ["fp32"], 1) if on.type == "cpu" else ((1, 4, 16), list(PRECISIONS), 10)
    print(f"HMR2, {sum(tensor.numel() for tensor in network.state_dict().values()) / 1e6:.1f} M numbers, on {name}")
    print("precision  batch  ms a crop  CPU ms a crop  crops/s  times one by one  peak MB")
    for precision in precisions:
        alone = 0.0
        for count in counts:
            arguments = network, image, count, PRECISIONS[precision], on
            measure(*arguments)  # the first time loads and tunes
            took, worked = np.median([measure(*arguments) for _ in range(rounds)], axis=0)
            alone = alone or took
            figures = f"{1000 * took:10.1f} {1000 * worked:14.1f} {1 / took:8.2f} {alone / took:17.2f}"
            print(f"{precision:>9s} {count:6d} {figures} {megabytes(on):8.0f}", flush=True)


if __name__ == "__main__":
    main()
