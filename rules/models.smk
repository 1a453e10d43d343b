# `snakemake fetch_models` gets the files of the backend hmr2 (docs/models.md). It has no output, so that it always checks
# what is there, and nothing else asks for it.


rule fetch_models:
    log:
        f"{RESULTS}/review/logs/fetch_models.log",
    localrule: True
    conda:
        "../envs/tracking.yaml"
    params:
        settings={"hmr2": CONFIG["tracking"]["hmr2"]},
        code=code("fetch_models.py"),
    script:
        "../workflow/scripts/fetch_models.py"
