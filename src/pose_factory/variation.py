"""What differs from view to view, all drawn before anything is rendered: a plain record that the stages only carry out.

Every number is read off a hash of the seed, the character, the camera angle and its own name, and of nothing else. So
another character, another angle or a wider range of something else changes no number, and neither does another version
of a library; and a plan, which draws for thousands of views, needs no NumPy for it.
"""

import colorsys
import hashlib
import json
import os
from collections.abc import Sequence
from functools import cache
from typing import Any

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
PANORAMAS = (".hdr", ".exr")
"""Of the pictures in a folder of backgrounds: those that fill the frame, and those that are all around and give the
light."""
SHAPES = ("box", "cylinder", "sphere")
PATTERNS = ("clouds", "cells", "stripes", "swirls")
"""Of the background `texture`."""
ACROSS, UP, DEPTH = (0.25, 0.75), (0.1, 0.9), (0.45, 0.9)
"""Where occluders are: in the box around the motion, away from its edges, where it seldom is; and as fractions of the
way from the camera to its nearest point."""

_COLOURS = {  # ranges of hue, saturation and value (HSV of sRGB); grounds are never as bright or loud as a wall may be
    "plain": ((0.0, 1.0), (0.0, 0.6), (0.2, 0.9)),
    "texture": ((0.0, 1.0), (0.1, 0.6), (0.2, 0.9)),
    "checker": ((0.0, 1.0), (0.0, 0.4), (0.25, 0.8)),
    "wood": ((0.05, 0.1), (0.3, 0.6), (0.35, 0.7)),
    "noise": ((0.06, 0.3), (0.1, 0.4), (0.3, 0.65)),
    "occluder": ((0.0, 1.0), (0.1, 0.7), (0.2, 0.85)),
}

OFF: dict[str, Any] = {
    "camera": {
        **{"azimuth": 0.0, "elevation": 0.0, "roll": 0.0},
        **{"shift": [0.0, 0.0], "focal_length": 1.0, "distance": 1.0},
    },
    "occluders": [],
    "light": {"kind": "studio", "strength": 1.0, "turn": 0.0, "hour": None},
    "background": {"kind": "gradient", "colours": [], "pattern": None, "scale": None, "file": None},
    "ground": {"kind": "plain", "colours": [], "size": None},
    "noise": {"sigma": 0.0, "seed": 0},
    "motion_blur": {"shutter": 0.0},
}
"""What is drawn where the config varies nothing."""


def draw(settings: dict, character: str, camera_angle: str) -> dict[str, Any]:
    """All that is drawn for one view, from the config's `variation` with `background.files`, the names of the images in
    its folder.

    Returns, JSON's types only, as OFF has them:
        camera: what changes a camera angle of the config: `azimuth` and `elevation` (degrees, added), `roll` (degrees),
            `shift` ([right, up] of the point that it looks at, in sizes of the motion), `focal_length` and `distance`
            (factors).
        occluders: [{shape, colour, size, across, up, depth, stands, turn (3 angles, degrees)}], for
            `geometry.occlusion.place`.
        light: `kind` (studio, sun or sky; panorama where the background is one), `strength` (factor), `turn` (degrees),
            `hour` (of a sun or a sky, also of one that is seen only).
        background: `kind`, `colours` ('#rrggbb'), `pattern` and `scale` (of a texture), `file` (a name in the folder).
        ground: `kind`, `colours`, `size` (metres, of its pattern).
        noise: `sigma` (a fraction of full scale), `seed`.
        motion_blur: `shutter` (a fraction of the time between frames).

    Light, background and ground are a place, which all views of a character share with `per: character`; the rest
    belongs to a camera, and so to a view.
    """
    of_view = _Draw(settings["seed"], character, camera_angle)
    of_place = _Draw(settings["seed"], character) if settings["per"] == "character" else of_view
    background = _background(of_place, settings["background"])
    return {
        "camera": _camera(of_view, settings["camera"]),
        "occluders": _occluders(of_view, settings["occluders"]),
        "light": _light(of_place, settings["light"], background),
        "background": background,
        "ground": _ground(of_place, settings["ground"]),
        "noise": _noise(of_view, settings["noise"]),
        "motion_blur": {"shutter": of_view.between("motion blur", settings["motion_blur"])},
    }


def images_in(folder: str) -> list[str]:
    """The names of the pictures in `folder` that can be a background, sorted; none if there is no such folder."""
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if _suffix(entry.name) in (*IMAGES, *PANORAMAS) and entry.is_file()]
    return sorted(name for name in names if not name.startswith("."))


def is_panorama(file: str) -> bool:
    """Whether a background is all around, and so the light, too."""
    return _suffix(file) in PANORAMAS


