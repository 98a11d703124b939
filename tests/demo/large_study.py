#!/usr/bin/env python3
"""Phase 2 on a made-up study of full size: memory of a rank, and the same files for 1 and 4 ranks. Standard library only.

large_study.py --bin DIR --demo DIR --writer STUDY_WRITER --compare COMPARE_H5 [--layers 26] [--rows 10000] [--latents 16384] [--limit-gib 4]

The dataset is written by study_writer (no model runs); residual rows are narrow, so that time goes to latents and not to matrices. The SAE's threshold is set for
about 70 active latents a row. The model of the general text is a random one of one-dimensional heads.
"""
import argparse
import array
import glob
import json
import math
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zipfile

parser = argparse.ArgumentParser()
parser.add_argument("--bin", required=True)
parser.add_argument("--demo", required=True)
parser.add_argument("--writer", required=True)
parser.add_argument("--compare", required=True)
parser.add_argument("--layers", type=int, default=26)
parser.add_argument("--rows", type=int, default=10000, help="rows of the selection part")
parser.add_argument("--latents", type=int, default=16384)
parser.add_argument("--permutations", type=int, default=100)
parser.add_argument("--limit-gib", type=float, default=4)
arguments = parser.parse_args()
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
D = 16
chance = random.Random(7)
folder = tempfile.mkdtemp(prefix="pva_large_")


def check(condition, message):
    if not condition:
        print(f"FAILED: {message}\nleft for inspection: {folder}")
        sys.exit(1)


def normal(count, scale=1.0):
    return array.array("f", [scale * chance.gauss(0, 1) for _ in range(count)])


def write_npz(path, arrays):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, (shape, values) in arrays.items():
            head = str({"descr": "<f4", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
            archive.writestr(name + ".npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + values.tobytes())


def write_safetensors(path, tensors):
    header, offset, blobs = {}, 0, []
    for name, (shape, values) in tensors.items():
        blob = values.tobytes()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def make_model(path):
    """A random Gemma-2 of width D with the demo's tokenizer."""
    os.makedirs(path)
    with open(os.path.join(arguments.demo, "model", "config.json")) as file:
        config = json.load(file)
    config.update(hidden_size=D, intermediate_size=2 * D, num_hidden_layers=arguments.layers, num_attention_heads=2, num_key_value_heads=1, head_dim=8, torch_dtype="float32")
    if "layer_types" in config:
        config["layer_types"] = [config["layer_types"][i % 2] for i in range(arguments.layers)]
    with open(os.path.join(path, "config.json"), "w") as file:
        json.dump(config, file)
    for name in os.listdir(os.path.join(arguments.demo, "model")):
        if "token" in name:
            shutil.copy(os.path.join(arguments.demo, "model", name), path)
    tensors = {"model.embed_tokens.weight": ((config["vocab_size"], D), normal(config["vocab_size"] * D)), "model.norm.weight": ((D,), normal(D, 0.1))}
    for i in range(arguments.layers):
        layer = f"model.layers.{i}."
        for name in ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"):
            tensors[layer + name + ".weight"] = ((D,), normal(D, 0.1))
        for name, rows, columns in (("self_attn.q_proj", 16, D), ("self_attn.k_proj", 8, D), ("self_attn.v_proj", 8, D), ("self_attn.o_proj", D, 16),
                                    ("mlp.gate_proj", 2 * D, D), ("mlp.up_proj", 2 * D, D), ("mlp.down_proj", D, 2 * D)):
            tensors[layer + name + ".weight"] = ((rows, columns), normal(rows * columns, 0.2))
    write_safetensors(os.path.join(path, "model.safetensors"), tensors)


def make_saes(path):
    """The same random SAE at every layer: unit decoder rows, the encoder their transpose, z-scores above the threshold fire."""
    m = arguments.latents
    decoder, norms = normal(m * D), []
    for j in range(m):
        norm = math.sqrt(sum(v * v for v in decoder[j * D:(j + 1) * D]))
        for k in range(j * D, (j + 1) * D):
            decoder[k] /= norm
    encoder = array.array("f", bytes(4 * m * D))
    for k in range(D):
        encoder[k * m:(k + 1) * m] = decoder[k::D]
    threshold = array.array("f", [2.62]) * m  # of a standard normal 0.44 % are above: 70 of 16,384
    zeros = array.array("f", [0.0])
    arrays = {"W_enc": ((D, m), encoder), "W_dec": ((m, D), decoder), "b_enc": ((m,), zeros * m), "b_dec": ((D,), zeros * D), "threshold": ((m,), threshold)}
    for layer in range(arguments.layers):
        os.makedirs(os.path.join(path, f"layer_{layer}"))
        if layer == 0:
            write_npz(os.path.join(path, "layer_0", "params.npz"), arrays)
        else:
            os.link(os.path.join(path, "layer_0", "params.npz"), os.path.join(path, f"layer_{layer}", "params.npz"))


model, saes, problems, text = (os.path.join(folder, name) for name in ("model", "saes", "problems.jsonl", "text.jsonl"))
make_model(model)
make_saes(saes)
with open(problems, "w") as file:
    for i in range(2 * arguments.rows):
        file.write(json.dumps({"task_id": i + 1, "text": f"Write a function number {i % 97} of kind {i % 13}.", "code": "def f():\n    pass", "test_list": ["assert f() is None"], "family": f"k{i % 13}"}) + "\n")
with open(text, "w") as file:
    for i in range(300):
        file.write(json.dumps({"text": f"The river number {i} runs past {i * 7 % 31} houses and a mill."}) + "\n")
data = os.path.join(folder, "data")
before = time.monotonic()
subprocess.run(["mpirun", "--oversubscribe", "-n", "1", arguments.writer, data, model, problems, str(arguments.layers), str(D)], check=True, env=ENVIRONMENT)
print(f"made-up study of {2 * arguments.rows} problems: {time.monotonic() - before:.0f} s")

results = []
for ranks in (1, 4):
    here = os.path.join(folder, f"ranks{ranks}")
    os.makedirs(here)
    for name in ("phase1_0", "phase1_1"):
        os.symlink(os.path.join(data, name), os.path.join(here, name))
    before = time.monotonic()
    command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), os.path.join(arguments.bin, "pva_phase2"), "--data", here, "--model", model, "--problems", problems,
               "--sae", saes, "--general-text", text, "--group-by", "family", "--permutations", str(arguments.permutations), "--threads", "1"]
    run = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    check(run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"phase 2 with {ranks} rank{'s' if ranks > 1 else ''}: {time.monotonic() - before:.0f} s, largest process so far {peak:.2f} GiB")
    check(peak <= arguments.limit_gib, f"a rank took {peak:.2f} GiB, more than {arguments.limit_gib}")
    results.append({prefix: glob.glob(os.path.join(here, "phase2", prefix + "_*.h5")) for prefix in ("sparse", "rates", "latents")})
print(run.stdout[run.stdout.index("layer  L0"):][:400])
for prefix in ("sparse", "rates", "latents"):
    check(len(results[0][prefix]) == 1 and len(results[1][prefix]) == 1, f"files {prefix}")
    compared = subprocess.run([arguments.compare, results[0][prefix][0], results[1][prefix][0]], capture_output=True, text=True)
    check(compared.returncode == 0, f"{prefix} with 1 and 4 ranks: {compared.stdout}")
shutil.rmtree(folder)
print("1 and 4 ranks give equal files")
