"""The frames of one view -> tracks.parquet."""

from pose_factory import tables, tracking
from pose_factory.files import read_json, write_table
from pose_factory.frames import read_rgb
from pose_factory.job import job

with job(snakemake):
    rendered = read_json(snakemake.input.facts)
    tracker = tracking.make_tracker(snakemake.params.settings)
    tracks = tracker.track(read_rgb(snakemake.input.frames, rendered["frames"]), rendered["fps"])
    about = tables.TRACKS | {"joints": tracker.joints, "backend": snakemake.params.settings["backend"]}
    write_table(snakemake.output[0], tracks, about)
