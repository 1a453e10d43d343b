"""A prepared character and a camera -> exact labels of one view: ground_truth.parquet, boxes.parquet, and their
check."""

from pose_factory import tables
from pose_factory.blender import ground_truth, scene
from pose_factory.files import read_json, write_json, write_table
from pose_factory.frames import select
from pose_factory.job import job
from pose_factory.validation.view_check import check_view

with job(snakemake):
    facts = read_json(snakemake.input.facts)
    frames = select(facts["first_frame"], facts["last_frame"], snakemake.params.frames)
    scene.open_character(snakemake.input.blend)
    labels, boxes, check = ground_truth.label(facts, read_json(snakemake.input.camera), frames)
    limits = snakemake.params.limits
    check_view(snakemake.wildcards.camera_angle, check, limits["reprojection_px"], limits["inside_silhouette"])
    write_table(snakemake.output.labels, labels, tables.GROUND_TRUTH | {"fps": facts["fps"]})
    write_table(snakemake.output.boxes, boxes, tables.BOXES)
    write_json(snakemake.output.check, check)
