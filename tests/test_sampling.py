"""Drawn people: their distributions against closed forms, and the config that they are written as."""

from collections import Counter

import cv2
import numpy as np
import pytest
import yaml
from scipy import stats
from snakemake.utils import update_config

from pose_factory.bodies import sampling
from pose_factory.bodies.anny_body import bare_body
from pose_factory.bodies.motion import names
from pose_factory.bodies.sampling import as_config, sample
from pose_factory.config import load
from workflow import REPOSITORY

MANY = 1024
LEAST = 1e-3
"""The probability below which a distribution is not believed to be the stated one."""


@pytest.fixture(scope="module")
def many() -> list[dict]:
    return [person["anny"] for person in sample(MANY, 3).values()]


def column(people: list[dict], name: str) -> np.ndarray:
    return np.array([person["phenotype"][name] for person in people])


def ends(people: list[dict], name: str) -> tuple[float, np.ndarray | float]:
    """Between which a phenotype is; where muscle ends goes by each person's weight."""
    low, high = sampling.RANGES[name]
    return low, high - sampling.LESS_MUSCLE * column(people, "weight") if name == "muscle" else high


def shares(people: list[dict], name: str) -> np.ndarray:
    """(N,) how far from one end to the other a phenotype is."""
    low, high = ends(people, name)
    return (column(people, name) - low) / (high - low)


def stages(people: list[dict]) -> np.ndarray:
    return np.digitize(column(people, "age"), [high for _, high in sampling.STAGES.values()][:-1])


def is_often(found: list, expected: dict) -> bool:
    """Whether the words in `found` are as frequent as `expected` says, by the chi-square test."""
    count = Counter(found)
    assert set(count) <= set(expected)
    often = np.array(list(expected.values())) * len(found)
    return stats.chisquare([count[key] for key in expected], often).pvalue > LEAST


@pytest.mark.parametrize("name", sampling.RANGES)
def test_phenotypes_are_uniform(many, name):
    low, high = ends(many, name)
    values = column(many, name)
    assert low <= values.min() and (values <= high + 0.0005).all()
    assert stats.kstest(shares(many, name), "uniform").statistic < 2 / MANY**0.5


def test_adults_are_as_light_and_as_heavy_as_people_are(many):
    """By the body mass index, of which 30 is the bound of obesity; of the world's adults 43 % are above 25."""
    found = []
    for person in many[:64]:
        if person["phenotype"]["age"] >= 0.6:
            body = bare_body(person["phenotype"])
            a, b, c = body.vertices[body.faces].transpose(1, 0, 2)
            litres = 1000 * (a * np.cross(b, c)).sum() / 6
            found.append(litres / np.ptp(body.vertices[:, 2]) ** 2)
    assert min(found) < 19 and max(found) > 30
    assert 0.2 < np.mean(np.array(found) > 25) < 0.45


def test_the_stages_of_life_are_equally_frequent_and_uniform_in_themselves(many):
    found = stages(many)
    np.testing.assert_allclose(np.bincount(found), MANY / len(sampling.STAGES), atol=2)
    for stage, (low, high) in enumerate(sampling.STAGES.values()):
        ages = column(many, "age")[found == stage]
        assert stats.kstest(ages, "uniform", (low, high - low)).statistic < 2 / len(ages) ** 0.5


def test_any_power_of_two_of_people_has_one_in_each_equal_part(many):
    """The ages' parts are those of the stages, which are of unequal width."""
    for count in (4, 16, 64):
        people = many[:count]
        parts = {name: shares(people, name) for name in sampling.RANGES}
        lows, highs = np.array(list(sampling.STAGES.values()))[stages(people)].T
        parts["age"] = (stages(people) + (column(people, "age") - lows) / (highs - lows)) / len(sampling.STAGES)
        for name, found in parts.items():
            # of what is written to three digits, some lies on the edge of its part
            np.testing.assert_allclose(
                np.sort(found), (np.arange(count) + 0.5) / count, atol=0.51 / count + 0.006, err_msg=name
            )


def test_what_is_spread_is_not_tied_together():
    """In a set of 20, too, a tall person need not be old. Muscle goes by weight with its upper end alone."""
    for seed in range(8):
        people = [person["anny"] for person in sample(20, seed).values()]
        table = np.stack([column(people, "age"), *(shares(people, name) for name in sampling.RANGES)])
        ties = np.abs(np.corrcoef(table)[np.triu_indices(len(table), 1)])
        assert ties.max() < 0.65 and ties.mean() < 0.25


def test_skin_is_of_the_classes_it_is_said_to_be(many):
    """Oracle: OpenCV's CIELAB."""
    bounds = {"very light": (55, 65), "light": (41, 55), "intermediate": (28, 41), "tan": (10, 28), "brown": (-30, 10)}
    bounds["dark"] = (-62, -30)
    for kind, tones in sampling.SKIN.items():
        colours = np.array([list(bytes.fromhex(tone[1:])) for tone in tones], np.float32) / 255
        lab = cv2.cvtColor(colours[None], cv2.COLOR_RGB2LAB)[0]
        angles = np.degrees(np.arctan2(lab[:, 0] - 50, lab[:, 2]))
        assert (bounds[kind][0] < angles).all() and (angles < bounds[kind][1]).all(), kind
        assert (np.diff(lab[:, 0]) < 0).all()
    tones = [tone for several in sampling.SKIN.values() for tone in several]
    found = [tones.index(person["look"]["skin"]) for person in many]
    np.testing.assert_allclose(np.bincount(found), MANY / len(tones), atol=2)


def test_hair_is_grey_as_people_grow_old(many):
    grey = np.array([person["look"]["hair"] in sampling.GREY for person in many])
    expected = np.clip((column(many, "age") - sampling.GREYING) / (1 - sampling.GREYING), 0, 1)
    assert not grey[expected == 0].any()
    old = expected > 0
    spread = np.sqrt((expected * (1 - expected))[old].sum())
    assert abs(grey[old].sum() - expected[old].sum()) < 3.3 * spread
    assert grey[expected > 0.7].mean() > grey[old & (expected < 0.5)].mean() + 0.3


def test_fair_hair_goes_with_fair_skin(many):
    fair = {tone for kind in sampling.FAIR for tone in sampling.SKIN[kind]}
    by_skin = {True: Counter(), False: Counter()}
    for person in many:
        if person["look"]["hair"] in sampling.HAIR:
            by_skin[person["look"]["skin"] in fair][person["look"]["hair"]] += 1
    assert set(by_skin[False]) == set(sampling.HAIR[:4]) and set(by_skin[True]) == set(sampling.HAIR)


def test_styles_cuts_and_patterns_are_as_frequent_as_stated(many):
    looks = [person["look"] for person in many]
    grown = [look["hair_style"] for look, stage in zip(looks, stages(many), strict=True) if stage > 0]
    small = {look["hair_style"] for look, stage in zip(looks, stages(many), strict=True) if stage == 0}
    assert is_often(grown, sampling.STYLES) and small == set(sampling.STYLES) - {"full"}
    for key, often in (("sleeves", sampling.LONG_SLEEVES), ("legs", sampling.LONG_LEGS)):
        assert is_often([look[key] for look in looks], {"long": often, "short": 1 - often})
    for garment, often in (("top", 1.0), ("bottom", 0.5)):
        patterns = {pattern: share * often for pattern, share in sampling.PATTERNS.items()}
        worn = [look[garment]["pattern"] if isinstance(look[garment], dict) else "plain" for look in looks]
        assert is_often(worn, {**patterns, "plain": 1 - sum(patterns.values())})
    assert all(isinstance(look["shoes"], str) for look in looks)
    assert is_often([look["shoes"] for look in looks], dict.fromkeys(sampling.CLOTH, 1 / len(sampling.CLOTH)))
    patterned = [look["top"] for look in looks if isinstance(look["top"], dict)]
    assert all(("size" in top) == (top["pattern"] != "gradient") for top in patterned)
    sizes = np.log([top["size"] for top in patterned if "size" in top])
    low, high = np.log(sampling.SIZES)
    assert stats.kstest(sizes, "uniform", (low, high - low)).pvalue > LEAST


def test_everybody_has_a_face_of_their_own(many):
    changes = [person["local"] for person in many]
    assert {len(local) for local in changes} == {sampling.CHANGES}
    assert is_often([name for local in changes for name in local], dict.fromkeys(sampling.FACE, 1 / len(sampling.FACE)))
    values = [value for local in changes for value in local.values()]
    assert stats.kstest(values, "uniform", (-sampling.STRENGTH, 2 * sampling.STRENGTH)).pvalue > LEAST


def test_all_motions_come_and_babies_get_those_that_they_can_make(many):
    babies = [person["motion"] for person in many if person["phenotype"]["age"] < 0.22]
    others = [person["motion"] for person in many if person["phenotype"]["age"] > 0.22]
    assert set(others) == set(names()) and is_often(others, dict.fromkeys(names(), 1 / len(names())))
    assert {"walk", "crawl", "sit_floor"} <= set(babies) and not {"handstand", "cartwheel", "side_split"} & set(babies)
    few = [person["anny"]["motion"] for person in sample(20, 1).values()]
    assert len(set(few)) > 15


def test_the_same_seed_draws_the_same_and_more_people_are_added_to_them():
    assert as_config(20, 1) == as_config(20, 1)
    few, more = sample(20, 1), sample(70, 1)
    assert list(more.items())[:20] == list(few.items())
    assert few != sample(20, 2) and len({str(person["anny"]) for person in more.values()}) == 70


@pytest.mark.parametrize("count", [1, 120])
def test_what_is_written_is_a_config(count):
    """Snakemake merges it into the shipped one."""
    written = yaml.safe_load(as_config(count, 5))
    config = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    update_config(config, written)
    loaded = load(config, REPOSITORY)
    assert list(loaded["characters"]) == list(sample(count, 5)) and len(loaded["characters"]) == count
    for name, person in sample(count, 5).items():
        character = loaded["characters"][name]
        look = {
            key: {"size": 0.06, **value} if isinstance(value, dict) else value  # the default, unused, of a gradient
            for key, value in person["anny"]["look"].items()
        }
        assert character["anny"] == {**person["anny"], "look": look}
        assert loaded["terms"][name]["licence"] and loaded["terms"][name]["source"]
