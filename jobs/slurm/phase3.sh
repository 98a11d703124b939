#!/bin/bash
# Phase 3: detection on held-out problems. Arguments go to pva_phase3:
#   sbatch jobs/slurm/phase3.sh --model /models/gemma-2-2b --problems mbpp.jsonl --sae saes
#SBATCH --job-name=pva_phase3
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=1
#SBATCH --mem=32G
#SBATCH --time=01:00:00
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out

# Slurm runs a copy of this script, so its own place says nothing: the checkout is where sbatch was called, or where Slurm took the
# script from.
pva_home=${PVA_HOME:-${SLURM_SUBMIT_DIR:-$(dirname "$0")/../..}}
[ -e "$pva_home/jobs/slurm/run.sh" ] || pva_home=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's|^ *Command=\(.*\)/jobs/slurm/.*|\1|p')
. "$pva_home/jobs/slurm/run.sh" || { echo "call sbatch in the checkout of pva, or set PVA_HOME" >&2; exit 64; }
run_phase pva_phase3 "$@"
