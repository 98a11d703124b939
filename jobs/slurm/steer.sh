#!/bin/bash
# Steering: programs written while chosen latents are pushed. Arguments go to pva_steer:
#   sbatch jobs/slurm/steer.sh --model /models/gemma-2-2b --problems mbpp.jsonl --sae saes
#SBATCH --job-name=pva_steer
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=08:00:00
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
#
# One rank a GPU: sbatch --gpus-per-node=4 --ntasks-per-node=4 jobs/slurm/steer.sh ...; pipeline.sh does it by site.sh.

# Slurm runs a copy of this script, so its own place says nothing: the checkout is where sbatch was called, or where Slurm took the
# script from.
pva_home=${PVA_HOME:-${SLURM_SUBMIT_DIR:-$(dirname "$0")/../..}}
[ -e "$pva_home/jobs/slurm/run.sh" ] || pva_home=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's|^ *Command=\(.*\)/jobs/slurm/.*|\1|p')
. "$pva_home/jobs/slurm/run.sh" || { echo "call sbatch in the checkout of pva, or set PVA_HOME" >&2; exit 64; }
run_phase pva_steer "$@"
