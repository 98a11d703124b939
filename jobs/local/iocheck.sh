#!/usr/bin/env bash
# Measures a folder with every MPI-IO component that the MPI library has: one run of pva_iocheck each, because the component
# is chosen before MPI starts.
#
#   bash jobs/local/iocheck.sh DIR [options of pva_iocheck]      e.g. --gib 2
#   PVA_RANKS=4 PVA_BIN=build/debug/bin bash jobs/local/iocheck.sh DIR
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
[[ $# -ge 1 ]] || { echo "usage: jobs/local/iocheck.sh DIR [options of pva_iocheck]" >&2; exit 64; }
bin=${PVA_BIN:-$root/build/release/bin}
[[ -x $bin/pva_iocheck ]] || { echo "$bin/pva_iocheck is missing: build first (bash jobs/local/build.sh), or set PVA_BIN" >&2; exit 64; }

# mpirun refuses to run as root unless told twice, and to start more ranks than cores unless told once.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# "MCA io: romio321 (...)": the names differ between versions of Open MPI.
components=()
if command -v ompi_info >/dev/null; then
    mapfile -t components < <(ompi_info | sed -n 's/^ *MCA io: \([a-z0-9]*\) .*/\1/p')
fi
if ((${#components[@]} == 0)); then
    echo "no Open MPI here: measuring this MPI library's own way only"
    exec mpirun -n "${PVA_RANKS:-2}" "$bin/pva_iocheck" "$@"
fi
for component in "${components[@]}"; do
    echo
    echo "== MPI-IO component $component"
    mpirun --oversubscribe --bind-to none -n "${PVA_RANKS:-2}" --mca io "$component" "$bin/pva_iocheck" "$@"
done
