#!/usr/bin/env bash
# Everything that a machine with a GPU can show, for each forward pass it has (reference, device, device with CUDA graphs): parity with the
# CPU, determinism, memory, the demo study, rates. Skips with a message (exit code 77) where there is none.
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
    say "a rehearsal on the CPU, with --forward device: its rates say nothing about a GPU"
fi
# What is tried, and the options of each; `on KIND` puts them into the array of that name.
kinds=(device)
if [[ $device == cuda ]]; then
    kinds=(reference device)
    if [[ -e $bin/libpva_cuda_graphs.so ]]; then
        kinds+=(graphs)
    else
        say "left    graphs: $bin/libpva_cuda_graphs.so is not there (docs/gpu.md says what it is built from)"
    fi
fi
on() {
    on=(--device "$device" --threads 1)
    case $1 in
        graphs) on+=(--forward device --cuda-graphs on) ;;
        *) on+=(--forward "$1") ;;
    esac
}
cpu=(--device cpu --forward reference --threads 1)
sites=embedding,resid_pre,resid_mid,resid_post,attn_out,mlp_out,z,final_norm

# Parity: logits, every site, greedily written tokens and their log-probabilities, against the reference pass on the CPU in float32. In half
# precision against float32 on the CPU: the differences are those of the type, so they are printed and bounded loosely.
parity() { # NAME MODEL SITES
    local name=$1 folder=$2 sites=$3 text=(--text "$demo/general_text.jsonl" --records 8 --max-tokens 96 --generate 24) kind dtype bound
    quietly "$bin/pva_check" --model "$folder" "${text[@]}" --sites "$sites" --dump "$out/$name-cpu.h5" "${cpu[@]}" >"$out/$name-cpu.log" 2>&1 || true
    for kind in "${kinds[@]}"; do
        on "$kind"
        for dtype in float32 bfloat16; do
            quietly "$bin/pva_check" --model "$folder" "${text[@]}" --sites "$sites" --dump "$out/$name-$kind-$dtype.h5" "${on[@]}" --dtype $dtype >"$out/$name-$kind-$dtype-dump.log" 2>&1 || true
            bound=5e-5
            [[ $dtype == float32 ]] || bound=0.15
            check "parity-$name-$kind-$dtype" "$python" "$here/compare_dumps.py" "$out/$name-cpu.h5" "$out/$name-$kind-$dtype.h5" --bound $bound
        done
        # Determinism: the same command, the same bits.
        quietly "$bin/pva_check" --model "$folder" "${text[@]}" --sites "$sites" --dump "$out/$name-$kind-again.h5" "${on[@]}" >"$out/$name-$kind-again.log" 2>&1 || true
        check "determinism-$name-$kind" "$python" "$here/compare_dumps.py" "$out/$name-$kind-float32.h5" "$out/$name-$kind-again.h5" --bound 0
    done
    # Only told: whether a replayed step gives the bits of one that is run.
    if [[ -e $out/$name-graphs-float32.h5 ]]; then
        say "told    graphs against the same pass without, $name: $("$python" "$here/compare_dumps.py" "$out/$name-device-float32.h5" "$out/$name-graphs-float32.h5" --bound 0 || true)"
    fi
}
parity demo "$demo/model" $sites
[[ -z $model ]] || parity model "$model" resid_post,final_norm

