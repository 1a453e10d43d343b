# The dataset as a whole: one row per view, and error by azimuth and by joint.


rule summarise:
    input:
        validations=all_views("validation.json"),
        joints=all_views("joints.parquet"),
        rig_biases=each_character("rig_bias.json"),
        # Not read: nothing is summarised from labels that failed their check.
        checks=each_character("ground_truth_check.json"),
    output:
        parquet=f"{RESULTS}/dataset/summary.parquet",
        csv=report(
            f"{RESULTS}/dataset/summary.csv",
            caption="../workflow/report/summary.rst",
            category="dataset",
            labels={"view": "all", "what": "summary table"},
        ),
        by_azimuth=f"{RESULTS}/dataset/by_azimuth.parquet",
        by_joint=f"{RESULTS}/dataset/by_joint.parquet",
        azimuth_plot=report(
            f"{RESULTS}/review/error_by_azimuth.svg",
            caption="../workflow/report/error_by_azimuth.rst",
            category="dataset",
            labels={"view": "all", "what": "error by azimuth"},
        ),
        joint_plot=report(
            f"{RESULTS}/review/error_by_joint.svg",
            caption="../workflow/report/error_by_joint.rst",
            category="dataset",
            labels={"view": "all", "what": "error by joint"},
        ),
    log:
        f"{RESULTS}/dataset/logs/summarise.log",
    benchmark:
        f"{RESULTS}/dataset/benchmarks/summarise.tsv"
    localrule: True  # small tables, which are here
    conda:
        "../envs/analysis.yaml"
    params:
        characters=list(CHARACTERS),
        views=[(character, name, angle["azimuth"]) for character in CHARACTERS for name, angle in ANGLES.items()],
        code=code("summarise.py"),
    script:
        "../workflow/scripts/summarise.py"
