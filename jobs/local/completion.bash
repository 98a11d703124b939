# Shell completion of pva's options in bash: source this file, once a shell or from ~/.bashrc.
#
#   source jobs/local/completion.bash
#
# Completes `pva_phase1 --mo<TAB>`, `build/release/bin/pva_phase1 ...`, `mpirun -n 2 pva_phase1 ...`, `srun ... pva_phase1 ...` and
# `sbatch jobs/slurm/phase1.sh ...`. The options come from the executables themselves (--completion bash), on first use. What mpirun, srun
# and sbatch complete by themselves is kept where another completion is registered for them.

_pva_home=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# Finds the executable among the words of the command line, loads its completion, and calls it as if the line began there.
_pva_complete() {
    local i word program path
    for ((i = 0; i < COMP_CWORD; ++i)); do
        word=${COMP_WORDS[i]}
        path=$word
        program=${word##*/}
        case $program in
            pva_*) ;;
            phase*.sh | merge.sh | train_sae.sh)
                program=pva_${program%.sh}
                path=$program
                ;;
            *) continue ;;
        esac
        if ! declare -F "_$program" >/dev/null; then
            [[ -x $path && $path == */* ]] || path=$(command -v "$program") || path=${PVA_BIN:-$_pva_home/build/release/bin}/$program
            eval "$("$path" --completion bash 2>/dev/null)"
            # A path is completed here, so that mpirun and the plain name go the same way.
            complete -o bashdefault -o default -F _pva_complete "$program"
            declare -F "_$program" >/dev/null || return 0
        fi
        COMP_WORDS=("${COMP_WORDS[@]:i}")
        COMP_CWORD=$((COMP_CWORD - i))
        "_$program"
        return 0
    done
    COMPREPLY=()
}

for _pva_name in "$_pva_home"/src/apps/pva_*.cpp; do
    _pva_name=${_pva_name##*/}
    complete -o bashdefault -o default -F _pva_complete "${_pva_name%.cpp}"
done
for _pva_name in mpirun mpiexec srun sbatch; do
    complete -p "$_pva_name" >/dev/null 2>&1 || complete -o bashdefault -o default -F _pva_complete "$_pva_name"
done
unset _pva_name
