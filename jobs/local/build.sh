#!/usr/bin/env bash
# Configures and builds one preset (default: release) with as many jobs as there are processors.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
preset=${1:-release}
launcher=()
command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
# Objects do not depend on where the checkout stands, so checkouts share what ccache keeps.
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$PWD} CCACHE_NOHASHDIR=${CCACHE_NOHASHDIR:-1}
cmake --preset "$preset" "${launcher[@]}" >build-configure.log 2>&1 || { cat build-configure.log; rm -f build-configure.log; exit 1; }
rm -f build-configure.log
cmake --build "build/$preset" -j "${PVA_JOBS:-$(nproc)}"
