"""A prepared character and a camera -> the frames of one view and render.json."""

from pathlib import Path

from pose_factory.blender import render, scene
from pose_factory.files import read_json, write_json
from pose_factory.frames import select
from pose_factory.job import job

with job(snakemake) as log:
    facts, settings = read_json(snakemake.input.facts), snakemake.params.settings
    frames = select(facts["first_frame"], facts["last_frame"], settings["frames"])
    scene.open_character(snakemake.input.blend)
    rendered = render.render(
        read_json(snakemake.input.camera),
        read_json(snakemake.input.bounds),
        frames,
        settings,
        snakemake.threads,
        Path(snakemake.output.frames),
        log,
        snakemake.params.variation,
        *map(Path, snakemake.input.background),
    )
    write_json(snakemake.output.facts, rendered)
