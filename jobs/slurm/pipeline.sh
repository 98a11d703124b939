#!/usr/bin/env bash
# Submits a study as a chain of jobs, each of which waits for the one before it to end well (afterok). Prints job ids.
#
#   bash jobs/slurm/pipeline.sh --model google/gemma-2-2b --problems mbpp.jsonl --sae SAES --general-text text.jsonl --data /scratch/study
#
# Options of several phases go to those that know them:
#   --data DIR  --problems FILE  --model MODEL  --sae SAES  --sae-list FILE  --general-text FILE
# Own options:
#   --phases LIST       which, in this order (default 0,1,1_1,2,3; 1_2 and steer exist too)
#   --pieces N          phase 1 as a job array of N pieces, then a job that merges them
#   --phase1 'OPTIONS'  further options of one phase, such as --phase1 '--max-new-tokens 400 --layers 0-12'; also --phase0 ... --phase3, --steer
#   --sbatch 'OPTIONS'  options of sbatch for all jobs, such as --sbatch '--time=2:00:00'
#   --after JOBID       the first job waits for that one
#   --print             show the commands, submit nothing
# Account, partition, GPUs and modules: jobs/slurm/site.sh.
set -euo pipefail
pva_home=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PVA_HOME=$pva_home
. "${PVA_SITE:-$pva_home/jobs/slurm/site.sh}"

say() { printf 'pipeline: %s\n' "$*" >&2; }
die() {
    say "$1"
    exit 64
}
phases=0,1,1_1,2,3
pieces=1
print=0
previous=
sbatch_options=()
declare -A shared=() more=()
# words TEXT: sets words to the words of a text, quotes understood.
words() { mapfile -t words < <(xargs -n 1 printf '%s\n' <<<"$1"); [[ $1 =~ [^[:space:]] ]] || words=(); }
while (($#)); do
    case $1 in
        -h | --help)
            sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        --print)
            print=1
            shift
            continue
            ;;
    esac
    [[ $1 == --* ]] || die "'$1' stands without an option name (see --help)"
    (($# > 1)) || die "$1 needs a value (see --help)"
    case $1 in
        --phases) phases=$2 ;;
        --pieces) pieces=$2 ;;
        --after) previous=$2 ;;
        --sbatch)
            words "$2"
            sbatch_options+=("${words[@]}")
            ;;
        --steer) more[steer]=$2 ;;
        --phase0 | --phase1 | --phase1_1 | --phase1_2 | --phase2 | --phase3) more[${1#--phase}]=$2 ;;
        --data | --problems | --model | --sae | --sae-list | --general-text) shared[${1#--}]=$2 ;;
        *) die "unknown option $1: options of one phase go as --phase1 '$1 ...' (see --help)" ;;
    esac
    shift 2
done
[[ $pieces =~ ^[1-9][0-9]*$ ]] || die "--pieces takes a number from 1, not '$pieces'"

# submit SCRIPT OPTIONS-OF-SBATCH -- ARGUMENTS: sets job.
submit() {
    local script=$1 options=()
    shift
    while [[ $1 != -- ]]; do
        options+=("$1")
        shift
    done
    shift
    [[ -z $previous ]] || options+=("--dependency=afterok:$previous" --kill-on-invalid-dep=yes)
    local command=(sbatch --parsable "${options[@]}" "${sbatch_options[@]}" "$pva_home/jobs/slurm/$script.sh" "$@")
    if ((print)); then
        printf '%q ' "${command[@]}"
        echo
        job=JOB_OF_${script^^}
    else
        job=$("${command[@]}")
        job=${job%%;*} # a cluster's name may follow
        echo "$script $job"
    fi
    previous=$job
}

IFS=, read -ra list <<<"$phases"
for phase in "${list[@]}"; do
    [[ $phase =~ ^(0|1|1_1|1_2|2|3|steer)$ ]] || die "--phases $phases: there is no phase '$phase'; they are 0, 1, 1_1, 1_2, 2, 3, steer"
done
for phase in "${list[@]}"; do
    case $phase in
        0 | 1_1) known=(data problems) ;;
        1 | 1_2) known=(data problems model) ;;
        2) known=(data problems model sae sae-list general-text) ;;
        3 | steer) known=(data problems model sae sae-list) ;;
    esac
    arguments=()
    for name in "${known[@]}"; do
        [[ -z ${shared[$name]-} ]] || arguments+=("--$name" "${shared[$name]}")
    done
    words "${more[$phase]-}"
    arguments+=("${words[@]}")
    options=()
    # The phases that compute with the model.
    case $phase in
        1 | 1_2 | 2 | steer) ((PVA_GPUS_PER_NODE == 0)) || options+=("--gpus-per-node=$PVA_GPUS_PER_NODE" "--ntasks-per-node=$PVA_GPUS_PER_NODE") ;;
    esac
    if [[ $phase == 1 ]] && ((pieces > 1)); then
        submit phase1 "${options[@]}" "--array=0-$((pieces - 1))" -- "${arguments[@]}"
        submit merge -- --of-array "$job" ${shared[data]+--data "${shared[data]}"}
    elif [[ $phase == steer ]]; then
        submit steer "${options[@]}" -- "${arguments[@]}"
    else
        submit "phase$phase" "${options[@]}" -- "${arguments[@]}"
    fi
done
