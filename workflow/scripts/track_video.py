"""A video -> tracks.parquet, people.parquet, tracking.json and video.json."""

from pose_factory.files import write_json
from pose_factory.footage import Video
from pose_factory.job import job
from pose_factory.tracking.output import track

with job(snakemake):
    video = Video(snakemake.input[0])
    track(video, snakemake.params.settings, snakemake.output, snakemake.threads)
    for warning in video.warnings:
        print(warning)
    write_json(snakemake.output.facts, video.facts())
