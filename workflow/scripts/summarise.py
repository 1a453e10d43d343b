"""All views' scores, also by joint, and all characters' rig_bias.json -> the dataset's summary table and plots."""

import pandas as pd

from pose_factory import tables
from pose_factory.files import atomic, read_json, read_table, write_table
from pose_factory.job import job
from pose_factory.review import plots
from pose_factory.validation.report import error_by_azimuth, error_by_joint, summarise

with job(snakemake):
    validations = map(read_json, snakemake.input.validations)
    rig_biases = map(read_json, snakemake.input.rig_biases)
    summary = summarise(
        ((*view, validation) for view, validation in zip(snakemake.params.views, validations, strict=True)),
        dict(zip(snakemake.params.characters, rig_biases, strict=True)),
    )
    joints = pd.concat(map(read_table, snakemake.input.joints))
    write_table(snakemake.output.parquet, summary, tables.SUMMARY)
    with atomic(snakemake.output.csv) as csv:
        summary.to_csv(csv, index=False)
    write_table(snakemake.output.by_azimuth, error_by_azimuth(summary), tables.SUMMARY)
    write_table(snakemake.output.by_joint, error_by_joint(joints), tables.JOINT_SCORES)
    plots.error_by_azimuth(summary, snakemake.output.azimuth_plot)
    plots.error_by_joint(error_by_joint(joints), snakemake.output.joint_plot)
