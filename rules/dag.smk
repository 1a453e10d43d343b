# `snakemake dag` draws the workflow. It has no output, so that it always draws what is true now.


rule dag:
    log:
        f"{RESULTS}/review/logs/dag.log",
    localrule: True
    conda:
        "../envs/analysis.yaml"
    params:
        config=config,
        snakefile=workflow.main_snakefile,
        folder=f"{RESULTS}/review",
        code=code("dag.py"),
    script:
        "../workflow/scripts/dag.py"
