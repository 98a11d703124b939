#!/usr/bin/env bash
# A study on a real pretrained model, SmolLM2-135M-Instruct: phases 0, 1, 1.1 and 1.2 on MBPP and on HumanEval; then, with
# the SAEs of jobs/local/train_smollm2_saes.sh (they need phases 0 to 1.1), phases 2 and 3 on MBPP, what was chosen there tried on
# HumanEval, and steering. Needs no hub: model and HumanEval come from PyPI packages, MBPP is a file that you give. Run it
# again: what is finished is skipped, what was interrupted goes on.
#
#   bash jobs/local/real_study.sh MBPP [DATA]
#
#   MBPP   mbpp.jsonl of the published data set (974 problems)
#   DATA   folder of the results (default: data/smollm2); MBPP's go to DATA/mbpp, HumanEval's to DATA/humaneval
#   PVA_RANKS, PVA_THREADS   ranks and threads a rank (default: as many ranks as processors, one thread each)
#   PVA_PHASES               which to run (default: "0 1 1.1 1.2 2 3 transfer steer report", from 2 on only where SAEs are)
#   PVA_SAES                 SAEs (default: ~/.cache/pva/smollm2-saes)
#   PVA_GENERAL_TEXT         general text of phase 2 (default: the documentation the SAEs were trained on, 400 documents)
#   PVA_STEER                options of pva_steer (default: "--arms right"; docs/studies/smollm2.md says what it costs)
set -euo pipefail
if (($# < 1 || $# > 2)) || [[ $1 == -h || $1 == --help ]]; then
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
    (($# >= 1)) && [[ $1 == -h || $1 == --help ]] && exit 0
    exit 64
fi
mbpp=$(realpath "$1") || { echo "$1: no such file; give the mbpp.jsonl of the published data set" >&2; exit 65; }
[[ -f $mbpp ]] || { echo "$mbpp: no such file; give the mbpp.jsonl of the published data set" >&2; exit 65; }
data=$(realpath -m "${2:-data/smollm2}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bash jobs/local/setup.sh
bash jobs/local/build.sh release
bash jobs/local/get_smollm2.sh
bash jobs/local/get_humaneval.sh
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pva
model=$cache/smollm2-135m-instruct
humaneval=$cache/humaneval/HumanEval.jsonl.gz
ranks=${PVA_RANKS:-$(nproc)}
threads=${PVA_THREADS:-1}
saes=${PVA_SAES:-$cache/smollm2-saes}
general_text=${PVA_GENERAL_TEXT:-$cache/sae-text/documentation.jsonl}
phases=${PVA_PHASES:-}
if [[ -z $phases ]]; then
    phases="0 1 1.1 1.2"
    if compgen -G "$saes/layer_*" >/dev/null; then
        phases+=" 2 3 transfer steer report"
    else
        echo "no SAEs in $saes: phases 2, 3 and steering are left out; jobs/local/train_smollm2_saes.sh makes them" >&2
    fi
fi
bin=${PVA_BIN:-build/release/bin}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

run() {
    echo
    echo "== $*"
    mpirun --oversubscribe --bind-to none -n "$ranks" "$bin/$@" || {
        code=$?
        ((code == 75)) && echo "stopped on request; run the same command again to go on" >&2
        exit "$code"
    }
}

# The chat form that the model was trained on, with a fence already open; see docs/prompts.md.
writing=(--model "$model" --prompt smollm2-instruct --max-new-tokens 300 --batch-size 32 --threads "$threads")
writes() {
    local problems=$1 results=$2
    for phase in $phases; do
        case $phase in
            0) run pva_phase0 --data "$results" --problems "$problems" ;;
            1) run pva_phase1 --data "$results" --problems "$problems" "${writing[@]}" --positions last-prompt,signature-end,tenths,last-token ;;
            1.1) run pva_phase1_1 --data "$results" --problems "$problems" ;;
            1.2) run pva_phase1_2 --data "$results" --problems "$problems" "${writing[@]}" ;;
        esac
    done
}
newest() {
    local files
    files=$(ls -t $1 2>/dev/null) || { echo "$1: no such result; run the phases before this one" >&2; exit 65; }
    head -n 1 <<<"$files"
}
reads() {
    local of_mbpp=(--data "$data/mbpp" --problems "$mbpp" --model "$model" --sae "$saes" --threads "$threads")
    for phase in $phases; do
        case $phase in
            2) run pva_phase2 "${of_mbpp[@]}" --general-text "$general_text" --general-documents 400 ;;
            3) run pva_phase3 "${of_mbpp[@]}" ;;
            transfer)
                run pva_phase3 --data "$data/humaneval" --problems "$humaneval" --model "$model" --sae "$saes" --threads "$threads" \
                    --chosen-on "$mbpp" --chosen-dataset "$(newest "$data/mbpp/phase1_0/dataset_*.h5")" \
                    --splits "$(newest "$data/mbpp/phase1_1/splits_*.h5")" --latents "$(newest "$data/mbpp/phase2/latents_*.h5")"
                ;;
            steer) run pva_steer "${of_mbpp[@]}" --batch-size 32 ${PVA_STEER:---arms right} ;;
            report) "$bin/pva_report" "$data/mbpp" ;;
        esac
    done
}
for phase in $phases; do
    [[ $phase =~ ^(0|1|1\.1|1\.2|2|3|transfer|steer|report)$ ]] || { echo "PVA_PHASES: there is no phase '$phase' here" >&2; exit 64; }
done
writes "$mbpp" "$data/mbpp"
writes "$humaneval" "$data/humaneval"
reads
echo
echo "The results are HDF5 files under $data/mbpp and $data/humaneval; docs/formats says what is in them, docs/studies/smollm2.md what came out."
