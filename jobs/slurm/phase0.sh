#!/bin/bash
# Phase 0: difficulty of every problem. Minutes at most. Arguments go to pva_phase0:
#   sbatch jobs/slurm/phase0.sh --problems mbpp.jsonl
#SBATCH --job-name=pva_phase0
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
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
run_phase pva_phase0 "$@"
