"""Every motion that a body can make, a strip of moments each -> one picture."""

from pose_factory.bodies import motion
from pose_factory.bodies.anny_body import build_body
from pose_factory.job import job
from pose_factory.review.motion_sheet import motion_sheet
from pose_factory.review.sheet import write_sheet

with job(snakemake):
    write_sheet(snakemake.output[0], motion_sheet(build_body(snakemake.params.phenotype), motion.names()))
