"""Following people through scripted footage: who is found, looked for, interpolated and predicted, and why."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import motions
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scripted import FRAMES, Film, Scripted, walker

from pose_factory.config import load
from pose_factory.files import read_about, read_json, read_table
from pose_factory.tracking import COLUMNS, output
from pose_factory.tracking.people import DETECTED, INTERPOLATED, PREDICTED, REDETECTED, Track
from pose_factory.tracking.session import AFTER, BEFORE, MEMORY, NOBODY, UNMATCHED, Follower, follow

SETTINGS = load({"characters": {"ada": {"anny": {}}}}, Path())["tracking"]


def settings(mode="batch", **fill) -> dict:
    return SETTINGS | {"mode": mode, "fill": SETTINGS["fill"] | fill}


def by_frame(track: Track) -> dict[int, str]:
    return dict(zip(map(int, track.frames), track.provenance, strict=True))


# In batch mode


def test_who_is_seen_in_every_frame_is_detected_in_every_frame():
    followed = follow(Film(), Scripted([walker()], [set()]), settings())
    (track,) = followed.tracks.values()
    assert by_frame(track) == dict.fromkeys(FRAMES, DETECTED)
    np.testing.assert_array_equal(track.joints, walker().joints)
    assert followed.reasons == {1: {}}


def test_a_gap_is_looked_at_again_in_the_real_images():
    hidden = set(range(20, 30))
    backend = Scripted([walker()], [hidden], [hidden])
    followed = follow(Film(), backend, settings())
    (track,) = followed.tracks.values()
    assert by_frame(track) == {f: REDETECTED if f in hidden else DETECTED for f in FRAMES}
    np.testing.assert_array_equal(track.joints, walker().joints)
    assert followed.reasons[1] == dict.fromkeys(hidden, NOBODY)
    for frame, box in backend.looked:
        assert np.abs(box - walker().box[frame - 1]).max() < 25


def test_where_looking_finds_nobody_the_gap_is_interpolated_and_the_ends_predicted():
    hidden = {1, 2, 3, *range(20, 30), 59, 60}
    followed = follow(Film(), Scripted([walker()], [hidden]), settings())
    (track,) = followed.tracks.values()
    expected = {f: INTERPOLATED if 20 <= f < 30 else PREDICTED for f in hidden}
    assert by_frame(track) == dict.fromkeys(FRAMES, DETECTED) | expected
    assert followed.reasons[1] == {f: BEFORE if f < 4 else AFTER if f > 58 else NOBODY for f in hidden}
    error = np.linalg.norm(track.joints - walker().joints, axis=-1).mean(axis=1)
    assert error.max() < 0.1


def test_what_was_found_again_is_sure_enough_to_interpolate_from():
    hidden = set(range(20, 40))
    followed = follow(Film(), Scripted([walker()], [hidden], [{30}]), settings())
    (track,) = followed.tracks.values()
    assert by_frame(track)[30] == REDETECTED
    np.testing.assert_array_equal(track.joints[29], walker().joints[29])
    assert track.confidence[28].mean() > track.confidence[24].mean()


@pytest.mark.parametrize(
    "order, expected",
    [
        ([], set()),
        ([REDETECTED], {REDETECTED}),
        ([INTERPOLATED], {INTERPOLATED}),
        ([PREDICTED], {PREDICTED}),
        ([INTERPOLATED, REDETECTED, PREDICTED], {INTERPOLATED, REDETECTED}),
    ],
)
def test_gaps_are_filled_in_the_ways_that_are_ordered(order, expected):
    hidden = {*range(20, 30), 60}
    film, backend = Film(), Scripted([walker()], [hidden], [hidden])
    (track,) = follow(film, backend, settings(order=order)).tracks.values()
    assert set(track.provenance) - {DETECTED} == expected
    assert film.passes == 1 + (REDETECTED in order)


def test_limits_are_for_all_but_who_is_seen_most():
    hidden = [set(range(20, 40)), set(range(10, 25)) | set(range(40, 61))]
    backend = Scripted([walker(-2.0), walker(2.0, "wave")], hidden)
    tracks = follow(Film(), backend, settings(interpolated_limit=10, predicted_limit=6)).tracks
    most, other = sorted(tracks.values(), key=len, reverse=True)
    assert list(most.frames) == FRAMES
    expected = {range(1, 10): DETECTED, range(25, 40): DETECTED, range(40, 46): PREDICTED}
    assert by_frame(other) == {frame: word for frames, word in expected.items() for frame in frames}


def test_somebody_else_found_where_one_was_looked_for_is_not_taken():
    """The second person stands right where the first is looked for."""
    hidden = set(range(20, 30))
    first, second = walker(), walker(0.05, "wave")
    backend = Scripted([first, second], [hidden, set()], [set(), hidden])
    followed = follow(Film(), backend, settings())
    assert [set(track.provenance) for track in followed.tracks.values()] == [{DETECTED, INTERPOLATED}, {DETECTED}]
    assert set(followed.reasons[1].values()) == {UNMATCHED}


def test_a_track_that_broke_is_one_again():
    """Longer out of sight than the association waits, so that it starts another one; the gap is filled all the same."""
    hidden = set(range(20, 36))
    chosen = settings() | {"association": SETTINGS["association"] | {"max_age": 10}}
    followed = follow(Film(), Scripted([walker()], [hidden]), chosen)
    assert len(follow(Film(), Scripted([walker()], [hidden]), chosen | {"mode": "causal"}).tracks) > 1
    (track,) = followed.tracks.values()
    assert by_frame(track) == {f: INTERPOLATED if f in hidden else DETECTED for f in FRAMES}


def test_a_ghost_of_a_few_frames_is_nobody():
    ghost = walker(2.0, "squat", frames=[30, 31, 32])
    followed = follow(Film(), Scripted([walker(), ghost], [set(), set()]), settings())
    assert len(followed.tracks) == 1


def test_ghosts_do_not_add_up_to_a_person():
    """Five false finds at one place, none of them twice in a row."""
    ghost = walker(2.0, "squat", frames=[5, 15, 25, 35, 45])
    assert len(follow(Film(), Scripted([walker(), ghost], [set(), set()]), settings()).tracks) == 1


def test_every_fifth_frame_is_followed_as_every_one_is():
    """Limits, patience and gaps count images, whatever their numbers."""
    hidden = set(range(20, 36))
    scattered = {"association": SETTINGS["association"] | {"max_age": 10}}
    plain = follow(Film(), Scripted([walker()], [hidden]), settings() | scattered)
    fifth = [5 * frame for frame in FRAMES]
    renamed = replace(walker(), frames=np.array(fifth))
    film = Film(fifth)
    film.fps = 5 * Film.fps
    stretched = follow(film, Scripted([renamed], [{5 * frame for frame in hidden}]), settings() | scattered)
    assert list(stretched.tracks) == list(plain.tracks) == [1]
    assert by_frame(stretched.tracks[1]) == {5 * f: word for f, word in by_frame(plain.tracks[1]).items()}
    np.testing.assert_allclose(stretched.tracks[1].joints, plain.tracks[1].joints, atol=1e-12)
    assert stretched.reasons[1] == {5 * f: reason for f, reason in plain.reasons[1].items()}


def test_a_film_in_which_nothing_was_missed_is_gone_through_once():
    film = Film()
    follow(film, Scripted([walker()], [set()]), settings())
    assert film.passes == 1


def test_film_shorter_than_it_takes_to_be_sure_is_followed_all_the_same():
    followed = follow(Film([7]), Scripted([walker()], [set()]), settings())
    assert by_frame(followed.tracks[1]) == {7: DETECTED}


def test_nobody_in_the_film_is_no_error():
    followed = follow(Film(), Scripted([], []), settings())
    assert (followed.frames, followed.tracks) == (FRAMES, {})


# In causal mode


def test_a_frame_is_answered_from_the_past_alone():
    """Cut anywhere, the film gives the same poses up to there."""
    hidden = {*range(20, 30), *range(40, 43)}
    backend = Scripted([walker()], [hidden], [{22, 23, 41}])
    whole = follow(Film(), backend, settings("causal")).tracks[1]
    for end in (21, 25, 42):
        cut = follow(Film(FRAMES[:end]), backend, settings("causal")).tracks[1]
        assert by_frame(cut) == dict(list(by_frame(whole).items())[:end])
        np.testing.assert_array_equal(cut.joints, whole.joints[:end])


def test_a_miss_is_looked_for_and_then_predicted():
    hidden = set(range(20, 30))
    track = follow(Film(), Scripted([walker()], [hidden], [{22, 23}]), settings("causal")).tracks[1]
    expected = {f: REDETECTED if f in (22, 23) else PREDICTED for f in hidden}
    assert by_frame(track) == dict.fromkeys(FRAMES, DETECTED) | expected
    assert np.diff(track.confidence[23:29].mean(axis=1)).max() < 0


def test_who_is_found_again_and_again_lives_longer_than_who_is_not():
    hidden = set(range(10, 50))
    brief = SETTINGS["association"] | {"max_age": 10}
    for again, ids in (({*hidden}, {1}), (set(), {1, 2})):
        chosen = settings("causal") | {"association": brief}
        assert set(follow(Film(), Scripted([walker()], [hidden], [again]), chosen).tracks) == ids


def test_a_prediction_ends_at_its_limit():
    track = follow(Film(), Scripted([walker()], [set(range(30, 61))]), settings("causal", predicted_limit=4)).tracks[1]
    assert list(track.frames) == list(range(1, 34))


def test_one_image_at_a_time_is_the_same_as_the_whole_film():
    hidden = set(range(20, 30))
    backend = Scripted([walker()], [hidden], [{22, 23}])
    whole = follow(Film(), backend, settings("causal")).tracks[1]
    follower = Follower(backend, settings("causal"), Film.size)
    for row, (frame, image) in enumerate(Film()):
        (sighting,) = follower.step(frame, image, backend.detect([image])[0])
        assert (sighting.frame, sighting.provenance) == (frame, whole.provenance[row])
        np.testing.assert_array_equal(sighting.pose.joints, whole.joints[row])


def test_memory_does_not_grow_with_the_film():
    people = [walker(-2.0), walker(2.0, frames=range(1, 30))]
    chosen = settings("causal") | {"association": SETTINGS["association"] | {"max_age": 5}}
    follower, backend = Follower(Scripted(people, [set(), set()]), chosen, Film.size), Scripted(people, [set(), set()])
    for frame, image in Film():
        follower.step(frame, image, backend.detect([image])[0])
    assert {track_id: len(seen) for track_id, seen in follower._seen.items()} == {1: MEMORY}


# What is written


def outputs(folder: Path) -> SimpleNamespace:
    return SimpleNamespace(tracks=folder / "tracks.parquet", people=folder / "people.parquet", report=folder / "t.json")


def test_the_tables_and_the_report_tell_all(tmp_path, monkeypatch):
    hidden = {1, 2, *range(20, 30)}
    backend = Scripted([walker(-2.0), walker(2.0, "wave")], [hidden, set()], [{20, 21}, set()])
    monkeypatch.setattr(output, "make_backend", lambda *_: backend)
    paths = outputs(tmp_path)
    output.track(Film(), settings() | {"smoothing": SETTINGS["smoothing"] | {"filter": "none"}}, paths, 1)
    tracks, people, report = read_table(paths.tracks), read_table(paths.people), read_json(paths.report)
    assert list(tracks.columns) == list(COLUMNS) and read_about(paths.tracks)["joints"] == motions.NAMES
    assert len(tracks) == 2 * 60 * len(motions.NAMES) and not tracks.isna().any().any()
    assert tracks.frame.is_monotonic_increasing
    one = tracks[(tracks.frame == 40) & (tracks.track_id == 2)]
    assert one.joint.tolist() == motions.NAMES
    np.testing.assert_array_equal(one[["x", "y", "z"]], backend.people[0].joints[39])
    missed = people[people.provenance != DETECTED]
    assert set(missed.frame) == hidden and (missed.reason != "").all()
    assert (people[people.provenance == DETECTED].reason == "").all()
    first = people.iloc[0]
    rotations = Rotation.from_rotvec(np.array(first.rotations).reshape(-1, 3)).as_matrix()
    joints = tracks[(tracks.frame == 1) & (tracks.track_id == first.track_id)][["x", "y", "z"]]
    np.testing.assert_allclose(motions.assemble(rotations, first["shape"]), joints, atol=1e-9)
    assert (report["frames"], report["coverage"], report["detected_coverage"]) == (60, 1.0, 1.0)
    mine = next(track for track in report["tracks"] if track["missed"])
    assert mine["missed_runs"] == [[1, 2], [20, 29]]
    assert mine["by_provenance"] == {DETECTED: 48, REDETECTED: 2, INTERPOLATED: 8, PREDICTED: 2}
    assert mine["missed"] == {BEFORE: 2, UNMATCHED: 10}


def test_a_break_in_the_motion_is_told_though_smoothing_hides_it(tmp_path, monkeypatch):
    """In one frame the person seems to face the other way."""
    turned = walker()
    half_turn = np.diag([-1.0, 1, -1])
    turned.rotations[30, 0] = half_turn @ turned.rotations[30, 0]
    turned.joints[30] = motions.assemble(turned.rotations[30], turned.shape[30])
    monkeypatch.setattr(output, "make_backend", lambda *_: Scripted([turned], [set()]))
    paths = outputs(tmp_path)
    output.track(Film(), settings(), paths, 1)
    (track,) = read_json(paths.report)["tracks"]
    turns = [found for found in track["breaks"] if found["kind"] == "turn"]
    assert [found["frame"] for found in turns] == [31, 32]
    assert all(0.5 < found["confidence"] <= 1 for found in turns)
    assert track["after_smoothing"]["jitter_m_per_s3"] < track["before_smoothing"]["jitter_m_per_s3"]


def test_nobody_at_all_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "make_backend", lambda *_: Scripted([], []))
    paths = outputs(tmp_path)
    output.track(Film(), SETTINGS, paths, 1)
    assert read_table(paths.tracks).empty and read_table(paths.people).empty
    assert list(read_table(paths.tracks).columns) == list(COLUMNS)
    report = read_json(paths.report)
    assert (report["coverage"], report["tracks"], report["frames_without_pose"]) == (0.0, [], FRAMES)
