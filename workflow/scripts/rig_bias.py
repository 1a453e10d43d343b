"""All views of one character -> rig_bias.json: where its rig and the tracker mean different points by a joint."""

from pose_factory.files import read_json, read_table, write_json
from pose_factory.geometry.camera import Camera
from pose_factory.job import job
from pose_factory.validation.report import pool

with job(snakemake):
    labels, tracks = map(read_table, snakemake.input.labels), map(read_table, snakemake.input.tracks)
    cameras = [Camera.from_json(read_json(path)) for path in snakemake.input.cameras]
    write_json(snakemake.output[0], pool(zip(labels, tracks, cameras, strict=True)))
