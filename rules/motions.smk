# `snakemake --cores all motion_sheet` shows every motion that a body can make: results/review/motions.png.


rule motion_sheet:
    output:
        f"{RESULTS}/review/motions.png",
    log:
        f"{RESULTS}/review/logs/motion_sheet.log",
    conda:
        "../envs/blender.yaml"
    params:
        phenotype={"age": 0.67, "gender": 0.3, "weight": 0.45},
        code=code("motion_sheet.py"),
    script:
        "../workflow/scripts/motion_sheet.py"
