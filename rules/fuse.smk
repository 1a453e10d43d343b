# Once per character: all its views together, which the known cameras turn into one pose in the world.


rule fuse:
    input:
        labels=views_of("ground_truth.parquet"),
        boxes=views_of("boxes.parquet"),
        tracks=views_of("tracks.parquet"),
        cameras=views_of("camera.json"),
    output:
        fused=f"{RESULTS}/{{character}}/fused.parquet",
        report=report(
            f"{RESULTS}/{{character}}/fusion.json",
            caption="../workflow/report/fusion.rst",
            category="{character}",
            subcategory="scores",
            labels={"view": "all", "what": "fusion"},
        ),
        repaired=[f"{RESULTS}/{{character}}/{angle}/repaired.parquet" for angle in ANGLES],
        plot=report(
            f"{RESULTS}/review/{{character}}_fused.svg",
            caption="../workflow/report/fused.rst",
            category="{character}",
            subcategory="scores",
            labels={"view": "all", "what": "one view against all fused"},
        ),
    log:
        f"{RESULTS}/{{character}}/logs/fuse.log",
    benchmark:
        f"{RESULTS}/{{character}}/benchmarks/fuse.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        angles=list(ANGLES),
        settings=CONFIG["fusion"],
        code=code("fuse.py"),
    script:
        "../workflow/scripts/fuse.py"