class _Draw:
    """Draws for one view, or for one character."""

    def __init__(self, *names: int | str) -> None:
        self._hash = hashlib.sha256(json.dumps(names).encode())

    def bits(self, name: str) -> int:
        """64 random bits."""
        named = self._hash.copy()
        named.update(name.encode())
        return int.from_bytes(named.digest()[:8])

    def unit(self, name: str) -> float:
        """Evenly from [0, 1)."""
        return (self.bits(name) >> 11) / 2**53

    def between(self, name: str, limits: Sequence[float]) -> float:
        low, high = limits
        return low + (high - low) * self.unit(name)

    def one_of(self, name: str, options: Sequence[str]) -> str:
        """Each equally often. One more option takes its share from all others, and changes nothing between them."""
        return max(options, key=lambda option: self.bits(f"{name}: {option}"))

    def colour(self, name: str, kind: str) -> str:
        hsv = (self.between(f"{name} {part}", limits) for part, limits in zip("hsv", _COLOURS[kind], strict=True))
        return "#" + "".join(f"{round(255 * channel):02x}" for channel in colorsys.hsv_to_rgb(*hsv))


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _camera(of_view: _Draw, settings: dict) -> dict:
    drawn = {name: of_view.between(f"camera {name}", limits) for name, limits in settings.items() if name != "shift"}
    return {**drawn, "shift": [of_view.between(f"camera shift {axis}", settings["shift"]) for axis in ("right", "up")]}


def _occluders(of_view: _Draw, settings: dict) -> list[dict]:
    low, high = settings["count"]
    return [
        {
            "shape": of_view.one_of(f"{name} shape", SHAPES),
            "colour": of_view.colour(f"{name} colour", "occluder"),
            "size": of_view.between(f"{name} size", settings["size"]),
            "across": of_view.between(f"{name} across", ACROSS),
            "up": of_view.between(f"{name} up", UP),
            "depth": of_view.between(f"{name} depth", DEPTH),
            "stands": of_view.unit(f"{name} stands") < 0.5,
            "turn": [of_view.between(f"{name} turn {axis}", (0, 360)) for axis in "xyz"],
        }
        for name in (f"occluder {index}" for index in range(int(low + (high + 1 - low) * of_view.unit("occluders"))))
    ]


def _light(of_place: _Draw, settings: dict, background: dict) -> dict:
    around = is_panorama(background["file"] or "")
    kind = "panorama" if around else of_place.one_of("light", settings["kinds"])
    outdoors = kind in ("sun", "sky") or background["kind"] == "sky"
    return {
        "kind": kind,
        "strength": of_place.between("light strength", settings["strength"]),
        "turn": of_place.between("light turn", settings["turn"]),
        "hour": of_place.between("light hour", settings["hours"]) if outdoors else None,
    }


def _background(of_place: _Draw, settings: dict) -> dict:
    kind = of_place.one_of("background", settings["kinds"])
    count = {"plain": 1, "texture": 2}.get(kind, 0)
    return {
        "kind": kind,
        "colours": [of_place.colour(f"background {number}", kind) for number in range(count)],
        "pattern": of_place.one_of("background pattern", PATTERNS) if kind == "texture" else None,
        "scale": of_place.between("background scale", (2, 12)) if kind == "texture" else None,
        "file": _file(of_place, settings["files"]) if kind == "images" else None,
    }


def _file(of_place: _Draw, names: Sequence[str]) -> str | None:
    """One of `names`, chosen as `one_of` does, but for folders of a hundred thousand, too. None of none: a job that
    does not need it may run where the folder is not."""
    import numpy as np

    if not names:
        return None
    mixed = _keys(tuple(names)) ^ np.uint64(of_place.bits("background file"))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # SplitMix64 (Steele et al. 2014)
        mixed = (mixed ^ mixed >> np.uint64(shift)) * np.uint64(factor)
    return names[int((mixed ^ mixed >> np.uint64(31)).argmax())]


@cache
def _keys(names: tuple[str, ...]):
    import numpy as np

    return np.array([_Draw(name).bits("") for name in names], np.uint64)


def _ground(of_place: _Draw, settings: dict) -> dict:
    kind = of_place.one_of("ground", settings["kinds"])
    if kind == "plain":
        return OFF["ground"]
    sizes = {"checker": (0.25, 0.8), "wood": (0.08, 0.2), "noise": (0.05, 0.5)}  # a tile, a plank's width, a patch
    return {
        "kind": kind,
        "colours": [of_place.colour(f"ground {number}", kind) for number in range(2)],
        "size": of_place.between("ground size", sizes[kind]),
    }


def _noise(of_view: _Draw, limits: Sequence[float]) -> dict:
    sigma = of_view.between("noise", limits)
    return {"sigma": sigma, "seed": of_view.bits("noise seed") >> 32 if sigma else 0}
