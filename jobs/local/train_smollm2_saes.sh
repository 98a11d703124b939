#!/usr/bin/env bash
# SAEs of three layers of SmolLM2-135M-Instruct: collects about three million tokens of Python sources and of documentation of Debian
# packages (their licences are noted beside them), trains on 2.2 million of them, then goes on with 410,000 rows of which 15 % are last
# prompt tokens of the selection part of MBPP: the study reads that position, and SAEs that never saw it reconstruct it badly. Run it
# again after an interruption: it goes on.
#
#   bash jobs/local/train_smollm2_saes.sh MBPP [DATA [OUT [more options of pva_train_sae]]]
#
#   MBPP   mbpp.jsonl of the published data set
#   DATA   folder of the study (default: data/smollm2): phases 0 to 1.1 of jobs/local/real_study.sh, which make the split
#   OUT    default ~/.cache/pva/smollm2-saes; those of the first training are in OUT/text
#
# The model comes from jobs/local/get_smollm2.sh, the executable from jobs/local/build.sh. On two cores it takes one to two hours.
set -euo pipefail
if (($# < 1)) || [[ $1 == -h || $1 == --help ]]; then
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
    (($# >= 1)) && exit 0
    exit 64
fi
mbpp=$(realpath -e "$1") || { echo "$1: no such file; give the mbpp.jsonl of the published data set" >&2; exit 65; }
data=$(realpath -m "${2:-data/smollm2}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pva
out=${3:-$cache/smollm2-saes}
shift $(($# < 3 ? $# : 3))
model=${PVA_SMOLLM2:-$cache/smollm2-135m-instruct}
text=${PVA_SAE_TEXT:-$cache/sae-text}
bin=${PVA_BIN:-build/release/bin}
ranks=${PVA_RANKS:-1}

[[ -e $model/model.safetensors ]] || { echo "no model in $model: run jobs/local/get_smollm2.sh first" >&2; exit 65; }
[[ -x $bin/pva_train_sae ]] || { echo "no $bin/pva_train_sae: run jobs/local/build.sh first, or say where with PVA_BIN" >&2; exit 65; }
splits=("$data"/mbpp/phase1_1/splits_*.h5)
[[ -e ${splits[0]} ]] || { echo "no $data/mbpp/phase1_1/splits_*.h5: run PVA_PHASES='0 1 1.1' jobs/local/real_study.sh first" >&2; exit 65; }
[[ -e $text/licences.tsv ]] || python3 jobs/local/collect_text.py "$text"
mkdir -p "$out/text"
cp "$text/licences.tsv" "$out/licences.tsv"

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
train() {  # OUT and the options that the two trainings do not share
    local folder=$1
    shift
    mpirun --oversubscribe --bind-to none -n "$ranks" "$bin/pva_train_sae" --data "$folder" --out "$folder" --model "$model" --model-name HuggingFaceTB/SmolLM2-135M-Instruct \
        --text "$text/code.jsonl,$text/documentation.jsonl" --layers 10,15,20 --latents 6144 --l0 48 --context 256 --bos yes --separator eos \
        --problems "$mbpp" --splits "${splits[-1]}" --prompt smollm2-instruct --drop-held-out --batch 2048 --micro-batch 512 --checkpoint-minutes 10 "$@"
}
train "$out/text" --tokens 2200000 --learning-rate 2.5e-3 "$@"
# A dry run leaves no SAEs to start from.
if ! compgen -G "$out/text/layer_*" >/dev/null; then
    echo "no SAEs in $out/text yet: the second training, which starts from them, is left out"
    exit 0
fi
train "$out" --start-from "$out/text" --oversample-share 0.15 --tokens 409600 --learning-rate 8e-4 --seed 1 "$@"
