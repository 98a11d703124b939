#!/bin/bash
# Joins the datasets of index ranges, those of a job array among them. Minutes. Arguments go to pva_merge:
#   sbatch jobs/slurm/merge.sh --pattern 'data/phase1_0/dataset_gemma-2-2b_*.h5'
#   sbatch --dependency=afterok:4711 jobs/slurm/merge.sh --of-array 4711      what job array 4711 of phase1.sh made
#SBATCH --job-name=pva_merge
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=16G
#SBATCH --time=00:30:00
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out

# Slurm runs a copy of this script, so its own place says nothing: the checkout is where sbatch was called, or where Slurm took the
# script from.
pva_home=${PVA_HOME:-${SLURM_SUBMIT_DIR:-$(dirname "$0")/../..}}
[ -e "$pva_home/jobs/slurm/run.sh" ] || pva_home=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's|^ *Command=\(.*\)/jobs/slurm/.*|\1|p')
. "$pva_home/jobs/slurm/run.sh" || { echo "call sbatch in the checkout of pva, or set PVA_HOME" >&2; exit 64; }

# Every task of an array left its summary in the folder sbatch was called in, with the path of its result.
if [ "$1" = --of-array ]; then
    array=$2
    shift 2
    files=
    for summary in *-"${array}"_*.json; do
        [ -e "$summary" ] || refuse "no summary of array $array (*-${array}_*.json) in $PWD: call sbatch where the array was submitted"
        file=$(sed -n 's/^  "result": "\(.*\)",$/\1/p' "$summary")
        [ -n "$file" ] || refuse "$summary names no result"
        files=$files${files:+,}$file
    done
    set -- --files "$files" "$@"
fi
run_phase pva_merge "$@"
