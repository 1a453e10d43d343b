"""The frames of one view -> tracks.parquet, people.parquet and tracking.json."""

from pose_factory.files import read_json
from pose_factory.footage import RenderedFrames
from pose_factory.job import job
from pose_factory.tracking.output import track

with job(snakemake):
    rendered = read_json(snakemake.input.facts)
    footage = RenderedFrames(snakemake.input.frames, rendered["frames"], rendered["fps"])
    track(footage, snakemake.params.settings, snakemake.output, snakemake.threads)
