"""Golden prompts of the chat forms, rendered by transformers' apply_chat_template, for tests/unit/tasks.

usage: make_chat_golden.py MBPP.jsonl OUTPUT_DIR

The templates are those that the models' authors publish in tokenizer_config.json, cut down where noted to what one user
turn can reach. Where the answer begins is not written here: a conversation with an assistant turn is rendered, and cut
behind its opened code fence, so a space that a template puts before an answer is in the golden prompt.
"""
import hashlib
import json
import pathlib
import sys

import jinja2
import transformers
from tokenizers import Tokenizer, models

CHATML = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
          "SYSTEM<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
          "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
ALTERNATE = ("{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must "
             "alternate user/assistant/user/assistant/...') }}{% endif %}")
# name: (BOS or None, template)
TEMPLATES = {
    # google/gemma-2-2b-it (the same in 9b-it and 27b-it)
    "gemma-it": ("<bos>",
                 "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
                 "{% endif %}{% for message in messages %}" + ALTERNATE +
                 "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
                 "{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
                 "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"),
    # meta-llama/Llama-2-7b-chat-hf
    "llama2-chat": ("<s>",
                    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = "
                    "messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}"
                    "{% endif %}{% for message in loop_messages %}" + ALTERNATE +
                    "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + "
                    "'\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}"
                    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
                    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}"
                    "{% endfor %}"),
    # meta-llama/Meta-Llama-3-8B-Instruct (April 2024)
    "llama3-instruct": ("<|begin_of_text|>",
                        "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
                        "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + "
                        "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
                        "{{ content }}{% endfor %}{% if add_generation_prompt %}"
                        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"),
    # mistralai/Mistral-7B-Instruct-v0.1 and v0.2 since they follow mistral-common's tokenizer v1; without system turns
    "mistral-instruct": ("<s>",
                         "{{- bos_token }}{%- for message in messages %}" + ALTERNATE +
                         "{%- if message['role'] == 'user' %}{{- ' [INST] ' + message['content'] + ' [/INST]' }}"
                         "{%- elif message['role'] == 'assistant' %}{{- ' ' + message['content'] + eos_token }}{%- endif %}"
                         "{%- endfor %}"),
    # mistralai/Mistral-7B-Instruct-v0.3; without system turns and tools
    "mistral-v3-instruct": ("<s>",
                            "{{- bos_token }}{%- for message in messages %}{%- if message['role'] == 'user' %}"
                            "{{- '[INST] ' + message['content'] + '[/INST]' }}{%- elif message['role'] == 'assistant' %}"
                            "{{- ' ' + message['content']|trim + eos_token }}{%- endif %}{%- endfor %}"),
    # Qwen/Qwen2-7B-Instruct
    "qwen2-instruct": (None, CHATML.replace("SYSTEM", "You are a helpful assistant.")),
    # Qwen/Qwen2.5-7B-Instruct; without tools, where its template gives what this one gives
    "qwen2.5-instruct": (None, CHATML.replace("SYSTEM",
                                              "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.")),
    # HuggingFaceTB/SmolLM2-135M-Instruct; byte for byte tokenizer.chat_template of SmolLM2-135M-Instruct.Q4_1.gguf
    "smollm2-instruct": (None, CHATML.replace("SYSTEM",
                                              "You are a helpful AI assistant named SmolLM, trained by Hugging Face")),
}
FENCE = "```python\n"
MARK = "@the answer goes on@"
PROBLEMS = [
    {"text": "Write a function to add two numbers.", "tests": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]},
    {"text": " \u00a0Text with blanks around it.\u3000\n", "tests": ["  assert f('\u00e9\U0001f600') == 1 \t", "", " \n"]},
    {"text": "", "tests": ["assert g() is None"]},
    {"text": "No tests at all.", "tests": []},
    {"text": "A text\n\nof lines, with <bos> and [/INST] in it:", "tests": ["assert h(1) == 1\nassert h(2) == 2"]},
]


def message_of(text, tests):
    tests = [test.strip() for test in tests]
    joined = "\n".join(test for test in tests if test)
    return f"{text.strip()} Your code should pass these tests:\n\n{joined}".strip()


def prompt_of(tokenizer, message):
    user = [{"role": "user", "content": message}]
    turn = tokenizer.apply_chat_template(user, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(user + [{"role": "assistant", "content": FENCE + MARK}], tokenize=False)
    prompt = whole[:whole.index(MARK)]
    assert prompt.startswith(turn) and prompt[len(turn):].lstrip(" ") == FENCE, (turn, prompt)
    return prompt


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        mbpp = sorted((json.loads(line) for line in file), key=lambda row: row["task_id"])
    forms = {}
    for name, (bos, template) in TEMPLATES.items():
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), eos_token="</s>",
                                                         **({"bos_token": bos} if bos else {}))
        tokenizer.chat_template = template
        prompts = [prompt_of(tokenizer, message_of(problem["text"], problem["tests"])) for problem in PROBLEMS]
        digest = hashlib.sha256()
        for row in mbpp:
            digest.update(prompt_of(tokenizer, message_of(row["text"], row["test_list"])).encode() + b"\0")
        forms[name] = {"prompts": prompts, "mbpp_sha256": digest.hexdigest()}
    golden = {"made_by": f"tests/reference/tasks/make_chat_golden.py, transformers {transformers.__version__}, "
                         f"jinja2 {jinja2.__version__}",
              "problems": PROBLEMS, "mbpp_problems": len(mbpp), "forms": forms}
    path = pathlib.Path(sys.argv[2]) / "chat_prompts.json"
    path.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
    print(f"{path}: {len(forms)} forms, {len(PROBLEMS)} problems, {len(mbpp)} of MBPP hashed")


if __name__ == "__main__":
    main()
