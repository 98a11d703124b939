#!/usr/bin/env bash
# Runs the job scripts of jobs/slurm as Slurm does (a copy in a spool folder, SLURM_SUBMIT_DIR set), with a fake mpirun and
# a fake scontrol.   usage: slurm_scripts_test.sh CHECKOUT
set -u
checkout=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0
check() { # TEXT CONDITION...
    local text=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $text"
    fi
}

phases=(phase0 phase1 phase1_1 phase1_2 phase2 phase3 steer train_sae merge)
home="$work/a checkout"
mkdir -p "$home/jobs" "$home/build/release/bin" "$work/fake" "$work/spool" "$work/other bin"
cp -r "$checkout/jobs/slurm" "$home/jobs/slurm"
for phase in "${phases[@]}"; do
    printf '#!/bin/sh\n' >"$home/build/release/bin/pva_$phase"
    chmod +x "$home/build/release/bin/pva_$phase"
done
cp "$home/build/release/bin/pva_phase1" "$work/other bin/"

# Records its arguments, then ends with FAKE_CODE; with FAKE_CODE=stop it works until USR1 and then ends with 75, as the
# phases do after their unit at hand.
cat >"$work/fake/mpirun" <<'FAKE'
#!/usr/bin/env bash
trap 'echo usr1 >>"$FAKE_LOG/signals"; stop=1' USR1
printf '%s\n' "$@" >"$FAKE_LOG/arguments"
echo "$OMPI_MCA_io" >"$FAKE_LOG/io"
touch "$FAKE_LOG/started"
[ "$FAKE_CODE" = stop ] || exit "$FAKE_CODE"
stop=
while [ -z "$stop" ]; do sleep 0.05; done
sleep 0.5
exit 75
FAKE
cat >"$work/fake/scontrol" <<'FAKE'
#!/bin/sh
echo "$*" >>"$FAKE_LOG/scontrol"
exit "${FAKE_SCONTROL_CODE:-0}"
FAKE
chmod +x "$work/fake/mpirun" "$work/fake/scontrol"
export PATH="$work/fake:$PATH"
unset PVA_HOME PVA_BIN PVA_SITE PVA_LAUNCHER PVA_GPUS_PER_NODE PVA_PIECES PVA_PROBLEMS PVA_GENERAL_TEXT OMPI_MCA_io SLURM_JOB_ID SLURM_SUBMIT_DIR FAKE_SCONTROL_CODE

# start PHASE ARGUMENTS...: as slurmd does. Sets job, and log: folder of what the fakes saw.
number=0
start() {
    local phase=$1
    shift
    number=$((number + 1))
    log="$work/log$number"
    mkdir "$log"
    cp "$home/jobs/slurm/$phase.sh" "$work/spool/slurm_script"
    chmod +x "$work/spool/slurm_script"
    (
        cd "$work" && export FAKE_LOG="$log" SLURM_JOB_ID=4711 SLURM_SUBMIT_DIR="$home"
        exec "$work/spool/slurm_script" "$@"
    ) >"$log/out" 2>"$log/err" &
    job=$!
}
wait_for() { # FILE: up to 20 s
    for _ in $(seq 400); do
        [ -e "$1" ] && return 0
        sleep 0.05
    done
    echo "nothing came: $1"
    return 1
}
lines() { if [ -e "$1" ]; then wc -l <"$1"; else echo 0; fi; }

