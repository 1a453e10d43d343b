"""A prepared character and a camera -> labels of every pixel of one view and passes.json."""

from pose_factory.blender import passes, scene
from pose_factory.errors import PoseFactoryError
from pose_factory.files import json_safe, read_json, read_table, whole_folder, write_json
from pose_factory.frames import select
from pose_factory.job import job
from pose_factory.validation.passes_check import judge

with job(snakemake):
    facts, wanted = read_json(snakemake.input.facts), snakemake.params.passes
    if not wanted:
        raise PoseFactoryError("No passes are asked for: name some in render.passes.")
    frames = select(facts["first_frame"], facts["last_frame"], snakemake.params.frames)
    tables = [read_table(path) for path in (snakemake.input.labels, snakemake.input.boxes)]
    scene.open_character(snakemake.input.blend)
    with whole_folder(snakemake.output.images) as folder:
        made = passes.make(facts, read_json(snakemake.input.camera), frames, wanted, *tables, folder)
        judge(snakemake.wildcards.camera_angle, made["checks"], snakemake.params.limits)
    write_json(snakemake.output.facts, json_safe(made))