# The study's first problems through phase 1: twice the same bytes, stopped and resumed the same bytes, one rank a GPU the same bytes, and
# nearly the programs of the reference pass on the CPU.
problems=(--model "$demo/model" --problems "$demo/problems.jsonl" --end 31 --max-new-tokens 64 --test-seconds 2 --test-workers 4)
run_phase1() { # NAME RANKS OPTIONS...
    local name=$1 ranks=$2
    shift 2
    mpirun --oversubscribe --bind-to none -n "$ranks" "$bin/pva_phase1" "${problems[@]}" --batch-size 8 --data "$out/$name" --log-level warning "$@"
}
dataset() { ls "$out/$1"/phase1_0/dataset_*.h5; }
same() { # NAME NAME
    "$tests/compare_h5" "$(dataset "$1")" "$(dataset "$2")"
}
resumed() { # KIND
    local code=0
    timeout --signal=KILL 6 "$bin/pva_phase1" "${problems[@]}" --batch-size 8 "${on[@]}" --data "$out/$1-killed" --log-level warning || code=$?
    echo "killed with $code"
    run_phase1 "$1-killed" 1 "${on[@]}"
    same "$1" "$1-killed"
}
ranks=2
[[ $device == cpu ]] || ranks=$gpus
check phase1-cpu run_phase1 cpu 1 "${cpu[@]}"
for kind in "${kinds[@]}"; do
    on "$kind"
    check "phase1-$kind" run_phase1 "$kind" 1 "${on[@]}"
    check "phase1-$kind-parity" "$python" "$here/compare_programs.py" "$(dataset cpu)" "$(dataset "$kind")" --bound 1e-3 --other 0.1
    check "phase1-$kind-again" run_phase1 "$kind-again" 1 "${on[@]}"
    check "phase1-$kind-same-bytes" same "$kind" "$kind-again"
    check "phase1-$kind-killed-and-resumed" resumed "$kind"
    if ((ranks > 1)); then
        check "phase1-$kind-ranks" run_phase1 "$kind-ranks" "$ranks" "${on[@]}"
        check "phase1-$kind-ranks-same-bytes" same "$kind" "$kind-ranks"
    else
        say "left    phase1-$kind-ranks: one GPU"
    fi
done

# Memory: what is not there is not begun, and the message names a batch size that works.
refused() {
    local code=0 size
    mkdir -p "$out/small"
    # Room for the weights and a few rows.
    "$bin/pva_phase1" "${problems[@]}" "${on[@]}" --batch-size 32 --data "$out/small" --memory-gb "$1" >"$out/small.log" 2>&1 || code=$?
    cat "$out/small.log"
    ((code == 65)) || return 1
    size=$(grep -o -- '--batch-size [0-9]*' "$out/small.log" | tail -n 1 | grep -o '[0-9]*')
    echo "refused, --batch-size $size is named"
    "$bin/pva_phase1" "${problems[@]}" "${on[@]}" --batch-size "$size" --data "$out/small" --memory-gb "$1" --dry-run
}
on device
need=$("$bin/pva_phase1" "${problems[@]}" "${on[@]}" --batch-size 32 --data "$out/need" --dry-run | grep -o 'memory: .*' | grep -o '[0-9.]* GiB a \(node\|GPU\)' | cut -d' ' -f1)
check memory-refused refused "$(awk "BEGIN { print 0.9 * $need * 1.073741824 }")"

# Rates.
rates() { # NAME FOLDER
    local kind dtype rows
    for dtype in float32 bfloat16; do
        for rows in 1 16 64; do
            for kind in "${kinds[@]}"; do
                on "$kind"
                quietly "$bin/pva_check" --model "$2" --rates-only --batch-size $rows --generate 64 "${on[@]}" --dtype $dtype --json "$out/rates.json" >"$out/rates-$1-$dtype-$rows-$kind.log" 2>&1 ||
                    { say "left    rates-$1-$dtype-$rows-$kind: $(tail -n 1 "$out/rates-$1-$dtype-$rows-$kind.log")"; continue; }
                "$python" -c 'import json, sys
s = json.load(open(sys.argv[1]))["summary"]
print("| {} | {} | {} | {} | {:.0f} | {:.0f} |".format(*sys.argv[2:6], s["prefill_tokens_per_second"], s["decode_tokens_per_second"]))' "$out/rates.json" "$1" $dtype $rows "$kind" >>"$out/table.txt"
            done
        done
    done
}
rates demo "$demo/model"
[[ -z $model ]] || rates "$(basename "$model")" "$model"
say ""
say "| model | type | rows | forward pass | prefill tokens/s | decode tokens/s |"
say "| --- | --- | ---: | --- | ---: | ---: |"
say "$(cat "$out/table.txt")"
((failed == 0)) && say "all checks passed" || say "some checks FAILED"
exit $failed
