"""Draws diverse people: Anny bodies with looks and motions, as the config has them.

What a small set must vary in are the coordinates of a scrambled Sobol sequence, so that the first 2^k people have one
in each of 2^k equal parts of every distribution; all else is drawn for each person alone. Both go on where they stop: a
larger set begins with the people of a smaller one. docs/characters.md has the distributions.
"""

import math

import numpy as np
import yaml
from scipy.stats import qmc

from pose_factory.bodies import library, motion

STAGES = {
    "baby": (0.0, 0.22),
    "child": (0.22, 0.42),
    "teenager": (0.42, 0.67),
    "adult": (0.67, 0.83),
    "old": (0.83, 1.0),
}
"""Anny's `age` of the stages of life, which are equally frequent. By its calibration on the WHO's growth charts
(anny/data/shape_calibration) they begin at 0, 4, 11, 16 and 64 years."""
RANGES = {
    "gender": (0.0, 1.0),
    "weight": (0.1, 1.0),
    "height": (0.2, 0.65),
    "muscle": (0.1, 0.9),
    "proportions": (0.2, 0.9),
}
"""The other phenotypes are uniform between these, whatever the age, but for what LESS_MUSCLE takes."""
LESS_MUSCLE = 0.7
"""How much lower muscle's upper end is for each unit of weight: Anny's weight shows little where there is muscle."""
SKIN = {
    "very light": ("#cda99d", "#c8a597", "#c4a092"),
    "light": ("#bf9b8c", "#bb9786", "#b79381"),
    "intermediate": ("#b38e7c", "#b08b78", "#ad8874"),
    "tan": ("#a8836d", "#a47f68", "#9f7a64"),
    "brown": ("#94715d", "#8b6956", "#826150"),
    "dark": ("#775748", "#6d4f41", "#624438"),
}
"""Three tones of each class of skin colour, equally frequent, lightest first.

The classes are Chardon, Cretois & Hourseau's (1991, 'Skin colour typology and suntanning pathways'), by the angle
atan2(L* - 50, b*) in CIELAB: above 55 degrees, 41 to 55, 28 to 41, 10 to 28, -30 to 10, and below, here to -62. b* goes
linearly from 12 at -62 degrees to 18 at 20 and 11 at 65; a* is 11 (Xiao et al. 2017, 'Characterising the variations in
ethnic skin colours', found it alike for all)."""
HAIR = ("#17110d", "#2b1d14", "#40291a", "#5a3a22", "#7b5430", "#a67c46", "#c9a66b", "#8a3f22")
"""Of the young: the first four, from black to brown, equally frequent; where the skin is of FAIR, so are the others."""
FAIR = ("very light", "light", "intermediate")
GREY = ("#6e6a66", "#a3a09c", "#d8d5d0")
"""Of the old, equally frequent; nobody below GREYING has it and everybody at age 1."""
GREYING = 0.75
STYLES = {"bald": 0.1, "cropped": 0.25, "short": 0.4, "full": 0.25}
"""How often; babies have `short` hair where others have `full`."""
CLOTH = (
    "#f2efe6", "#c9c4ba", "#8b8d91", "#4a4d52", "#1f2226", "#27406b", "#2f6f8f", "#7fb2cf",
    "#2f7a5b", "#6b7a3a", "#d9b44a", "#c8743a", "#a8352f", "#c96f86", "#6a4a7d", "#7a5638",
)  # fmt: skip
"""The colours of clothes, equally frequent."""
PATTERNS = {"stripes": 0.12, "pinstripes": 0.08, "checks": 0.1, "dots": 0.08, "gradient": 0.06, "mottled": 0.06}
"""How often a top has one; a bottom half as often, and shoes none."""
SIZES = (0.02, 0.1)
"""Metres after which a pattern repeats, uniform in the logarithm; `gradient` does not repeat."""
LONG_SLEEVES, LONG_LEGS = 0.4, 0.7
FACE = (
    "head-scale-horiz-decr-incr", "head-fat-decr-incr", "forehead-scale-vert-decr-incr", "eyebrows-trans-down-up",
    "eye-scale-decr-incr", "eye-corner2-down-up", "eye-trans-in-out", "nose-hump-decr-incr", "nose-volume-decr-incr",
    "nose-scale-horiz-decr-incr", "nose-scale-vert-decr-incr", "nose-point-down-up", "mouth-scale-horiz-decr-incr",
    "mouth-lowerlip-volume-decr-incr", "mouth-upperlip-volume-decr-incr", "ear-scale-decr-incr", "ear-wing-decr-incr",
    "cheek-bones-decr-incr", "cheek-volume-decr-incr", "chin-width-decr-incr", "chin-height-decr-incr",
    "chin-jaw-drop-decr-incr",
)  # fmt: skip
"""The local changes of which each person has CHANGES, each uniform from -STRENGTH to STRENGTH."""
CHANGES, STRENGTH = 4, 0.6
FRAMES, FPS = 48, 24
CALM = ("floor", "sitting", "reaching")
"""The families of the library whose motions babies make, too."""
NAME = "person_{:03d}"


