"""A video and its tracks -> overlay.mp4."""

from pose_factory.files import read_table
from pose_factory.footage import Video
from pose_factory.job import job
from pose_factory.review.overlay import write_video

with job(snakemake):
    video, tracks = Video(snakemake.input.video), read_table(snakemake.input.tracks)
    write_video(snakemake.output[0], video, None, tracks, snakemake.wildcards.video)
