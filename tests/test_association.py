"""Association against what the published tracker gave and against its wheel's metric, and where ours differs."""

import logging
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pose_factory.association.associator import Associator, Step
from pose_factory.association.cost import CONSTANTS, SMPL_POSE, cost, pose_distance
from pose_factory.association.detection import Detection, describe, stack
from pose_factory.association.forecast import LONGEST_HORIZON, Forecast, forecast_location
from pose_factory.config import load
from pose_factory.tracking import camera
from pose_factory.tracking.people import Pose

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import association

REFERENCE = np.load(Path(__file__).parent / "data" / "phalp_reference.npz", allow_pickle=False)
SETTINGS = load({"characters": {"ada": {"anny": {}}}}, Path())["tracking"]["association"]
POINTS = 45
wheel = pytest.mark.skipif(find_spec("phalp") is None, reason="the phalp wheel is not installed: run make setup")


def reference(part: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(part): REFERENCE[name] for name in REFERENCE.files if name.startswith(part)}


def split(location: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, camera and interval in location vectors (..., 99)."""
    return location[..., :90].reshape(*location.shape[:-1], POINTS, 2), location[..., 90:93], location[..., 93:96]


def person(x: float = 0.5, y: float = 0.5, depth: float = 30.0, look: float = 0.0, turn: float = 0.0) -> Detection:
    """Somebody whose origin is at (x, y) in image units, whose look and pose are a number each."""
    rotations = np.tile(Rotation.from_rotvec([0, turn, 0]).as_matrix().ravel(), 12)
    translation = np.array([(x - 0.5) * depth * 256 / 5000, (y - 0.5) * depth * 256 / 5000, depth])
    return Detection(np.full(4, look), rotations, np.full((3, 2), [x, y]), translation)


def follow(film: list[list[Detection]], **settings) -> list[Step]:
    associator = Associator({**SETTINGS, **settings})
    return [associator.step(frame, people) for frame, people in enumerate(film)]


def ids(step: Step) -> list[int | None]:
    """The track of each detection of a frame."""
    taken = {track.detection: track.track_id for track in step.live if track.detection is not None}
    return [taken[index] for index in sorted(taken)]


# Against the published tracker


def test_the_defaults_are_the_published_settings():
    assert SETTINGS == {
        "constants": "EQ_019",
        "gate": 100,
        "n_init": 5,
        "max_age": 50,
        "history": 7,
        "past_lookback": 1,
    }


def test_forecasts_are_the_published_ones():
    data = reference("location.")
    points, translation, _ = split(data["history"])
    found = forecast_location(points, translation, data["frame_times"], data["frames_since_update"] + 1)
    expected = split(data["predicted"])
    for ours, theirs in zip((found.points, found.camera, found.interval), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_the_cost_is_the_published_one():
    data = reference("cost.")
    tracks = [data[f"track_{name}"] for name in ("appearance", "pose")]
    detections = [data[f"detection_{name}"] for name in ("appearance", "pose")]
    expected = Forecast(*tracks, *split(data["track_location"]))
    found = Detection(*detections, *split(data["detection_location"])[:2])
    np.testing.assert_allclose(cost(expected, found, CONSTANTS["EQ_019"]), data["matrix"], rtol=1e-9, atol=1e-6)


def test_the_sequence_has_the_published_ids_births_and_deaths():
    data = reference("sequence.")
    points, translation, _ = split(data["detection_location"])
    associator, last_person, rows, births, deaths = Associator(SETTINGS), {}, [], set(), set()
    for frame in range(120):
        chosen = np.flatnonzero(data["detection_frame"] == frame)
        detections = [
            Detection(data["detection_appearance"][i], data["detection_pose"][i], points[i], translation[i])
            for i in chosen
        ]
        step = associator.step(frame, detections)
        for track in step.live:
            if track.detection is not None:
                last_person[track.track_id] = data["detection_person"][chosen[track.detection]]
            rows.append((frame, track.track_id, track.confirmed, track.missed, last_person[track.track_id]))
        births |= {(frame, track_id) for track_id in step.born}
        deaths |= {(frame, track_id) for track_id in step.died}
    published = data["tracks"]
    np.testing.assert_array_equal(rows, published)
    lives = {number: published[published[:, 1] == number, 0] for number in np.unique(published[:, 1])}
    assert births == {(frames[0], number) for number, frames in lives.items()}
    assert deaths == {(frames[-1] + 1, number) for number, frames in lives.items() if frames[-1] < 119}


@wheel
@pytest.mark.parametrize("count", [1, 4, 30])
def test_the_cost_is_that_of_the_wheels_metric(count):
    expected, found = association.expectations(count, seed=count), association.crowd(count + 2, seed=count)[3]
    theirs = association.published_cost(expected, found)()
    ours = cost(stack(expected), stack(found), CONSTANTS["EQ_010"])
    assert theirs.shape == (count, count + 2) and np.isfinite(theirs).all()
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@wheel
def test_pose_distances_are_those_of_the_wheels_metric():
    expected, found = association.expectations(5), association.crowd(9)[3]
    theirs = association.published_cost(expected, found, "P0")()
    np.testing.assert_allclose(pose_distance(stack(expected).pose, stack(found).pose), theirs, rtol=1e-6)


@wheel
@pytest.mark.parametrize("count", [1, 5])
def test_the_benchmark_measures_equal_costs_and_none_is_free(count):
    assert all(seconds > 0 for seconds in association.measure(count, repeats=2).values())


# Where the published code has a defect


def test_a_cost_that_is_not_a_number_is_never_a_match(caplog):
    """Published, it becomes 0, which is better than perfect."""
    film = [[person(0.3), person(0.7)]] * 8

    def broken(poses, times, horizon):
        return np.where(np.arange(len(poses))[:, None] == 0, np.nan, poses[:, -1])

    associator = Associator({**SETTINGS, "n_init": 1}, predict_pose=broken)
    with caplog.at_level(logging.WARNING):
        steps = [associator.step(frame, people) for frame, people in enumerate(film)]
    assert ids(steps[0]) == [1, 2] and ids(steps[1]) == [1, 2]  # the first forecast is the detection itself
    assert ids(steps[2]) == [3, 2]
    assert "Frame 2: 2 costs are not a number" in caplog.text


@pytest.mark.parametrize("field", ["appearance", "pose", "points", "camera"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_detection_that_is_not_finite_is_left_out(field, value, caplog):
    bad = replace(person(0.3), **{field: np.full_like(getattr(person(), field), value)})
    steps = follow([[person(0.3)], [bad, person(0.7, look=2e4)], [person(0.3), bad]], n_init=1)
    assert [(track.track_id, track.missed, track.detection) for track in steps[1].live] == [(1, 1, None), (2, 0, 1)]
    assert ids(steps[2]) == [1]
    assert "Frame 1: detection 0 is not finite" in caplog.text and "Frame 2: detection 1" in caplog.text


def test_a_detection_behind_the_camera_is_left_out(caplog):
    assert follow([[person(depth=-3.0)]])[0].live == []
    assert "behind the camera" in caplog.text


def test_every_track_is_forecast_as_far_as_it_needs():
    """Published, the learned pose is given to all of them for the frame that the first one needs."""
    line = np.linspace(0.2, 0.5, 7)[None, :, None, None] * np.ones((4, 1, 3, 2))
    translation = np.full((4, 7, 3), 20.0)
    times, horizon = np.tile(np.arange(7), (4, 1)), np.array([1, 10, LONGEST_HORIZON, 500])
    together = forecast_location(line, translation, times, horizon)
    for row in range(4):
        one = slice(row, row + 1)
        alone = forecast_location(line[one], translation[one], times[one], horizon[one])
        np.testing.assert_array_equal(alone.points[0], together.points[row])
        np.testing.assert_array_equal(alone.interval[0], together.interval[row])
    reach = together.points[:, -1, 0]
    assert reach[0] < reach[1] < reach[2] == reach[3]
    slope = 0.05 * 28 / (28 + 1.2)  # the ridge's: the time stamps' squared distances from their mean sum to 28
    np.testing.assert_allclose(reach[:2], 0.35 + slope * np.array([4, 13]))


def test_poses_are_forecast_as_far_as_each_track_needs():
    asked = []

    def recording(poses, times, horizon):
        asked.append((times[:, -1].tolist(), horizon.tolist()))
        return poses[:, -1]

    associator = Associator({**SETTINGS, "n_init": 1}, predict_pose=recording)
    for frame, people in enumerate([[person(0.3), person(0.7)]] * 3 + [[person(0.7)]] * 2):
        associator.step(frame, people)
    assert asked == [([1, 1], [1, 1]), ([2, 2], [1, 1]), ([2, 3], [2, 1]), ([2, 4], [3, 1])]


# Forecasts and costs


def test_somebody_seen_once_is_expected_there_again():
    same = [np.repeat(values[None, None], 7, axis=1) for values in (person(0.3).points, person(0.3).camera)]
    found = forecast_location(*same, np.full((1, 7), 4), np.array([3]))
    np.testing.assert_allclose(found.points[0], person(0.3).points)
    np.testing.assert_allclose(found.camera[0], person(0.3).camera)
    np.testing.assert_allclose(found.interval[0], [0, 0, 1 / 7])


def test_a_perfect_match_costs_one_and_every_difference_more():
    expected = Forecast(**vars(person()), interval=np.array([0.01, 0.01, 1.1]))
    others = [person(), person(x=0.52), person(depth=31.0), person(look=100.0), person(turn=0.2)]
    costs = cost(stack([expected]), stack(others), CONSTANTS["EQ_019"])[0]
    assert costs[0] == 1 and (costs[1:] > 1.01).all()


def test_an_uncertain_forecast_forgives_more():
    sure, unsure = (Forecast(**vars(person()), interval=np.array(i)) for i in ([0.01, 0.01, 1.02], [0.1, 0.1, 1.3]))
    costs = cost(stack([sure, unsure]), stack([person(0.55, depth=32.0)]), CONSTANTS["EQ_019"])[:, 0]
    assert costs[1] < costs[0]


def test_poses_of_other_bodies_are_compared_per_rotation():
    smpl = np.zeros((2, SMPL_POSE))
    smpl[:, :216] = np.concatenate([person().pose, person().pose]), np.concatenate([person(turn=0.3).pose] * 2)
    smpl[:, -3:] = [[0], [100]]  # the camera, which does not count
    expected = pose_distance(smpl[:1], smpl[1:])
    short = np.stack([person().pose, person(turn=0.3).pose])
    np.testing.assert_allclose(pose_distance(short[:1], short[1:]), expected)
    np.testing.assert_allclose(expected, 24 * 8 * np.sin(0.15) ** 2)  # |R - 1|^2 = 8 sin^2(angle / 2) for each of 24
    with pytest.raises(ValueError, match="230 numbers"):
        pose_distance(np.zeros((1, 230)), np.zeros((1, 230)))


@pytest.mark.parametrize("width, height", [(640, 360), (360, 640)])
@pytest.mark.parametrize("rotations, shape, length", [(24, 10, 229), (12, 11, 108)])
def test_a_pose_is_described_in_image_units(rotations, shape, length, width, height):
    rng = np.random.default_rng(0)
    joints, translation = rng.normal(0, 0.5, (5, 3)), np.array([0.4, -0.3, 31.0])
    pixels = camera.project(joints, translation, width, height)
    matrices = Rotation.random(rotations, random_state=0).as_matrix()
    pose = Pose(np.zeros(4), 1.0, pixels, joints, np.ones(5), translation, matrices, rng.normal(size=shape), np.ones(7))
    found = describe(pose, width, height)
    assert found.pose.shape == (length,) and found.points.shape == (6, 2)
    np.testing.assert_array_equal(found.pose[: 9 * rotations], matrices.ravel())
    corner = (np.array([width, height]) - 640) / 2  # of the square about the image's middle, as wide as its longer side
    np.testing.assert_allclose(found.points[:-1] * 640 + corner, pixels)
    # the published relation of place and camera
    np.testing.assert_allclose((found.points[-1] - 0.5) * found.camera[2] / 5000 * 256, found.camera[:2])


# Tracks


def test_films_may_be_empty_or_start_late():
    steps = follow([[], [], [person()], [], []])
    assert [len(step.live) for step in steps] == [0, 0, 1, 0, 0]
    assert steps[2].born == [1] and steps[3].died == [1]


def test_a_new_person_counts_after_n_init_frames_and_these_are_theirs():
    steps = follow([[person(0.2, look=0)], *[[person(0.8, look=50), person(0.2, look=0)]] * 6], n_init=4)
    assert [step.confirmed for step in steps[:3]] == [{}, {}, {}]
    assert steps[3].confirmed == {1: [(0, 0), (1, 1), (2, 1)]}
    assert steps[4].confirmed == {2: [(1, 0), (2, 0), (3, 0)]}
    assert [track.confirmed for track in steps[3].live] == [True, False]
    assert steps[5].confirmed == {}


def test_with_n_init_one_everybody_counts_at_once():
    assert follow([[person()]], n_init=1)[0].confirmed == {1: []}


@pytest.mark.parametrize("missed, kept", [(3, True), (4, False)])
def test_a_confirmed_person_may_be_missed_max_age_times(missed, kept):
    steps = follow([[person()]] * 6 + [[]] * missed + [[person()]], max_age=3)
    assert [track.missed for track in steps[8].live] == [3]
    assert ids(steps[-1]) == [1 if kept else 2]
    assert [step.died for step in steps[6:-1]] == [[]] * 3 + [[1]] * (not kept)


def test_an_unconfirmed_person_may_not_be_missed():
    steps = follow([[person()]] * 4 + [[], [person()]])
    assert steps[4].died == [1] and ids(steps[5]) == [2]


def test_time_without_an_image_is_a_miss_for_who_is_confirmed():
    """As empty images are: to the cost of who comes back, and to how long they may be away."""
    walk = [person(x=0.3 + 0.01 * i) for i in range(10)]
    for gap, lives in ((5, True), (9, False)):
        blind, looking = (Associator({**SETTINGS, "max_age": 8}) for _ in range(2))
        for frame, somebody in enumerate(walk):
            blind.step(frame, [somebody])
            looking.step(frame, [somebody])
        died = [blind.skip() for _ in range(gap)]
        assert died == [looking.step(10 + index, []).died for index in range(gap)]
        back = person(x=0.39 + 0.01 * (gap + 1))
        assert blind.step(20, [back]) == looking.step(20, [back])
        assert died == (gap * [[]] if lives else [*8 * [[]], [1]])


def test_time_without_an_image_ends_nobody_who_is_not_confirmed_yet():
    associator = Associator(SETTINGS)
    for frame in range(6):
        step = associator.step(frame, [person()])
        assert ids(step) == [1] and associator.skip() == []
    assert step.live[0].confirmed
    assert ids(associator.step(9, [person(), person(x=0.1)])) == [1, 2]
    assert associator.skip() == []
    assert associator.step(11, [person()]).died == [2]


def test_somebody_found_after_all_goes_on_as_if_detected():
    film = [[person(0.3 + 0.01 * frame), person(0.8)] for frame in range(10)]
    detected, recovered = (Associator({**SETTINGS, "past_lookback": 3}) for _ in range(2))
    for frame, people in enumerate(film):
        expected = detected.step(frame, people)
        if frame in (7, 8):
            missed = recovered.step(frame, people[1:]).live[0]
            assert (missed.track_id, missed.missed) == (1, 1)
            recovered.found_after_all(1, people[0])
        else:
            found = recovered.step(frame, people)
    assert found == expected
    expected, found = ([f.points for f in associator._tracks[0].forecasts] for associator in (detected, recovered))
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError):
        recovered.found_after_all(2, person())  # was seen
    with pytest.raises(ValueError):
        recovered.found_after_all(9, person())


def test_a_wide_gate_lets_a_jump_through_and_a_narrow_one_does_not():
    film = [[person(0.3)]] * 8 + [[person(0.35)]]
    assert ids(follow(film, gate=1e6)[-1]) == [1]
    assert ids(follow(film, gate=2)[-1]) == [2]


def test_remembered_forecasts_take_back_somebody_who_jumps_back():
    film = [[person(0.2 + 0.02 * frame)] for frame in range(12)] + [[person(0.36)]]
    assert ids(follow(film, gate=2, past_lookback=1)[-1]) == [2]
    assert ids(follow(film, gate=2, past_lookback=8)[-1]) == [1]


@pytest.mark.parametrize("constants", ["EQ_010", "EQ_019"])
@pytest.mark.parametrize("looks", [(0, 0), (0, 100)])
def test_people_who_cross_keep_their_ids_also_when_they_look_alike(constants, looks):
    ways = [(0.2 + 0.02 * frame, 0.8 - 0.02 * frame) for frame in range(31)]
    film = [[person(left, look=looks[0], depth=30), person(right, look=looks[1], depth=33)] for left, right in ways]
    assert ids(follow(film, constants=constants)[-1]) == [1, 2]


def test_fifty_people_keep_their_ids_in_any_order_of_detections():
    rng = np.random.default_rng(1)
    for people in (film := association.crowd(50)[:12]):
        assert len(people) == 50
    orders = [rng.permutation(50) for _ in film]
    steps = follow(film)
    shuffled = follow([[people[i] for i in order] for people, order in zip(film, orders, strict=True)])
    assert all(ids(step) == list(range(1, 51)) for step in steps)
    for step, order in zip(shuffled, orders, strict=True):
        assert [ids(step)[i] for i in np.argsort(order)] == [ids(shuffled[0])[i] for i in np.argsort(orders[0])]
    assert [step.live for step in steps] == [step.live for step in follow(film)]
