"""WebDataset's format for training from a stream (https://github.com/webdataset/webdataset): tar files in which a
picture and its labels follow each other."""

import io
import json
import tarfile
from collections.abc import Iterable
from itertools import chain, count, islice
from pathlib import Path

import numpy as np

from pose_factory.errors import PoseFactoryError
from pose_factory.export.views import View
from pose_factory.files import json_safe

PIXEL_DECIMALS, METRE_DECIMALS = 3, 5


def labels(view: View, row: int) -> dict:
    """What the JSON beside the view's picture `row` holds (docs/export.md); None for what is missing.

    Pixels are to a thousandth, metres to a hundredth of a millimetre.
    """
    camera = view.camera
    return {
        "character": view.character,
        "camera_angle": view.angle,
        "frame": int(view.frames[row]),
        "time": round(float(view.time[row]), 6),
        "width": camera.width,
        "height": camera.height,
        "K": camera.K.tolist(),
        "R": camera.R.tolist(),
        "t": camera.t.tolist(),
        "people": [
            {
                "person": person,
                "character": view.people[person],
                "box": _rounded(view.boxes[row, person], PIXEL_DECIMALS),
                "area": round(float(view.area[row, person]), PIXEL_DECIMALS),
                "keypoints": _rounded(view.pixels[row, person], PIXEL_DECIMALS),
                "visibility": view.visibility[row, person].tolist(),
                "joints_world": _rounded(view.world[row, person], METRE_DECIMALS),
            }
            for person in np.flatnonzero(view.present[row]).tolist()
        ],
    }


def write_shards(folder: Path, character: str, samples: Iterable[tuple[str, Path, dict]], size: int) -> None:
    """Write `samples` (key, picture, labels) as {character}-000000.tar and so on, `size` of them in each.

    The same samples give the same bytes. Raises PoseFactoryError for a picture that is not there.
    """
    waiting = iter(samples)
    for number in count():
        part = islice(waiting, size)
        if (first := next(part, None)) is None:
            return
        with tarfile.open(folder / f"{character}-{number:06d}.tar", "w") as tar:
            for key, picture, told in chain([first], part):
                if not picture.is_file():
                    raise PoseFactoryError(f"{picture} is missing; render its view again.")
                content = json.dumps(json_safe(told), separators=(",", ":"), allow_nan=False).encode()
                for suffix, data in (("png", picture.read_bytes()), ("json", content)):
                    about = tarfile.TarInfo(f"{key}.{suffix}")  # of nobody, at the beginning of time
                    about.size = len(data)
                    tar.addfile(about, io.BytesIO(data))


def _rounded(values: np.ndarray, decimals: int) -> list:
    return values.round(decimals).tolist()
