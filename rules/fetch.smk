"""Packages and repositories: pinned, verified. Afterwards nothing needs a network."""


rule device:
    """Check that the study's device exists before anything is fetched."""
    input:
        script=ancient(of_workflow("src/device.py")),
    output:
        "results/{study}/device.json",
    log:
        "logs/{study}/device.log",
    resources:
        **asked(),
        gpu=STUDY.gpus,
    params:
        device=STUDY.device,
    shell:
        r"""
        python {input.script:q} \
            --device {params.device} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule fetch:
    """Download one archive; its sha256 is the contract, so no source is an input."""
    input:
        device=DEVICE,
        script=ancient(of_workflow("src/fetch.py")),
    output:
        "assets/packages/{file}",
    log:
        "logs/fetch/{file}.log",
    localrule: True
    params:
        flags=lambda w: STUDY.fetch_flags(w.file),
    shell:
        r"""
        python {input.script:q} packages \
            {params.flags:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule fetch_hub:
    """Link one hub repository at its pinned commit; the commit is the contract."""
    input:
        device=DEVICE,
        script=ancient(of_workflow("src/fetch.py")),
    output:
        "assets/hub/{kind}/{owner}/{repository}/{revision}/asset.json",
    log:
        "logs/fetch/{kind}.{owner}.{repository}.{revision}.log",
    wildcard_constraints:
        kind="models|datasets",
        revision="[0-9a-f]{40}",
    localrule: True
    params:
        folder=lambda w, output: str(Path(output[0]).parent),
        patterns=lambda w, output: STUDY.hub_flags(str(Path(output[0]).parent)),
    shell:
        r"""
        python {input.script:q} hub \
            --kind {wildcards.kind} \
            --repository {wildcards.owner}/{wildcards.repository} \
            --revision {wildcards.revision} \
            {params.patterns:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule fetch_github:
    """Fetch files of one GitHub repository at its pinned commit; the commit is the contract."""
    input:
        device=DEVICE,
        script=ancient(of_workflow("src/fetch.py")),
    output:
        "assets/github/{owner}/{repository}/{revision}/asset.json",
    log:
        "logs/fetch/github.{owner}.{repository}.{revision}.log",
    wildcard_constraints:
        revision="[0-9a-f]{40}",
    localrule: True
    params:
        folder=lambda w, output: str(Path(output[0]).parent),
        patterns=lambda w, output: STUDY.hub_flags(str(Path(output[0]).parent)),
    shell:
        r"""
        python {input.script:q} github \
            --repository {wildcards.owner}/{wildcards.repository} \
            --revision {wildcards.revision} \
            {params.patterns:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """
