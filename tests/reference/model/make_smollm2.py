"""Makes tests/golden/models/smollm2.json: what Hugging Face transformers (eager, float32) computes with the model that
jobs/local/get_smollm2.sh fetches. The tests use it when the folder is there.

    python tests/reference/model/make_smollm2.py [FOLDER]       # default: where get_smollm2.sh puts it

Holds the mean next-token loss over the first 40 records of ../shared/data/text/pile_like_sample.jsonl, each cut at 256 tokens and run
alone; and for three MBPP problems as a chat turn, with a Python fence already opened in the answer: prompt, token ids, the five best
logits at the last position, 20 greedy tokens (not stopped at EOS) and at each of them best minus second best logit.
"""

import hashlib
import json
import os
import pathlib
import platform
import sys

import tokenizers
import torch
import transformers
from transformers import AutoTokenizer

import hugging_face as hf

ROOT = pathlib.Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data"
RECORDS, MAX_TOKENS, TASKS, GREEDY_TOKENS = 40, 256, (11, 12, 14), 20


def main() -> None:
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else cache / "pva" / "smollm2-135m-instruct"
    transformers.utils.logging.disable_progress_bar()
    model = hf.load(folder, torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    lines = (DATA / "text" / "pile_like_sample.jsonl").read_text(encoding="utf-8").splitlines()[:RECORDS]
    loss, predicted = hf.mean_loss(model, [tokenizer(json.loads(line)["text"]).input_ids[:MAX_TOKENS] for line in lines])
    print(f"mean loss {loss:.6f} over {predicted} predicted tokens")

    problems = [json.loads(line) for line in (DATA / "mbpp" / "mbpp.jsonl").read_text(encoding="utf-8").splitlines()]
    prompts = []
    for problem in [problem for problem in problems if problem["task_id"] in TASKS]:
        turn = problem["text"] + " Your code should pass these tests:\n" + "\n".join(problem["test_list"])
        chat = tokenizer.apply_chat_template([{"role": "user", "content": turn}], tokenize=False, add_generation_prompt=True)
        text = chat + "```python\n"
        ids = tokenizer(text, add_special_tokens=False).input_ids
        best = hf.run(model, ids, sites=False)[0][-1].topk(5)
        written, gaps = hf.greedy(model, ids, GREEDY_TOKENS)
        print(f"{problem['task_id']}: {len(ids)} tokens, smallest gap {min(gaps):.3f}: {tokenizer.decode(written)!r}")
        prompts.append({"task_id": problem["task_id"], "text": text, "ids": ids, "top5_ids": best.indices.tolist(),
                        "top5_logits": best.values.tolist(), "greedy": written, "greedy_gap": gaps})
    golden = {
        "made_by": "tests/reference/model/make_smollm2.py",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "dtype": "float32",
        "weights_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "loss": {"text": "text/pile_like_sample.jsonl", "records": RECORDS, "max_tokens": MAX_TOKENS, "mean": loss,
                 "predicted_tokens": predicted},
        "prompts": prompts,
    }
    path = ROOT / "tests" / "golden" / "models" / "smollm2.json"
    text = json.dumps(golden, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
