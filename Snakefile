# Pose Factory: rigged characters in, multi-view footage with ground truth and tracker scores out. See README.md.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/prepare.smk"
include: "rules/bounds.smk"
include: "rules/camera.smk"
include: "rules/render.smk"
include: "rules/ground_truth.smk"
include: "rules/passes.smk"
include: "rules/track.smk"
include: "rules/validate.smk"
include: "rules/fuse.smk"
include: "rules/review.smk"
include: "rules/summarise.smk"
include: "rules/videos.smk"
include: "rules/body.smk"
include: "rules/biomechanics.smk"
include: "rules/motions.smk"
include: "rules/dag.smk"
include: "rules/models.smk"
include: "rules/sync.smk"
include: "rules/export.smk"


rule all:
    default_target: True
    input:
        everything,
