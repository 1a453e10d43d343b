# Exact labels of each view, and their check against each other over all views of a character.


rule ground_truth:
    input:
        blend=rules.prepare.output.blend,
        facts=rules.prepare.output.facts,
        camera=rules.camera.output[0],
    output:
        labels=view("ground_truth.parquet"),
        boxes=view("boxes.parquet"),
        check=view("ground_truth.json"),
    log:
        view("logs/ground_truth.log"),
    benchmark:
        view("benchmarks/ground_truth.tsv")
    conda:
        "../envs/blender.yaml"
    params:
        frames=CONFIG["render"]["frames"],
        limits=CONFIG["validation"]["ground_truth"],
        code=code("ground_truth.py"),
    script:
        "../workflow/scripts/ground_truth.py"


rule check_ground_truth:
    input:
        labels=views_of("ground_truth.parquet"),
        checks=views_of("ground_truth.json"),
        cameras=views_of("camera.json"),
    output:
        f"{RESULTS}/{{character}}/ground_truth_check.json",
    log:
        f"{RESULTS}/{{character}}/logs/check_ground_truth.log",
    benchmark:
        f"{RESULTS}/{{character}}/benchmarks/check_ground_truth.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        angles=list(ANGLES),
        limits=CONFIG["validation"]["ground_truth"],
        code=code("check_ground_truth.py"),
    script:
        "../workflow/scripts/check_ground_truth.py"
