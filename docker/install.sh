#!/bin/bash
# Install a locked environment into a new folder: install.sh LOCK cuda|index FOLDER
#
# envs/NAME.cuda.lock has every package of a CUDA machine with the sha256 of its files, torch and
# its CUDA libraries among them. `cuda` installs just that. `index` takes everything else by hash,
# and torch, by version alone, in the build that /wheels or the index offers: one for the CPU, say.
set -euo pipefail
lock=$1 torch=$2 folder=$3
python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || {
    echo "error: the base image has $(python3 --version); 3.11 to 3.13 is needed, by" \
        "--build-arg BASE=..." >&2
    exit 1
}

python3 -m venv "$folder"
PATH=$folder/bin:$PATH
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_FIND_LINKS=/wheels PIP_PROGRESS_BAR=off

# An entry of a lock is a line `name==version ...` and the indented lines that follow it.
# nvidia-ml-py is pure Python, and needed without a GPU too
cuda_entries() {
    awk -v want="$1" '/^[^ ]/ { is = ($0 ~ /^(torch|triton|cuda-[a-z]+|nvidia-[a-z0-9-]+)==/) &&
            ($0 !~ /^nvidia-ml-py==/) }
        is == want' "$lock"
}

case $torch in
cuda)
    pip install --require-hashes --no-deps --requirement "$lock"
    ;;
index)
    pip install --require-hashes --no-deps --requirement <(cuda_entries 0)
    pin=$(grep --only-matching --extended-regexp '^torch==[^ ;]+' "$lock" || true)
    # the CUDA libraries, if this build wants them, in the locked versions
    [ -z "$pin" ] || pip install "$pin" \
        --constraint <(cuda_entries 1 | grep --only-matching --extended-regexp '^[a-z0-9-]+==[^ ;]+')
    ;;
*)
    echo "error: TORCH=$torch is unknown; it may be cuda or index" >&2
    exit 1
    ;;
esac
pip check