def sample(count: int, seed: int) -> dict[str, dict]:
    """`count` people, {name: entry of the config's `characters`}; the same for the same `count` and `seed`, and the
    first ones of any larger count."""
    spread = qmc.Sobol(len(RANGES) + 2, scramble=True, rng=np.random.default_rng([seed, 0]))
    rows = spread.random_base2(math.ceil(math.log2(count)))[:count]
    return {
        NAME.format(number): _person(row, np.random.default_rng([seed, number]), seed, number)
        for number, row in enumerate(rows, 1)
    }


def as_config(count: int, seed: int) -> str:
    """The people as a config to read, to edit and to run."""
    people = sample(count, seed)
    head = f"""\
# {count} people, drawn by `pose-factory characters sample --count {count} --seed {seed}`; docs/characters.md says how.
# The same command writes the same file, and a larger count adds people to these. config/config.yaml explains the
# settings; change what you like. Then, with the name that you gave this file:
#
#   snakemake --cores all --configfile config/people.yaml
#
# Snakemake merges it into config/config.yaml; `only` keeps the characters of that file out.
"""
    return f"{head}only: {_yaml(list(people))}\n{_yaml({'characters': people})}"


class _Dumper(yaml.SafeDumper):
    """Writes a mapping on one line where it is short."""

    def represent_mapping(self, tag, mapping, flow_style=None):
        return super().represent_mapping(tag, mapping, flow_style=len(str(mapping)) < 112)


def _yaml(value: dict | list) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120)


def _person(row: np.ndarray, rng: np.random.Generator, seed: int, number: int) -> dict:
    """A person from (D,) coordinates from 0 to 1, of which each is another of what a set must vary in."""
    *spread, age, skin = row.tolist()
    stages = list(STAGES.values())
    stage = int(age * len(stages))
    phenotype = {"age": _between(stages[stage], age * len(stages) - stage)}
    for (name, (low, high)), share in zip(RANGES.items(), spread, strict=True):
        if name == "muscle":
            high -= LESS_MUSCLE * phenotype["weight"]
        phenotype[name] = _between((low, high), share)
    grey = rng.random() < (phenotype["age"] - GREYING) / (1 - GREYING)
    tones = [(kind, tone) for kind, several in SKIN.items() for tone in several]
    kind, tone = tones[int(skin * len(tones))]
    young = HAIR if kind in FAIR else HAIR[:4]
    style = _one(rng, STYLES)
    look = {
        "skin": tone,
        "hair": _one(rng, GREY if grey else young),
        "hair_style": "short" if stage == 0 and style == "full" else style,
        "top": _cloth(rng, 1.0),
        "sleeves": "long" if rng.random() < LONG_SLEEVES else "short",
        "bottom": _cloth(rng, 0.5),
        "legs": "long" if rng.random() < LONG_LEGS else "short",
        "shoes": _cloth(rng, 0.0),
    }
    changes = rng.choice(FACE, CHANGES, replace=False).tolist()
    local = {name: _between((-STRENGTH, STRENGTH), rng.random()) for name in sorted(changes)}
    moves = _motion(seed, number, baby=stage == 0)
    anny = {"phenotype": phenotype, "local": local, "look": look, "motion": moves, "frames": FRAMES, "fps": FPS}
    return {
        "anny": anny,
        "source": "Anny (https://github.com/naver/anny), drawn by Pose Factory",
        "licence": "Apache-2.0 (code), CC0-1.0 (MakeHuman data)",
    }


def _motion(seed: int, number: int, baby: bool) -> str:
    """The next of all motions, or of those for babies, which come in an order of their own for each seed."""
    options = babies_motions() if baby else motion.names()
    turn, place = divmod(number - 1, len(options))
    return np.random.default_rng([seed, 0, turn]).permutation(options)[place].item()


def babies_motions() -> list[str]:
    """Those that ask for neither strength nor balance, and legs that are long enough."""
    calm = [name for name, score in library.scores().items() if score.family in CALM]
    return [name for name in motion.names() if name in calm or name in motion.STANDING]


def _cloth(rng: np.random.Generator, patterned: float) -> str | dict:
    """A garment's colour or pattern, the latter as often as PATTERNS says, times `patterned`."""
    first, second = rng.choice(CLOTH, 2, replace=False).tolist()
    share, size = rng.random(), _between(SIZES, rng.random(), geometric=True)
    for pattern, often in PATTERNS.items():
        share -= often * patterned
        if share < 0:
            cloth = {"pattern": pattern, "colours": [first, second]}
            return cloth if pattern == "gradient" else {**cloth, "size": size}
    return first


def _one(rng: np.random.Generator, choices) -> str:
    """One of the choices, equally often unless they are a mapping that says how often."""
    shares = list(choices.values()) if isinstance(choices, dict) else None
    return rng.choice(list(choices), p=shares).item()


def _between(ends: tuple[float, float], share: float, geometric: bool = False) -> float:
    """`share` of the way from one end to the other, or of their ratio, to three digits after the point."""
    low, high = ends
    return round(low * (high / low) ** share if geometric else low + share * (high - low), 3)
