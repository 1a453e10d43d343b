"""Tracks read back from their tables: what was written, but how people look."""

from dataclasses import fields

import numpy as np
import pytest
from fitted import dancer, seen

from pose_factory.errors import PoseFactoryError
from pose_factory.files import read_table, write_table
from pose_factory.skeleton import JOINTS
from pose_factory.tracking import output
from pose_factory.tracking.people import Track
from pose_factory.tracking.reading import read_tracks
from pose_factory.tracking.session import Followed


@pytest.fixture(scope="module")
def tracks() -> dict[int, Track]:
    """Two people, one of whom leaves out a frame."""
    return {4: seen(dancer(frames=6))[np.array([0, 1, 3, 4, 5])], 7: seen(dancer(frames=3, first=2))}


def written(tracks, folder):
    followed = Followed([1, 2, 3, 4, 5, 6], tracks, {track_id: {} for track_id in tracks})
    for name, table in (("t", output.tracks_table(followed, JOINTS)), ("p", output.people_table(followed))):
        write_table(folder / f"{name}.parquet", table, {})
    return read_table(folder / "t.parquet"), read_table(folder / "p.parquet")


def test_all_comes_back_but_how_people_look(tracks, tmp_path):
    found = read_tracks(*written(tracks, tmp_path), JOINTS)
    assert list(found) == list(tracks)
    for track_id, track in tracks.items():
        for field in fields(Track):
            one, other = getattr(found[track_id], field.name), getattr(track, field.name)
            if one.dtype == object:
                assert one.tolist() == other.tolist()
            else:
                np.testing.assert_allclose(one, other, atol=1e-12)


def test_nobody_is_nobody(tmp_path):
    assert read_tracks(*written({}, tmp_path), JOINTS) == {}


def test_tables_of_different_runs_are_refused(tracks, tmp_path):
    table, people = written(tracks, tmp_path)
    for one, other in ((table, people[people.track_id == 4]), (table[table.track_id == 4], people),
                       (table, people[people.frame != 2]), (table[table.joint != "neck"], people)):  # fmt: skip
        with pytest.raises(PoseFactoryError, match="not of the same tracks"):
            read_tracks(one, other, JOINTS)
