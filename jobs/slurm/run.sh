# The part that all job scripts share; they source it. Not a job script by itself. Settings of the cluster stand in site.sh.
#
# What a user can set before sbatch (sbatch passes the environment on):
#   PVA_HOME       checkout of pva; default: the folder sbatch was called in, or where the script came from
#   PVA_BIN        folder of the executables; default: $PVA_HOME/build/release/bin
#   PVA_SITE       another site profile than $PVA_HOME/jobs/slurm/site.sh
#   PVA_PIECES     in a job array: number of pieces, when not all of them are in this array
#   and what site.sh names

. "${PVA_SITE:-$pva_home/jobs/slurm/site.sh}" || { echo "the site profile ${PVA_SITE:-$pva_home/jobs/slurm/site.sh} cannot be read" >&2; exit 64; }

# given OPTION ARGUMENTS...: whether the option stands among the arguments, as --name value or --name=value.
given() {
    local option=$1 word
    shift
    for word in "$@"; do
        case $word in "$option" | "$option"=*) return 0 ;; esac
    done
    return 1
}

refuse() {
    echo "$1" >&2
    exit 64
}

# One rank a GPU: more would share one, fewer leave one idle.
check_gpus() {
    local gpus=${SLURM_GPUS_ON_NODE:-0} ranks=${SLURM_TASKS_PER_NODE:-1}
    ranks=${ranks%%[(,]*} # "4(x2)": 4 on each of two nodes
    [ "$gpus" -gt 0 ] || return 0
    [ "$ranks" -le "$gpus" ] ||
        refuse "$ranks ranks on a node with $gpus GPUs of this job: one rank a GPU. Submit with --ntasks-per-node=$gpus, or ask for more GPUs (--gpus-per-node=$ranks)"
    [ "$ranks" -eq "$gpus" ] || echo "$ranks ranks use $ranks of the $gpus GPUs of this job on a node; the others idle (--ntasks-per-node=$gpus uses them all)" >&2
}

# Sets piece: the options of this task of a job array, whose tasks are the pieces of the range of problems.
piece_options() {
    local program=$1 pieces
    shift
    piece=()
    [ -n "$SLURM_ARRAY_TASK_ID" ] || return 0
    case $program in
        pva_phase1) ;;
        *) refuse "$program does not work on pieces: submit it without --array. Arrays are for phase1.sh; merge.sh joins what they made" ;;
    esac
    pieces=${PVA_PIECES:-}
    if [ -z "$pieces" ]; then
        [ "$SLURM_ARRAY_TASK_MIN" -eq 0 ] && [ "$SLURM_ARRAY_TASK_COUNT" -eq $((SLURM_ARRAY_TASK_MAX + 1)) ] ||
            refuse "an array that is not 0-N: set PVA_PIECES to the number of all pieces, or nobody knows what piece $SLURM_ARRAY_TASK_ID is"
        pieces=$SLURM_ARRAY_TASK_COUNT
    fi
    piece=(--piece "$SLURM_ARRAY_TASK_ID/$pieces")
    # merge.sh --of-array finds by these what the array made.
    given --json "$@" || piece+=(--json "${SLURM_JOB_NAME}-${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}.json")
}

# Sets defaults: inputs of site.sh that the program knows, that exist and that were not given.
default_options() {
    local program=$1
    shift
    defaults=()
    given --config "$@" && return 0
    case $program in
        pva_phase*) given --problems "$@" || [ ! -e "$PVA_PROBLEMS" ] || defaults+=(--problems "$PVA_PROBLEMS") ;;
    esac
    case $program in
        pva_phase2) given --general-text "$@" || [ ! -e "$PVA_GENERAL_TEXT" ] || defaults+=(--general-text "$PVA_GENERAL_TEXT") ;;
    esac
}

# run_phase PROGRAM ARGUMENTS...
# Runs the program under the launcher. A USR1 that Slurm sends to this shell is passed on; when the program then ends with
# code 75 (stopped, more to do) the job puts itself into the queue again and goes on where it stopped. Never returns.
run_phase() {
    local program=$1 word piece defaults
    shift
    # A job that was requeued goes on with what it began: --fresh counts for the first start only.
    if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
        local kept=()
        for word in "$@"; do
            [ "$word" = --fresh ] || kept+=("$word")
        done
        set -- "${kept[@]}"
    fi
    check_gpus
    piece_options "$program" "$@"
    default_options "$program" "$@"
    set -- "$@" "${defaults[@]}" "${piece[@]}"
    load_modules
    local bin=${PVA_BIN:-$pva_home/build/release/bin}
    [ -x "$bin/$program" ] || refuse "$bin/$program does not exist. Build pva first, call sbatch in its checkout, or set PVA_HOME or PVA_BIN"
    # srun gives a step the CPUs of its tasks only when told again (Slurm 22.05 and newer).
    [ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
    echo "job ${SLURM_JOB_ID:-without Slurm}, start ${SLURM_RESTART_COUNT:-0}, on ${SLURM_JOB_NODELIST:-$(hostname)}: $PVA_LAUNCHER $program $*"

    # A shell runs a trap only when its foreground command ends, so the launcher runs in the background and the shell waits.
    # A trapped signal ends `wait` early: then wait again.
    local pid='' got rc
    trap 'got=1; [ -z "$pid" ] || kill -USR1 "$pid" 2>/dev/null' USR1
    # Unquoted on purpose: a command with its options.
    $PVA_LAUNCHER "$bin/$program" "$@" &
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
