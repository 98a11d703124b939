#!/usr/bin/env bash
# The tests of the room io (files of strangers, HDF5 handles, result files) under valgrind's memcheck: no invalid access, no use of
# undefined values, nothing definitely lost by pva. Ends with 77 (skipped) where valgrind is missing.
#
#   bash tests/valgrind.sh [BUILD]     BUILD: a build folder without sanitizers (default: build/release)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=${1:-build/release}
if grep -qs "^PVA_SANITIZE:STRING=." "$build/CMakeCache.txt"; then
    echo "skipped: $build is built with sanitizers, which valgrind does not run"
    exit 77
fi
command -v valgrind >/dev/null || { echo "skipped: no valgrind (Debian package valgrind)"; exit 77; }
mpi_suppressions=/usr/share/openmpi/openmpi-valgrind.supp
options=(--quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --child-silent-after-fork=yes --num-callers=20)
[[ ! -e $mpi_suppressions ]] || options+=("--suppressions=$mpi_suppressions")
status=0
for name in io safetensors npz torch_file; do
    program=$build/tests/test_unit_$name
    [[ -x $program ]] || { echo "$program is missing: build the tests first" >&2; exit 64; }
    echo "== $name"
    valgrind "${options[@]}" "$program" --log_level=warning || status=1
done
exit $status
