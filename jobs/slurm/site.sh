# The site profile: everything about a cluster that pva's jobs need to know, in one place. Edit a copy of this file here, or name
# another one by PVA_SITE. Sourced by pipeline.sh on the login node and by every job at its start; not a job script by itself.
# What is set in the environment before wins over what stands here.

# --- Submitting ------------------------------------------------------------------------------------------------------
# sbatch reads these variables itself; they win over #SBATCH lines and lose against options of sbatch. pipeline.sh sources this
# file; before an sbatch typed by hand do `source jobs/slurm/site.sh` once, or leave them out where the site has defaults.
#export SBATCH_ACCOUNT=${SBATCH_ACCOUNT:-my_project}
#export SBATCH_PARTITION=${SBATCH_PARTITION:-gpu}
#export SBATCH_QOS=${SBATCH_QOS:-normal}

# GPUs of a node. pipeline.sh asks for them and for as many ranks in the phases that compute with the model (1, 1.2, 2, SAE
# training); by hand: sbatch --gpus-per-node=4 --ntasks-per-node=4 ... 0: CPU only, the ranks that stand in the scripts.
PVA_GPUS_PER_NODE=${PVA_GPUS_PER_NODE:-0}

# --- In the job ------------------------------------------------------------------------------------------------------
# Modules that pva was built with; runs on the compute node before anything else.
load_modules() {
    :
    # module purge
    # module load gcc/12 openmpi/4.1 hdf5/1.12-mpi
}

# How ranks are started. With Open MPI built with PMIx also:
#   PVA_LAUNCHER="srun --mpi=pmix --kill-on-bad-exit=1"
PVA_LAUNCHER=${PVA_LAUNCHER:-mpirun --bind-to none}

# MPI-IO component of Open MPI: OMPIO has known faults on Lustre (docs/known-issues.md).
export OMPI_MCA_io=${OMPI_MCA_io:-romio321}

# --- Inputs that are used where an option is not given ------------------------------------------------------------------
# jobs/local/fetch.sh puts them there; a file that does not exist is not used.
PVA_PROBLEMS=${PVA_PROBLEMS:-$pva_home/data/inputs/mbpp.jsonl}
PVA_GENERAL_TEXT=${PVA_GENERAL_TEXT:-$pva_home/data/inputs/general_text.jsonl}
