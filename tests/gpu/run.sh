#!/usr/bin/env bash
# Everything that a machine with a GPU can show: parity with the CPU, determinism, memory, the demo study, rates. Skips with a message
# (exit code 77) where there is none.
#
#   bash tests/gpu/run.sh                                   on a machine with a GPU, after jobs/local/build.sh release
#   bash tests/gpu/run.sh --model google/gemma-2-2b         rates and parity of this model too (a folder, or a name in the offline cache)
#   bash tests/gpu/run.sh --device cpu                      the same steps on the CPU: a rehearsal of this script
#
#   --bin DIR    executables (default build/release/bin)      --tests DIR  test tools (default build/release/tests)
#   --out DIR    where results go (default build/gpu-results) --python P   a Python with numpy and h5py (default: that of tests/run.sh)
#
# Prints one line a check and at the end a table of rates; the same in DIR/report.txt. Exit code 1 when a check fails.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=$root/build/release/bin
tests=$root/build/release/tests
out=$root/build/gpu-results
device=cuda
model=
python=python3
while (($#)); do
    case $1 in
        --model) model=$2 ;;
        --device) device=$2 ;;
        --bin) bin=$2 ;;
        --tests) tests=$2 ;;
        --out) out=$2 ;;
        --python) python=$2 ;;
        *)
            echo "run.sh: unknown option $1 (see the first lines of $0)" >&2
            exit 64
            ;;
    esac
    shift 2
done
packages=${XDG_CACHE_HOME:-$HOME/.cache}/pva/test-packages
export PYTHONPATH=$packages${PYTHONPATH:+:$PYTHONPATH} OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

skip() {
    echo "skipped: $1"
    exit 77
}
gpus=0
if [[ $device == cuda ]]; then
    command -v nvidia-smi >/dev/null || skip "no GPU here (nvidia-smi is not installed)"
    gpus=$(nvidia-smi --query-gpu=uuid --format=csv,noheader 2>/dev/null | grep -c GPU || true)
    ((gpus > 0)) || skip "nvidia-smi shows no GPU"
fi
[[ -x $bin/pva_check ]] || skip "$bin/pva_check is not there; build first (bash jobs/local/build.sh release)"
"$python" -c 'import h5py, numpy' 2>/dev/null || skip "$python has no h5py and numpy; give another one by --python, or run tests/run.sh once"

demo=$root/data/demo
rm -rf "$out"
mkdir -p "$out"
report=$out/report.txt
failed=0
say() { printf '%s\n' "$*" | tee -a "$report"; }
# check NAME COMMAND...: runs it, keeps what it prints, says whether it ended well.
check() {
    local name=$1
    shift
    if "$@" >"$out/$name.log" 2>&1; then
        say "ok      $name: $(grep -v '^$' "$out/$name.log" | tail -n 1)"
    else
        say "FAILED  $name (exit code $?), see $out/$name.log: $(grep -v '^$' "$out/$name.log" | tail -n 1)"
        failed=1
    fi
}
quietly() { "$@" --data "$out/data" --log-level warning; }

say "$("$bin/pva_check" --version | head -n 1)"
if [[ $device == cuda ]]; then
    say "$(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader)"
else
    say "a rehearsal on the CPU, with --forward reference: its rates say nothing about a GPU"
fi
on=(--device "$device" --forward reference --threads 1)
cpu=(--device cpu --forward reference --threads 1)
sites=embedding,resid_pre,resid_mid,resid_post,attn_out,mlp_out,z,final_norm

# Parity: logits, every site, greedily written tokens, against the same reference pass on the CPU in float32. In half precision against
# float32 on the CPU: the differences are those of the type, so they are printed and bounded loosely.
parity() { # NAME MODEL SITES
    local name=$1 folder=$2 sites=$3 text=(--text "$demo/general_text.jsonl" --records 8 --max-tokens 96 --generate 24)
    quietly "$bin/pva_check" --model "$folder" "${text[@]}" --sites "$sites" --dump "$out/$name-cpu.h5" "${cpu[@]}" >"$out/$name-cpu.log" 2>&1 || true
    for dtype in float32 bfloat16; do
        quietly "$bin/pva_check" --model "$folder" "${text[@]}" --sites "$sites" --dump "$out/$name-$dtype.h5" "${on[@]}" --dtype $dtype >"$out/$name-$dtype-dump.log" 2>&1 || true
        bound=5e-5
        [[ $dtype == float32 ]] || bound=0.15
        check "parity-$name-$dtype" "$python" "$here/compare_dumps.py" "$out/$name-cpu.h5" "$out/$name-$dtype.h5" --bound $bound
    done
    # Determinism: the same command, the same bits.
    quietly "$bin/pva_check" --model "$folder" "${text[@]}" --sites "$sites" --dump "$out/$name-again.h5" "${on[@]}" >"$out/$name-again.log" 2>&1 || true
    check "determinism-$name" "$python" "$here/compare_dumps.py" "$out/$name-float32.h5" "$out/$name-again.h5" --bound 0
}
parity demo "$demo/model" $sites
[[ -z $model ]] || parity model "$model" resid_post,final_norm

# The study's first problems through phase 1: twice the same bytes, stopped and resumed the same bytes, one rank a GPU the same bytes.
study=(--model "$demo/model" --problems "$demo/problems.jsonl" --end 31 --max-new-tokens 64 "${on[@]}" --test-seconds 2 --test-workers 4)
phase1=("${study[@]}" --batch-size 8)
run_phase1() { # NAME RANKS OPTIONS...
    local name=$1 ranks=$2
    shift 2
    mpirun --oversubscribe --bind-to none -n "$ranks" "$bin/pva_phase1" "${phase1[@]}" --data "$out/$name" --log-level warning "$@"
}
dataset() { ls "$out/$1"/phase1_0/dataset_*.h5; }
same() { # NAME NAME
    "$tests/compare_h5" "$(dataset "$1")" "$(dataset "$2")"
}
check phase1 run_phase1 first 1
check phase1-again run_phase1 second 1
check phase1-same-bytes same first second
resumed() {
    local code=0
    timeout --signal=KILL 6 "$bin/pva_phase1" "${phase1[@]}" --data "$out/killed" --log-level warning || code=$?
    echo "killed with $code"
    run_phase1 killed 1
    same first killed
}
check phase1-killed-and-resumed resumed
ranks=2
[[ $device == cpu ]] || ranks=$gpus
if ((ranks > 1)); then
    check phase1-ranks run_phase1 ranks "$ranks"
    check phase1-ranks-same-bytes same first ranks
else
    say "left    phase1-ranks: one GPU"
fi

# Memory: what is not there is not begun, and the message names a batch size that works.
refused() {
    local code=0 size
    mkdir -p "$out/small"
    # Room for the weights and a few rows.
    "$bin/pva_phase1" "${study[@]}" --batch-size 32 --data "$out/small" --memory-gb "$1" >"$out/small.log" 2>&1 || code=$?
    cat "$out/small.log"
    ((code == 65)) || return 1
    size=$(grep -o -- '--batch-size [0-9]*' "$out/small.log" | tail -n 1 | grep -o '[0-9]*')
    echo "refused, --batch-size $size is named"
    "$bin/pva_phase1" "${study[@]}" --batch-size "$size" --data "$out/small" --memory-gb "$1" --dry-run
}
need=$("$bin/pva_phase1" "${study[@]}" --batch-size 32 --data "$out/need" --dry-run | grep -o 'memory: .*' | grep -o '[0-9.]* GiB a \(node\|GPU\)' | cut -d' ' -f1)
check memory-refused refused "$(awk "BEGIN { print 0.9 * $need * 1.073741824 }")"

# Rates.
rates() { # NAME FOLDER
    for dtype in float32 bfloat16; do
        for rows in 1 16 64; do
            quietly "$bin/pva_check" --model "$2" --rates-only --batch-size $rows --generate 64 "${on[@]}" --dtype $dtype --json "$out/rates.json" >"$out/rates-$1-$dtype-$rows.log" 2>&1 ||
                { say "left    rates-$1-$dtype-$rows: $(tail -n 1 "$out/rates-$1-$dtype-$rows.log")"; continue; }
            "$python" -c 'import json, sys
s = json.load(open(sys.argv[1]))["summary"]
print("| {} | {} | {} | {:.0f} | {:.0f} |".format(*sys.argv[2:5], s["prefill_tokens_per_second"], s["decode_tokens_per_second"]))' "$out/rates.json" "$1" $dtype $rows >>"$out/table.txt"
        done
    done
}
rates demo "$demo/model"
[[ -z $model ]] || rates "$(basename "$model")" "$model"
say ""
say "| model | type | rows | prefill tokens/s | decode tokens/s |"
say "| --- | --- | ---: | ---: | ---: |"
say "$(cat "$out/table.txt")"
((failed == 0)) && say "all checks passed" || say "some checks FAILED"
exit $failed
