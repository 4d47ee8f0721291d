# The environment and the sources, for `docker run` on a GPU or a CPU: `make image`, docs/docker.md.
# Needs BuildKit: Docker 23 or newer, or 18.09 or newer with DOCKER_BUILDKIT=1.

# CUDA 13.0.3 is what the locked torch is built for; Ubuntu 24.04 has Python 3.12. The wheels of
# torch bring their CUDA libraries themselves, so the smallest base will do. Any Debian or Ubuntu
# with Python 3.11 to 3.13 can stand here; without a GPU it need not have CUDA.
ARG BASE=nvidia/cuda:13.0.3-base-ubuntu24.04@sha256:7c7413a56200486f71f181cad9310f6fd31b6bb21816ade15fc9c1e1e927a5c1

FROM ${BASE} AS base
# tini is the init process: it hands signals on and reaps what jobs leave behind; git fetches files
# of GitHub repositories
RUN export DEBIAN_FRONTEND=noninteractive \
    && apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git python3 tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log


FROM base AS builder
RUN export DEBIAN_FRONTEND=noninteractive \
    && apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt
# the caller's index settings, for the build alone; or his pip.conf as a secret (docs/docker.md)
ARG PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST
# cuda: the locked build of torch, by hash. index: the build that docker/wheels or the index offers.
ARG TORCH=cuda
COPY docker/install.sh /


FROM builder AS core-environment
COPY envs/core.cuda.lock /envs/
RUN --mount=type=bind,source=docker/wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /install.sh /envs/core.cuda.lock "$TORCH" /opt/venv


FROM builder AS another-environment
ARG ENVIRONMENT=core
COPY envs/${ENVIRONMENT}.cuda.lock /envs/
RUN --mount=type=bind,source=docker/wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /install.sh "/envs/$ENVIRONMENT.cuda.lock" "$TORCH" "/opt/venv-$ENVIRONMENT"


FROM base AS sources
COPY . /opt/compression-order
RUN rm -rf /opt/compression-order/docker/wheels && chmod -R u=rwX,go=rX /opt/compression-order


FROM base AS core
# A user for containers in which nothing is mounted; else the owner of /workspace (entrypoint.sh).
RUN useradd --uid 10001 --home-dir /workspace/.cache --no-create-home --shell /bin/bash harness \
    && install --directory --owner=harness --group=harness /workspace
# Whatever is cached lies in the mounted folder, so that it stays and belongs to the caller.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/workspace/.cache \
    XDG_CACHE_HOME=/workspace/.cache \
    HF_HOME=/workspace/.cache/huggingface \
    MPLCONFIGDIR=/workspace/.cache/matplotlib \
    NUMBA_CACHE_DIR=/workspace/.cache/numba \
    TORCH_HOME=/workspace/.cache/torch \
    TORCHINDUCTOR_CACHE_DIR=/workspace/.cache/inductor \
    TRITON_CACHE_DIR=/workspace/.cache/triton \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /workspace
# `docker stop` asks as Ctrl-C does: Snakemake then ends its jobs and releases its lock
STOPSIGNAL SIGINT
ENTRYPOINT ["tini", "-g", "--", "/opt/compression-order/docker/entrypoint.sh"]
COPY --from=core-environment /opt/venv /opt/venv
COPY --from=sources /opt/compression-order /opt/compression-order
RUN ln -s /opt/compression-order/docker/compression-order /usr/local/bin/
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="compression-order" \
      org.opencontainers.image.description="Does the order in which a language model is compressed matter, and by how much?" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"


# core and one more environment: --target extended --build-arg ENVIRONMENT=name
FROM core AS extended
ARG ENVIRONMENT=core
COPY --from=another-environment /opt/venv-${ENVIRONMENT} /opt/venv-${ENVIRONMENT}


# what a build without --target gives
FROM core
