"""A sensor's noise in finished pictures."""

from pathlib import Path

import numpy as np


def noisy(pixels: np.ndarray, sigma: float, seed: int, frame: int) -> np.ndarray:
    """`pixels` (H, W, 3) uint8 with Gaussian noise added to each channel of each pixel for itself. `sigma` is a
    fraction of full scale in the picture's own values, which are sRGB's. Each seed and frame, which may be below 0, has
    its own noise."""
    noise = np.random.default_rng([seed, frame % 2**32]).normal(0, sigma * 255, pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


def add(path: Path, frame: int, sigma: float, seed: int) -> None:
    """Add noise to the picture in the file `path`; without any, the file stays as it is."""
    if not sigma:
        return
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image)
    Image.fromarray(noisy(pixels, sigma, seed, frame)).save(path)
