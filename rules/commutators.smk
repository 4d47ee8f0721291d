"""Effect of swapping two neighbouring stages: `make commutators`, not part of a table."""


rule compare:
    """KL divergence between two checkpoints, both ways."""
    input:
        first="results/{study}/seed{seed}/checkpoints/{first}/checkpoint.json",
        second="results/{study}/seed{seed}/checkpoints/{second}/checkpoint.json",
        models=ancient(
            [
                "results/{study}/seed{seed}/checkpoints/{first}/model.safetensors",
                "results/{study}/seed{seed}/checkpoints/{second}/model.safetensors",
            ]
        ),
        text=STUDY.held_out,
        splits="results/{study}/splits.json",
        script=of_workflow("src/compare.py"),
        lock=LOCK,
        arithmetic=ARITHMETIC,
    output:
        "results/{study}/seed{seed}/commutators/{first}~{second}.json",
    log:
        "logs/{study}/seed{seed}/{first}~{second}.compare.log",
    wildcard_constraints:
        first=r"[^/~]+",
        second=r"[^/~]+",
    resources:
        **asked("measure {first}"),
        gpu=STUDY.gpus,
    params:
        flags=STUDY.document_flags(),
        sources=lambda w: [
            watched.digest(watched.of_reader(STUDY, pipeline, "compare.py"))
            for pipeline in (w.first, w.second)
        ],
    shell:
        r"""
        python {input.script:q} \
            --first results/{wildcards.study}/seed{wildcards.seed}/checkpoints/{wildcards.first:q} \
            --second results/{wildcards.study}/seed{wildcards.seed}/checkpoints/{wildcards.second:q} \
            --text {input.text:q} \
            --splits {input.splits:q} \
            --threads {threads} \
            {params.flags:q} \
            --costs results/{wildcards.study}/seed{wildcards.seed}/costs/{wildcards.first}~{wildcards.second} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule commutators:
    """The configured study's swaps: results/<study>/commutators.csv."""
    input:
        f"results/{STUDY.name}/commutators.csv",


rule commutator_table:
    """One line a pair and seed."""
    input:
        # the script reports a study without a swap
        records=of_swaps("commutators/{first}~{second}.json"),
        fidelity=of_swaps(
            "evaluations/{first}/fidelity.json", "evaluations/{second}/fidelity.json"
        ),
        script=of_workflow("src/collect.py"),
    output:
        "results/{study}/commutators.csv",
    log:
        "logs/{study}/commutators.log",
    resources:
        **asked(),
    params:
        study=f"--study={STUDY.name}",
        sources=sources_of("collect.py"),
    shell:
        r"""
        python {input.script:q} commutators \
            {params.study:q} \
            --records {input.records:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """
