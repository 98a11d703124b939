#!/usr/bin/env bash
# Fuzzes the parsers of files from elsewhere for long, under the address and undefined-behaviour sanitizers.
#
#   bash tests/fuzz.sh [MINUTES] [PARSER]     default 1 minute for each parser, all parsers
#
# Where clang is installed, libFuzzer searches by coverage (preset fuzz; its corpus stays in build/fuzz/corpus, what hurts in build/fuzz/found).
# HDF5 inputs, configurations of SAEs and texts, and everything where there is no clang, are fuzzed by the counted mutants of unit.untrusted (preset asan): a failure there
# prints seed and number of the mutant, and PVA_FUZZ_SEED=SEED build/asan/tests/test_unit_untrusted makes it again.
# A file that hurt belongs into tests/golden/untrusted/PARSER once its fault is mended: unit.untrusted tries it from then on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
minutes=${1:-1}
[[ $minutes =~ ^[0-9]+$ ]] || { echo "usage: tests/fuzz.sh [MINUTES] [PARSER]" >&2; exit 64; }
status=0
mutated=(hdf5 sae_config texts)
if command -v clang++ >/dev/null; then
    cmake --preset fuzz >/dev/null
    cmake --build build/fuzz --target fuzz_parsers
    program=build/fuzz/tests/fuzz_parsers
    for parser in $("$program" --list); do
        [[ -z ${2:-} || $2 == "$parser" ]] || continue
        corpus=build/fuzz/corpus/$parser
        mkdir -p "$corpus" "build/fuzz/found/$parser"
        export PVA_FUZZ_ONLY=$parser
        "$program" --seeds "$corpus"
        kept=tests/golden/untrusted/$parser
        echo "== $parser"
        "$program" "$corpus" $([[ -d $kept ]] && echo "$kept") -max_total_time=$((60 * minutes)) -timeout=20 -rss_limit_mb=4096 -max_len=40000 \
            -print_final_stats=1 -print_funcs=0 -verbosity=0 -artifact_prefix="build/fuzz/found/$parser/" || status=1
    done
else
    echo "clang is not installed (Debian packages clang, libclang-rt-14-dev): mutants only"
    mutated=(safetensors index npz torch sae_config tokenizer problems completions texts hdf5)
fi
cmake --preset asan >/dev/null
cmake --build build/asan --target test_unit_untrusted
for parser in "${mutated[@]}"; do
    [[ -z ${2:-} || $2 == "$parser" ]] || continue
    end=$((SECONDS + 60 * minutes))
    for ((seed = 2; SECONDS < end; ++seed)); do
        echo "== $parser, seed $seed"
        PVA_FUZZ_ONLY=$parser PVA_FUZZ_ROUNDS=500 PVA_FUZZ_SEED=$seed build/asan/tests/test_unit_untrusted --log_level=warning || status=1
    done
done
exit $status
