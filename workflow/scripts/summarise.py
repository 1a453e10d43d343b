"""All views' validation.json and scores by joint -> the summary table and the plots of the dataset."""

import pandas as pd

from pose_factory import tables
from pose_factory.files import atomic, read_json, read_table, write_table
from pose_factory.job import job
from pose_factory.review import plots
from pose_factory.validation.report import error_by_azimuth, error_by_joint, summarise

with job(snakemake):
    views = snakemake.params.views
    validations = map(read_json, snakemake.input.validations)
    summary = summarise((*view, validation) for view, validation in zip(views, validations, strict=True))
    joints = pd.concat(map(read_table, snakemake.input.joints))
    write_table(snakemake.output.parquet, summary, tables.SUMMARY)
    with atomic(snakemake.output.csv) as csv:
        summary.to_csv(csv, index=False)
    write_table(snakemake.output.by_azimuth, error_by_azimuth(summary), tables.SUMMARY)
    write_table(snakemake.output.by_joint, error_by_joint(joints), tables.JOINT_SCORES)
    plots.error_by_azimuth(summary, snakemake.output.azimuth_plot)
    plots.error_by_joint(error_by_joint(joints), snakemake.output.joint_plot)
