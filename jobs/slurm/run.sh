# The part that all phase scripts share; they source it. Not a job script by itself.
#
# What a user can set before sbatch (sbatch passes the environment on):
#   PVA_HOME             checkout of pva; default: the folder sbatch was called in
#   PVA_BIN              folder of the executables; default: $PVA_HOME/build/release/bin
#   PVA_MPIRUN_OPTIONS   options of mpirun; default: --bind-to none
#   OMPI_MCA_io          MPI-IO component; default: romio321 (OMPIO has known faults on Lustre, see docs/known-issues.md)

# run_phase PROGRAM ARGUMENTS...
# Runs the program under mpirun. A USR1 that Slurm sends to this shell is passed on; when the program then ends with
# code 75 (stopped, more to do) the job puts itself into the queue again and goes on where it stopped. Never returns.
run_phase() {
    local program=$1 word
    shift
    # A job that was requeued goes on with what it began: --fresh counts for the first start only.
    if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
        local kept=()
        for word in "$@"; do
            [ "$word" = --fresh ] || kept+=("$word")
        done
        set -- "${kept[@]}"
    fi
    local bin=${PVA_BIN:-$pva_home/build/release/bin}
    if [ ! -x "$bin/$program" ]; then
        echo "$bin/$program does not exist. Build pva first, call sbatch in its checkout, or set PVA_HOME or PVA_BIN" >&2
        exit 64
    fi
    export OMPI_MCA_io=${OMPI_MCA_io:-romio321}
    echo "job ${SLURM_JOB_ID:-without Slurm}, start ${SLURM_RESTART_COUNT:-0}, on ${SLURM_JOB_NODELIST:-$(hostname)}: $program $*"

    # A shell runs a trap only when its foreground command ends, so mpirun runs in the background and the shell waits.
    # A trapped signal ends `wait` early: then wait again.
    local pid='' got rc
    trap 'got=1; [ -z "$pid" ] || kill -USR1 "$pid" 2>/dev/null' USR1
    # Unquoted on purpose: several options.
    mpirun ${PVA_MPIRUN_OPTIONS:---bind-to none} "$bin/$program" "$@" &
    pid=$!
    while :; do
        got=
        wait "$pid"
        rc=$?
        [ -n "$got" ] || break
    done

    if [ "$rc" -eq 75 ]; then
        if [ -z "$SLURM_JOB_ID" ]; then
            echo "stopped with work left; the same command goes on" >&2
        elif ! scontrol requeue "$SLURM_JOB_ID"; then
            echo "job $SLURM_JOB_ID could not be requeued; submit the same command again, it goes on where it stopped" >&2
        fi
    fi
    exit "$rc"
}
