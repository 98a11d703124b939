#!/usr/bin/env bash
# The demo study from nothing: installs what is missing, builds, and runs phases 0, 1, 1.1, 1.2, 2 and 3 and the steering on a small real
# model with two ranks, and writes the report. Run it again: what is finished is skipped, what was interrupted goes on.
#
#   bash jobs/local/demo.sh [DATA]     DATA: folder of the results (default: data)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
data=${1:-data}
demo=data/demo

bash jobs/local/setup.sh
bash jobs/local/build.sh release
bin=build/release/bin

# mpirun refuses to run as root unless told twice, and to start more ranks than cores unless told once.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
run() {
    echo
    echo "== $*"
    mpirun --oversubscribe --bind-to none -n 2 "$bin/$@"
}
# One thread a rank: the model is too small for more, and the results then are the same on any machine of this kind.
run pva_phase0 --data "$data" --problems $demo/problems.jsonl
# Besides the last prompt token, rows at stages of writing and at every position: the report's contexts come from them.
positions=last-prompt,signature-end,tenths,last-token,all
run pva_phase1 --data "$data" --model $demo/model --problems $demo/problems.jsonl --max-new-tokens 128 --threads 1 --positions $positions
run pva_phase1_1 --data "$data" --problems $demo/problems.jsonl
run pva_phase1_2 --data "$data" --model $demo/model --problems $demo/problems.jsonl --max-new-tokens 128 --threads 1 --temperatures 0.4,0.8,1.2 --samples 2
run pva_phase2 --data "$data" --model $demo/model --problems $demo/problems.jsonl --sae $demo/saes --general-text $demo/general_text.jsonl --threads 1
run pva_phase3 --data "$data" --model $demo/model --problems $demo/problems.jsonl --sae $demo/saes
run pva_steer --data "$data" --model $demo/model --problems $demo/problems.jsonl --sae $demo/saes --arms right --test-seconds 2 --threads 1

# Contexts in general text come from codes of it.
codes=$data/codes/general_text.h5
[[ -e $codes ]] || run pva_check --data "$data" --model $demo/model --sae $demo/saes --text $demo/general_text.jsonl --records 100 --max-tokens 128 --loss-records 0 --codes "$codes" --sae-any --threads 1
"$bin/pva_report" "$data"
echo
echo "Open $data/report.html in a browser (for instance: xdg-open $data/report.html): one page with all that came out."
echo "The results are HDF5 files under $data/phase0, phase1_0, phase1_1, phase1_2, phase2, phase3 (open them with h5py; docs/formats says what is in them)."
