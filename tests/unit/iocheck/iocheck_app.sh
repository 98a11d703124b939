#!/usr/bin/env bash
# pva_iocheck as a user runs it: the table, the JSON, both MPI-IO components, exit codes, nothing left behind.
#   iocheck_app.sh SOURCE_DIR BIN_DIR
set -euo pipefail
source_dir=$1
export PVA_BIN=$2 PVA_RANKS=2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/target"
cd "$work"

bash "$source_dir/jobs/local/iocheck.sh" "$work/target" --gib 0.05 --rounds 1 --json summary.json >output.txt 2>&1 || { cat output.txt; exit 1; }
cat output.txt
runs=$(grep -c "2 ranks, 0.05 GiB a rank in blocks of 64 MiB, MPI-IO component" output.txt)
rows=$(grep -cE "^HDF5, one file +[0-9.]+ \([0-9.]+\) +[0-9.]+ \([0-9.]+\) +[0-9.]+ \([0-9.]+\) +[0-9.]+ \([0-9.]+\)$" output.txt)
[[ $runs -ge 1 && $rows -eq $runs ]] || { echo "FAILED: $runs runs, $rows rows of HDF5"; exit 1; }
if command -v ompi_info >/dev/null; then
    [[ $runs -ge 2 ]] || { echo "FAILED: fewer than two MPI-IO components were measured"; exit 1; }
fi
grep -q '"mpi_io_component"' summary.json
[[ -z $(ls -A "$work/target") ]] || { echo "FAILED: files were left behind"; ls -A "$work/target"; exit 1; }

expect() {
    local wanted=$1 words=$2 rc=0
    shift 2
    "$PVA_BIN/pva_iocheck" "$@" >output.txt 2>&1 || rc=$?
    if [[ $rc -ne $wanted ]] || ! grep -q -- "$words" output.txt; then
        echo "FAILED: pva_iocheck $*: exit code $rc, wanted $wanted and '$words'"
        cat output.txt
        exit 1
    fi
}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
expect 0 "component default" "$work/target" --gib 0.01 --rounds 2
expect 64 "folder DIR is needed"
expect 64 "at least 0.001" "$work/target" --gib 0
expect 64 "did you mean --gib" "$work/target" --gob 1
expect 65 "absent" "$work/absent"
expect 74 "are free" "$work/target" --gib 1000000000
[[ -z $(ls -A "$work/target") ]] || { echo "FAILED: files were left behind"; exit 1; }
echo "ok"
