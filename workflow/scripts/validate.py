"""Ground truth and tracks of one view -> validation.json and the table of scores by joint."""

from pose_factory import tables
from pose_factory.files import read_about, read_json, read_table, write_json, write_table
from pose_factory.geometry.camera import Camera
from pose_factory.job import job
from pose_factory.validation.report import validate_view

with job(snakemake):
    validation, joints = validate_view(
        read_table(snakemake.input.labels),
        read_table(snakemake.input.boxes),
        read_table(snakemake.input.tracks),
        read_about(snakemake.input.tracks)["joints"],
        Camera.from_json(read_json(snakemake.input.camera)),
        read_json(snakemake.input.character)["fps"],
        snakemake.params.thresholds,
    )
    write_json(snakemake.output.validation, validation)
    write_table(snakemake.output.joints, joints, tables.JOINT_SCORES)
