"""Effect of swapping two neighbouring stages: `make commutators`, not part of a table."""

@cache
def swaps():
    """Every two pipelines of the study that differ by two neighbouring stages alone."""
    return orderings.swaps(p for p in STUDY.plan.rows if p not in STUDY.plan.refused)


def of_swaps(*paths):
    """Input function: these paths of every swap and seed."""
    return lambda wildcards: list(
        dict.fromkeys(
            f"results/{STUDY.name}/seed{seed}/"
            + path.format(first=first, second=second)
            for path in paths
            for first, second in swaps()
            for seed in STUDY.seeds
        )
    )


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
        sources=lambda w: sorted(
            {
                path
                for pipeline in (w.first, w.second)
                for path in watched.of_reader(STUDY, pipeline, "compare.py")
            }
        ),
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
    shell:
        r"""
        python {input.sources[0]:q} \
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
        sources=watched.of_script("collect.py"),
    output:
        "results/{study}/commutators.csv",
    log:
        "logs/{study}/commutators.log",
    resources:
        **asked(),
    params:
        study=f"--study={STUDY.name}",
    shell:
        r"""
        python {input.sources[0]:q} commutators \
            {params.study:q} \
            --records {input.records:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """
