#!/bin/bash
# Makes data/demo anew from seeds: bash build.sh WORK. Not needed to run the demo. Training took 48 minutes on two busy cores.
# Versions used: Python 3.11.7, torch 2.11.0 (CPU, float32), transformers 5.23.0 (comparison only), sentencepiece 0.2.3,
# numpy 2.4.6, safetensors 0.8.0, scikit-learn 1.9.1 and radon 6.0.1 (figures only).
# Another CPU or another torch sums in another order: expect the same kind of model, not the same bytes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$1
out=$(cd "$here/../../.." && pwd)/data/demo
python=${PYTHON:-python3}
export OMP_NUM_THREADS=1
mkdir -p "$work" "$out/model" "$out/saes"
cd "$here"
"$python" prepare.py "$work"
"$python" train.py "$work" --steps 900 --decay 240
cp "$work/checkpoint/config.json" "$work/checkpoint/model.safetensors" "$out/model/"
cp "$work/tokenizer.model" "$out/model/tokenizer.model"
"$python" study.py "$work" "$out"
"$python" compare.py "$out/model" "$out/model/tokenizer.model" "$out/problems.jsonl"
"$python" evaluate.py "$out/model" "$out/model/tokenizer.model" "$out/problems.jsonl" --levels "$work/levels.json" --out "$work/answers.jsonl"
"$python" figures.py study "$work" "$out"
"$python" saes.py "$out/model" "$out/model/tokenizer.model" "$work/saes" --layers 2 3 4
cp -r "$work"/saes/layer_* "$out/saes/"
"$python" figures.py saes "$work" "$out"