for script in "$checkout"/jobs/slurm/*.sh; do
    check "bash -n $script" bash -n "$script"
done
for phase in "${phases[@]}"; do
    script="$checkout/jobs/slurm/$phase.sh"
    for directive in --signal=B:USR1@180 --requeue --open-mode=append --output=%x-%j.out; do
        check "$phase has $directive" grep -qxe "#SBATCH $directive" "$script"
    done
    # Slurm stops reading directives at the first command.
    last=$(grep -n '^#SBATCH' "$script" | tail -n 1 | cut -d: -f1)
    first=$(grep -nv '^#\|^$' "$script" | head -n 1 | cut -d: -f1)
    check "$phase: directives stand before commands" test "$last" -lt "$first"
done

# Arguments come through unchanged, the code is passed on, and only 75 requeues.
for phase in "${phases[@]}"; do
    FAKE_CODE=0 start "$phase" --problems "a b.jsonl" --data 'x  y$z*' '' '"q"'
    wait "$job"
    check "$phase: code 0" test $? -eq 0
    printf '%s\n' --bind-to none "$home/build/release/bin/pva_$phase" --problems "a b.jsonl" --data 'x  y$z*' '' '"q"' >"$log/expected"
    check "$phase: arguments" cmp -s "$log/expected" "$log/arguments"
    check "$phase: no requeue" test ! -e "$log/scontrol"
    check "$phase: romio321" test "$(cat "$log/io")" = romio321
done
for code in 64 65 70 74 1 137; do
    FAKE_CODE=$code start phase1
    wait "$job"
    check "code $code" test $? -eq "$code"
    check "code $code: no requeue" test ! -e "$log/scontrol"
done
FAKE_CODE=75 start phase2
wait "$job"
check "own time limit: code 75" test $? -eq 75
check "own time limit: one requeue" test "$(cat "$log/scontrol")" = "requeue 4711"

# USR1 before the time limit.
FAKE_CODE=stop start phase1 --model "/m/gemma 2"
wait_for "$log/started"
kill -USR1 "$job"
wait "$job"
check "USR1: code 75" test $? -eq 75
check "USR1 reached mpirun once" test "$(lines "$log/signals")" -eq 1
check "USR1: one requeue" test "$(cat "$log/scontrol")" = "requeue 4711"
# A second one while the ranks finish their units.
FAKE_CODE=stop start phase1
wait_for "$log/started"
kill -USR1 "$job"
wait_for "$log/signals"
kill -USR1 "$job"
wait "$job"
check "two USR1: code 75" test $? -eq 75
check "two USR1: one requeue" test "$(lines "$log/scontrol")" -eq 1

# What can go wrong around it.
FAKE_SCONTROL_CODE=1 FAKE_CODE=75 start phase1
wait "$job"
check "requeue refused: code 75" test $? -eq 75
check "requeue refused: says so" grep -q "could not be requeued" "$log/err"
OMPI_MCA_io=ompio PVA_LAUNCHER="mpirun --map-by socket" PVA_BIN="$work/other bin" FAKE_CODE=0 start phase1
wait "$job"
check "other settings: code 0" test $? -eq 0
check "OMPI_MCA_io is kept" test "$(cat "$log/io")" = ompio
printf '%s\n' --map-by socket "$work/other bin/pva_phase1" >"$log/expected"
check "PVA_BIN and PVA_LAUNCHER" cmp -s "$log/expected" "$log/arguments"
PVA_BIN="$work/nowhere" FAKE_CODE=0 start phase1
wait "$job"
check "no executable: code 64" test $? -eq 64
check "no executable: remedy" grep -q "set PVA_HOME or PVA_BIN" "$log/err"
PVA_HOME="$work/nowhere" FAKE_CODE=0 start phase1
wait "$job"
check "no checkout: code 64" test $? -eq 64
check "no checkout: remedy" grep -q "set PVA_HOME" "$log/err"

# Where Slurm took the script from, when sbatch was called elsewhere.
cat >"$work/fake/scontrol" <<'FAKE'
#!/bin/sh
echo "JobId=$3 JobName=x"
echo "   Command=$FAKE_HOME/jobs/slurm/phase0.sh --problems a"
FAKE
log="$work/log_elsewhere"
mkdir "$log" "$work/elsewhere"
(cd / && FAKE_HOME=$home FAKE_LOG=$log FAKE_CODE=0 SLURM_JOB_ID=1 SLURM_SUBMIT_DIR=$work/elsewhere bash "$work/spool/slurm_script" x) >"$log/out" 2>"$log/err"
check "script found through Slurm" test $? -eq 0
check "script found through Slurm: executable" grep -q "a checkout/build/release/bin/pva_phase1" "$log/arguments"

# One rank a GPU.
SLURM_GPUS_ON_NODE=2 SLURM_TASKS_PER_NODE="4(x2)" FAKE_CODE=0 start phase1 x
wait "$job"
check "4 ranks, 2 GPUs: code 64" test $? -eq 64
check "4 ranks, 2 GPUs: remedy" grep -q -- "--ntasks-per-node=2" "$log/err"
SLURM_GPUS_ON_NODE=4 SLURM_TASKS_PER_NODE="4(x2),2" FAKE_CODE=0 start phase1 x
wait "$job"
check "4 ranks, 4 GPUs" test $? -eq 0 -a ! -s "$log/err"
SLURM_GPUS_ON_NODE=4 SLURM_TASKS_PER_NODE=2 FAKE_CODE=0 start phase1 x
wait "$job"
check "2 ranks, 4 GPUs" test $? -eq 0
check "2 ranks, 4 GPUs: said" grep -q "the others idle" "$log/err"

# Arrays: pieces of the range.
array() { # ID MIN MAX COUNT SCRIPT ARGUMENTS...
    SLURM_JOB_NAME=study SLURM_ARRAY_JOB_ID=90 SLURM_ARRAY_TASK_ID=$1 SLURM_ARRAY_TASK_MIN=$2 SLURM_ARRAY_TASK_MAX=$3 SLURM_ARRAY_TASK_COUNT=$4 FAKE_CODE=0 start "${@:5}"
    wait "$job"
}
array 2 0 3 4 phase1 --model m
check "array: code 0" test $? -eq 0
check "array: piece" test "$(tail -n 4 "$log/arguments" | tr '\n' ' ')" = "--piece 2/4 --json study-90_2.json "
array 2 0 3 4 phase1 --json=mine.json
check "array: own --json" test "$(tail -n 3 "$log/arguments" | tr '\n' ' ')" = "--json=mine.json --piece 2/4 "
array 2 2 2 1 phase1 --model m
check "part of an array: code 64" test $? -eq 64
check "part of an array: remedy" grep -q PVA_PIECES "$log/err"
PVA_PIECES=8 array 2 2 2 1 phase1 --model m
check "part of an array with PVA_PIECES" grep -qx 2/8 "$log/arguments"
array 0 0 1 2 phase2 --model m
check "array of phase 2: code 64" test $? -eq 64
# What merge.sh makes of their summaries.
for i in 0 1; do printf '{\n  "program": "pva_phase1",\n  "result": "data/phase1_0/dataset %s.h5",\n  "seconds": 1.0\n}\n' $i >"$work/study-90_$i.json"; done
FAKE_CODE=0 start merge --of-array 90 --data "d e"
wait "$job"
check "merge of an array: code 0" test $? -eq 0
printf '%s\n' --bind-to none "$home/build/release/bin/pva_merge" --files "data/phase1_0/dataset 0.h5,data/phase1_0/dataset 1.h5" --data "d e" >"$log/expected"
check "merge of an array: files" cmp -s "$log/expected" "$log/arguments"
FAKE_CODE=0 start merge --of-array 91
wait "$job"
check "merge of no array: code 64" test $? -eq 64

# Inputs of the site profile, where nothing is given and they exist.
mkdir -p "$home/data/inputs"
touch "$home/data/inputs/mbpp.jsonl" "$home/data/inputs/general_text.jsonl"
FAKE_CODE=0 start phase2 --problems mine.jsonl
wait "$job"
check "general text of the profile" test "$(tail -n 2 "$log/arguments" | tr '\n' ' ')" = "--general-text $home/data/inputs/general_text.jsonl "
check "problems as given" test "$(grep -cx -- --problems "$log/arguments")" = 1
FAKE_CODE=0 start phase1 --model m
wait "$job"
check "problems of the profile" test "$(tail -n 2 "$log/arguments" | tr '\n' ' ')" = "--problems $home/data/inputs/mbpp.jsonl "
FAKE_CODE=0 start phase1 --config study.cfg
wait "$job"
check "nothing beside --config" test "$(tail -n 2 "$log/arguments" | tr '\n' ' ')" = "--config study.cfg "
FAKE_CODE=0 start merge --files a,b
wait "$job"
check "nothing for merge" test "$(tail -n 1 "$log/arguments")" = a,b
rm -r "$home/data"
printf '. "$pva_home/jobs/slurm/site.sh"\nload_modules() { echo "modules of the site"; }\nPVA_LAUNCHER="mpirun --mine"\n' >"$work/site"
PVA_SITE="$work/site" FAKE_CODE=0 start phase0
wait "$job"
check "another profile" grep -qx -- --mine "$log/arguments"
check "another profile: modules" grep -qx "modules of the site" "$log/out"

# The chain.
printf '#!/bin/sh\nn=$(cat "$FAKE_LOG/n" 2>/dev/null || echo 100)\necho $((n + 1)) >"$FAKE_LOG/n"\necho "$PVA_HOME" >"$FAKE_LOG/home"\nprintf "%%s|" "$@" >>"$FAKE_LOG/sbatch"\necho >>"$FAKE_LOG/sbatch"\necho "$((n + 1));cluster"\n' >"$work/fake/sbatch"
chmod +x "$work/fake/sbatch"
pipeline() {
    number=$((number + 1))
    log="$work/log$number"
    mkdir "$log"
    FAKE_LOG=$log bash "$home/jobs/slurm/pipeline.sh" "$@" >"$log/out" 2>"$log/err"
}
pipeline --model "/m/gemma 2" --problems p.jsonl --sae s --general-text t.jsonl --data d --pieces 3 --phase1 "--stop-strings '[\"a b\"]' --layers 1" --sbatch "--time=5 --mem=1G" --after 7
check "pipeline: code 0" test $? -eq 0
jobs="$home/jobs/slurm"
cat >"$log/expected" <<EXPECTED
--parsable|--dependency=afterok:7|--kill-on-invalid-dep=yes|--time=5|--mem=1G|$jobs/phase0.sh|--data|d|--problems|p.jsonl|
--parsable|--array=0-2|--dependency=afterok:101|--kill-on-invalid-dep=yes|--time=5|--mem=1G|$jobs/phase1.sh|--data|d|--problems|p.jsonl|--model|/m/gemma 2|--stop-strings|["a b"]|--layers|1|
--parsable|--dependency=afterok:102|--kill-on-invalid-dep=yes|--time=5|--mem=1G|$jobs/merge.sh|--of-array|102|--data|d|
--parsable|--dependency=afterok:103|--kill-on-invalid-dep=yes|--time=5|--mem=1G|$jobs/phase1_1.sh|--data|d|--problems|p.jsonl|
--parsable|--dependency=afterok:104|--kill-on-invalid-dep=yes|--time=5|--mem=1G|$jobs/phase2.sh|--data|d|--problems|p.jsonl|--model|/m/gemma 2|--sae|s|--general-text|t.jsonl|
--parsable|--dependency=afterok:105|--kill-on-invalid-dep=yes|--time=5|--mem=1G|$jobs/phase3.sh|--data|d|--problems|p.jsonl|--model|/m/gemma 2|--sae|s|
EXPECTED
check "pipeline: the chain" cmp "$log/expected" "$log/sbatch"
check "pipeline: job ids" test "$(tr '\n' ' ' <"$log/out")" = "phase0 101 phase1 102 merge 103 phase1_1 104 phase2 105 phase3 106 "
check "pipeline: PVA_HOME" test "$(cat "$log/home")" = "$home"
PVA_GPUS_PER_NODE=4 pipeline --phases 1_2,3 --model m
check "pipeline: GPUs" test "$(head -n 1 "$log/sbatch")" = "--parsable|--gpus-per-node=4|--ntasks-per-node=4|$jobs/phase1_2.sh|--model|m|"
check "pipeline: no GPUs for phase 3" test "$(tail -n 1 "$log/sbatch")" = "--parsable|--dependency=afterok:101|--kill-on-invalid-dep=yes|$jobs/phase3.sh|--model|m|"
PVA_GPUS_PER_NODE=2 pipeline --phases 3,steer --model m --sae s --steer '--controls 5'
check "pipeline: steering" test "$(tail -n 1 "$log/sbatch")" = "--parsable|--gpus-per-node=2|--ntasks-per-node=2|--dependency=afterok:101|--kill-on-invalid-dep=yes|$jobs/steer.sh|--model|m|--sae|s|--controls|5|"
pipeline --print --model m
check "pipeline --print" test $? -eq 0 -a ! -e "$log/sbatch" -a "$(grep -c '^sbatch --parsable' "$log/out")" = 5
for wrong in "--modle m" "--phases 0,4" "--pieces 0" "--model" "stray"; do
    # Unquoted on purpose: option and value.
    pipeline $wrong
    check "pipeline $wrong: code 64" test $? -eq 64
    check "pipeline $wrong: nothing submitted" test ! -e "$log/sbatch"
done

# Without Slurm, from another folder.
log="$work/log_plain"
mkdir "$log"
(cd / && FAKE_LOG="$log" FAKE_CODE=75 bash "$home/jobs/slurm/phase3.sh" one) >"$log/out" 2>"$log/err"
check "without Slurm: code 75" test $? -eq 75
check "without Slurm: no requeue" test ! -e "$log/scontrol"
check "without Slurm: says what to do" grep -q "same command goes on" "$log/err"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
