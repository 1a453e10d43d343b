"""Frames, ground truth and tracks of one view -> overlay.mp4."""

from pose_factory.files import read_json, read_table
from pose_factory.footage import RenderedFrames
from pose_factory.job import job
from pose_factory.review.overlay import write_video

with job(snakemake):
    rendered = read_json(snakemake.input.facts)
    write_video(
        snakemake.output[0],
        RenderedFrames(snakemake.input.frames, rendered["frames"], rendered["fps"]),
        read_table(snakemake.input.labels),
        read_table(snakemake.input.tracks),
        f"{snakemake.wildcards.character} {snakemake.wildcards.camera_angle}",
    )
