"""Cost of serving checkpoints, timed on an idle machine: `make serving`, not part of a table."""


rule serve:
    """Latency, throughput, memory and energy of one checkpoint; nothing runs beside it."""
    input:
        manifest="results/{study}/seed{seed}/checkpoints/{pipeline}/checkpoint.json",
        model=ancient(
            "results/{study}/seed{seed}/checkpoints/{pipeline}/model.safetensors"
        ),
        script=of_workflow("src/serve.py"),
        lock=LOCK,
    output:
        "results/{study}/seed{seed}/costs/{pipeline}/serving.json",
    log:
        "logs/{study}/seed{seed}/{pipeline}.serving.log",
    threads: every_core
    resources:
        **asked("measure {pipeline}"),
        gpu=STUDY.gpus,
    params:
        flags=STUDY.serving_flags(),
        sources=sources_of_reader("serve.py"),
    shell:
        r"""
        python {input.script:q} \
            --checkpoint results/{wildcards.study}/seed{wildcards.seed}/checkpoints/{wildcards.pipeline:q} \
            --threads {threads} \
            {params.flags:q} \
            --costs results/{wildcards.study}/seed{wildcards.seed}/costs/{wildcards.pipeline:q} \
            2>&1 | tee {log:q}
        """


rule serving:
    """The configured study's checkpoints as served: results/<study>/serving.csv."""
    input:
        f"results/{STUDY.name}/serving.csv",


rule serving_table:
    """One line a checkpoint and batch size."""
    input:
        # the script reports a study without a `serving` entry
        records=every("costs/{pipeline}/serving.json") if STUDY.serving_flags() else [],
        script=of_workflow("src/collect.py"),
    output:
        "results/{study}/serving.csv",
    log:
        "logs/{study}/serving.log",
    resources:
        **asked(),
    params:
        study=f"--study={STUDY.name}",
        sources=sources_of("collect.py"),
    shell:
        r"""
        python {input.script:q} serving \
            {params.study:q} \
            --records {input.records:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """
