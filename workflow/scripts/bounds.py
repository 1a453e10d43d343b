"""A prepared character -> bounds.json: the hull of everything it sweeps, for every camera there will ever be."""

from pose_factory.blender import bounds, scene
from pose_factory.files import read_json, write_json
from pose_factory.job import job

with job(snakemake):
    scene.open_character(snakemake.input.blend)
    write_json(snakemake.output[0], bounds.measure(read_json(snakemake.input.facts)))
