"""What it costs to tell who is who in a frame, against the published metric called as its tracker calls it."""

import time
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np

from pose_factory.association.associator import Associator
from pose_factory.association.cost import CONSTANTS, SMPL_POSE, cost
from pose_factory.association.detection import Detection, stack
from pose_factory.association.forecast import Forecast

SETTINGS = {"constants": "EQ_010", "history": 7, "past_lookback": 1, "n_init": 5, "max_age": 50, "gate": 100.0}
APPEARANCE, POINTS = 4096, 45
"""Numbers that describe how a person looks, and points, as published."""
UNCOMPARED, UNUSED = 2048, 3
"""The numbers of a pose that the wheel's metric skips at its start, and that the published one skips at its end."""
FRAMES = 40


def published_metric() -> ModuleType:
    """The wheel's module of distances, loaded alone: the package as a whole needs modules that no longer exist.

    Raises ModuleNotFoundError where the wheel is not installed.
    """
    package = find_spec("phalp")
    if package is None:
        raise ModuleNotFoundError("phalp is not installed; run `make setup`")
    file = Path(package.submodule_search_locations[0]) / "deep_sort_" / "nn_matching.py"
    spec = spec_from_file_location("published_metric", file)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def published_cost(expected: list[Forecast], found: list[Detection], distance: str = "EQ_010") -> Callable:
    """A call that gives the (N, M) costs by the wheel's metric, which goes through the tracks in a loop. `distance` is
    its name for the cost or for one of its parts."""
    settings = SimpleNamespace(phalp=SimpleNamespace(predict="APL", distance_type=distance, shot=0))
    metric = published_metric().NearestNeighborDistanceMetric(settings, SETTINGS["gate"], SETTINGS["past_lookback"])
    ids = list(range(len(expected)))
    tracks = zip(*[_published_vectors(item, item.interval) for item in expected], strict=True)
    metric.partial_fit(*tracks, ids, ids)
    features = list(zip(*[_published_vectors(item, item.camera) for item in found], strict=True))
    return lambda: metric.distance([np.array(feature) for feature in features], ids)


def _published_vectors(item: Detection, interval: np.ndarray) -> tuple[np.ndarray, ...]:
    """Appearance, location, pose and an empty texture, as the wheel's metric takes them."""
    location = np.concatenate([item.points.ravel(), item.camera, interval, item.camera])
    return item.appearance, location, np.pad(item.pose[:-UNUSED], (UNCOMPARED, 0)), np.zeros(1)


def crowd(count: int, seed: int = 0) -> list[list[Detection]]:
    """FRAMES frames of `count` people who wander about in the image and keep their looks."""
    rng = np.random.default_rng(seed)
    looks, poses = rng.normal(0, 20, (count, APPEARANCE)), rng.normal(0, 0.3, (count, SMPL_POSE))
    places, speeds = rng.uniform(0.2, 0.8, (count, 2)), rng.normal(0, 0.005, (count, 2))
    depths = rng.uniform(15, 40, count)
    film = []
    for frame in range(FRAMES):
        at = places + frame * speeds + rng.normal(0, 0.002, (count, 2))
        points = at[:, None] + rng.normal(0, 0.05, (count, POINTS, 2)) * (np.arange(POINTS) < POINTS - 1)[:, None]
        camera = np.column_stack([(at - 0.5) * depths[:, None] * 256 / 5000, depths])
        pose = poses + rng.normal(0, 0.02, poses.shape)
        film.append([Detection(*person) for person in zip(looks, pose, points, camera, strict=True)])
    return film


def expectations(count: int, seed: int = 0) -> list[Forecast]:
    """Forecasts of everybody in the first frame of a crowd, each with a prediction interval of its own."""
    rng = np.random.default_rng(seed)
    intervals = rng.uniform([0.01, 0.01, 1.02], [0.05, 0.05, 1.2], (count, 3))
    people = crowd(count, seed)[0]
    return [Forecast(**vars(one), interval=interval) for one, interval in zip(people, intervals, strict=True)]


def measure(count: int, repeats: int = 20) -> dict[str, float]:
    """CPU seconds of a frame with `count` people: the whole `step`, the costs in it, and `published` costs.

    Raises AssertionError where the costs differ, or where a person does not keep one track.
    """
    film, expected, constants = crowd(count), expectations(count), CONSTANTS[SETTINGS["constants"]]
    found = film[1]
    theirs, published = _timed(published_cost(expected, found), repeats)
    ours, costs = _timed(lambda: cost(stack(expected), stack(found), constants), repeats)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    associator = Associator(SETTINGS)
    for frame, people in enumerate(film[:10]):
        associator.step(frame, people)
    started = time.process_time()
    for frame, people in enumerate(film[10:], start=10):
        last = associator.step(frame, people)
    step = (time.process_time() - started) / len(film[10:])
    assert [track.track_id for track in last.live] == list(range(1, count + 1)), last
    return {"step": step, "costs": costs, "published": published}


def _timed(work: Callable, repeats: int) -> tuple:
    work()
    started = time.process_time()
    for _ in range(repeats):
        result = work()
    return result, (time.process_time() - started) / repeats
