#!/usr/bin/env bash
# Sets up, builds, runs the tests, prints the totals.
#
#   bash tests/run.sh            what a newcomer runs: under ten minutes after the build
#   bash tests/run.sh --long     also the kills by the dozen, the sanitizers, the reference comparisons and the jobs on a real Slurm
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
long=0
for argument in "$@"; do
    case $argument in
        --long) long=1 ;;
        *) echo "usage: tests/run.sh [--long]" >&2; exit 64 ;;
    esac
done
bash jobs/local/setup.sh
bash jobs/local/build.sh release

# The examples of docs/formats need h5py; pva itself does not, so it goes into a folder of its own. Without it they are skipped.
packages=${XDG_CACHE_HOME:-$HOME/.cache}/pva/test-packages
if [[ ! -e $packages/h5py ]]; then
    python3 -m pip install --quiet --no-compile --root-user-action=ignore --target "$packages" h5py==3.14.0 numpy==2.2.6 ||
        echo "h5py could not be fetched: the examples of docs/formats will be skipped"
fi
export PYTHONPATH=$packages${PYTHONPATH:+:$PYTHONPATH}

if ((long)) && [[ ! -e ${packages%/*}/notebook-packages/nbclient ]]; then
    python3 -m pip install --quiet --no-compile --root-user-action=ignore --target "${packages%/*}/notebook-packages" nbclient==0.10.2 ipykernel==6.29.5 matplotlib==3.10.3 h5py==3.14.0 numpy==2.2.6 ||
        echo "what the notebook needs could not be fetched: demo.notebook will be skipped"
fi

bash jobs/local/get_humaneval.sh || echo "HumanEval could not be fetched: its tests will be skipped"

if ((long)); then
    # A real pretrained model for golden.smollm2, which is skipped without it.
    bash jobs/local/get_smollm2.sh || echo "SmolLM2 could not be fetched: golden.smollm2 will be skipped"
    bash jobs/local/setup.sh --slurm || echo "Slurm or Chromium could not be installed: their tests will be skipped"
fi

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
status=0
ctest --test-dir build/release --output-on-failure -j 2 -LE long || status=$?
if ((long)); then
    ctest --test-dir build/release --output-on-failure -j 1 -L long || status=$?
fi
exit $status
