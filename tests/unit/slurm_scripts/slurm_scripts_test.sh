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

phases=(phase0 phase1 phase1_1 phase2 phase3)
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
unset PVA_HOME PVA_BIN PVA_MPIRUN_OPTIONS OMPI_MCA_io SLURM_JOB_ID SLURM_SUBMIT_DIR FAKE_SCONTROL_CODE

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
OMPI_MCA_io=ompio PVA_MPIRUN_OPTIONS="--map-by socket" PVA_BIN="$work/other bin" FAKE_CODE=0 start phase1
wait "$job"
check "other settings: code 0" test $? -eq 0
check "OMPI_MCA_io is kept" test "$(cat "$log/io")" = ompio
printf '%s\n' --map-by socket "$work/other bin/pva_phase1" >"$log/expected"
check "PVA_BIN and PVA_MPIRUN_OPTIONS" cmp -s "$log/expected" "$log/arguments"
PVA_BIN="$work/nowhere" FAKE_CODE=0 start phase1
wait "$job"
check "no executable: code 64" test $? -eq 64
check "no executable: remedy" grep -q "set PVA_HOME or PVA_BIN" "$log/err"
PVA_HOME="$work/nowhere" FAKE_CODE=0 start phase1
wait "$job"
check "no checkout: code 64" test $? -eq 64
check "no checkout: remedy" grep -q "set PVA_HOME" "$log/err"

# Without Slurm, from another folder.
log="$work/log_plain"
mkdir "$log"
(cd / && FAKE_LOG="$log" FAKE_CODE=75 bash "$home/jobs/slurm/phase3.sh" one) >"$log/out" 2>"$log/err"
check "without Slurm: code 75" test $? -eq 75
check "without Slurm: no requeue" test ! -e "$log/scontrol"
check "without Slurm: says what to do" grep -q "same command goes on" "$log/err"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
