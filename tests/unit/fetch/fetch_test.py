#!/usr/bin/env python3
"""jobs/local/fetch.sh without a network. Standard library only.

A made-up hub serves a model, SAEs and a text; a stand-in for the program hf lays its files into the cache as the real one does. With
--hf the real program hf talks to the same hub over 127.0.0.1 (HF_ENDPOINT).   fetch_test.py --source CHECKOUT [--hf PATH/hf]
"""
import argparse
import fnmatch
import gzip
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.parse

parser = argparse.ArgumentParser()
parser.add_argument("--source", required=True)
parser.add_argument("--hf", default="", help="a real hf, to be tried against the made-up hub")
arguments = parser.parse_args()

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXTS = "".join(json.dumps({"text": f"Record {i}, with ü.", "url": "u"}) + "\n" for i in range(30))
LARGE = (".safetensors", ".npz", ".gz", "tokenizer.model")
HUB = {
    ("model", "someone/model"): {"config.json": b"{}\n", "model.safetensors": b"weights" * 1000, "tokenizer.model": b"tokens", "README.md": b"read\n",
                                 "pytorch_model.bin": b"a pickle"},
    ("model", "someone/no-spm"): {"config.json": b"{}\n", "model.safetensors": b"others" * 1000},
    ("model", "someone/saes"): {f"layer_{i}/width_1k/average_l0_{i}/params.npz": bytes([i]) * 100 for i in range(4)},
    ("dataset", "allenai/c4"): {"en/c4-validation.00000-of-00008.json.gz": gzip.compress(TEXTS.encode(), mtime=0), "README.md": b"text\n"},
}


def hash_of(name, content):
    """What the hub states: SHA-256 of large files, git's blob SHA-1 of others."""
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's interface as hf asks for."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, code, body, **headers):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path).strip("/").split("/")
        if path[0] == "api":
            kind, repository = path[1].rstrip("s"), "/".join(path[2:4])
            files = HUB.get((kind, repository))
            if files is None:
                return self.reply(404, b"{}", Content_Type="application/json", X_Error_Code="RepoNotFound")
            if "tree" in path:
                entries = [{"type": "file", "path": name, "size": len(content), "oid": "1" * 40} for name, content in files.items()]
                return self.reply(200, json.dumps(entries).encode(), Content_Type="application/json")
            info = {"id": repository, "sha": COMMIT, "private": False, "disabled": False, "downloads": 0, "likes": 0, "tags": [],
                    "siblings": [{"rfilename": name, "size": len(content)} for name, content in files.items()]}
            return self.reply(200, json.dumps(info).encode(), Content_Type="application/json")
        kind = "model"
        if path[0] == "datasets":
            kind, path = "dataset", path[1:]
        files = HUB.get((kind, "/".join(path[:2])), {})
        name = "/".join(path[4:])
        if name not in files:
            return self.reply(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        etag = '"' + hash_of(name, files[name]) + '"'
        return self.reply(200, files[name], ETag=etag, X_Linked_ETag=etag, X_Linked_Size=str(len(files[name])), X_Repo_Commit=COMMIT)

    do_HEAD = do_GET


STAND_IN = '''#!/usr/bin/env python3
import fnmatch, json, os, sys
sys.path.insert(0, {here!r})
assert sys.argv[1] == "download"
repository, rest = sys.argv[2], sys.argv[3:]
options = dict(zip(rest[::2], rest[1::2]))
hub = json.load(open({hub!r}))
files = hub.get(options["--repo-type"] + " " + repository)
if files is None:
    sys.exit("no such repository")
folder = os.path.join(os.environ["HF_HUB_CACHE"], options["--repo-type"] + "s--" + repository.replace("/", "--"))
for sub in ("blobs", "refs"):
    os.makedirs(os.path.join(folder, sub), exist_ok=True)
open(os.path.join(folder, "refs", options["--revision"]), "w").write({commit!r})
for name, (digest, content) in files.items():
    if fnmatch.fnmatch(name, options["--include"]):
        blob = os.path.join(folder, "blobs", digest)
        link = os.path.join(folder, "snapshots", {commit!r}, name)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if not os.path.exists(blob):
            open(blob, "wb").write(content.encode("latin-1"))
        if not os.path.lexists(link):
            os.symlink(os.path.relpath(blob, os.path.dirname(link)), link)
'''

folder = tempfile.mkdtemp(prefix="pva_fetch_")
failures = 0


def check(condition, message):
    global failures
    if not condition:
        failures += 1
        print("FAILED:", message)


def fetch(*options, **environment):
    result = subprocess.run(["bash", os.path.join(arguments.source, "jobs/local/fetch.sh"), *options], capture_output=True, text=True, env={**ENVIRONMENT, **environment})
    return result.returncode, result.stdout + result.stderr


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
tools = os.path.join(folder, "tools")
os.makedirs(tools)
if arguments.hf:
    os.symlink(os.path.abspath(arguments.hf), os.path.join(tools, "hf"))
else:
    hub_file = os.path.join(folder, "hub.json")
    with open(hub_file, "w") as file:
        json.dump({" ".join(key): {name: [hash_of(name, content), content.decode("latin-1")] for name, content in files.items()} for key, files in HUB.items()}, file)
    with open(os.path.join(tools, "hf"), "w") as file:
        file.write(STAND_IN.format(here=folder, hub=hub_file, commit=COMMIT))
    os.chmod(os.path.join(tools, "hf"), 0o755)
cache = os.path.join(folder, "cache")
ENVIRONMENT = {**os.environ, "PATH": tools + ":" + os.environ["PATH"], "HF_HUB_CACHE": cache, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
               "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
out = os.path.join(folder, "inputs")
mine = ["--model", "someone/model", "--sae", "someone/saes:layer_1", "--sae", "someone/saes:layer_3/width_1k", "--general-text", "20", "--out", out]

# What is printed, and nothing else.
code, text = fetch("--print", "--out", out)
check(code == 0 and text.count("gemma-scope-2b-pt-res") == 26 and "+ hf download google/gemma-2-2b --repo-type model" in text and "+ curl " in text, text)
check(not os.path.exists(out) and not os.path.exists(cache), "--print did something")
code, text = fetch("--check", *mine, "--no-mbpp")
check(code == 65 and "not fetched" in text, text)

# The whole of it, MBPP aside.
code, text = fetch(*mine, "--no-mbpp")
check(code == 0 and "6 files of the hub" in text, text)
with open(os.path.join(out, "general_text.jsonl"), encoding="utf-8") as file:
    check([json.loads(line) for line in file] == [{"text": f"Record {i}, with ü."} for i in range(20)], "the first 20 records were expected")
snapshot = os.path.join(cache, "models--someone--model", "snapshots", COMMIT)
check(sorted(os.listdir(snapshot)) == ["config.json", "model.safetensors", "tokenizer.model"], f"{os.listdir(snapshot)}")
code, text = fetch("--check", *mine, "--no-mbpp")
check(code == 0 and "6 files of the hub" in text and "+ " not in text, text)
code, text = fetch("--model", "someone/no-spm", "--sae", "none", "--general-text", "0", "--no-mbpp", "--out", out)
check(code == 0 and "2 files" in text, text)
code, text = fetch(*mine[:-3], "31", "--out", out, "--no-mbpp")
check(code != 0 and "holds 30 records" in text, text)
code, text = fetch("--model", "someone/nothing", "--sae", "none", "--no-mbpp", "--out", out)
check(code == 74 and "the command above failed" in text, text)

# Damage is seen, in large files and small ones, whatever the length.
for name in ("model.safetensors", "config.json"):
    blob = os.path.realpath(os.path.join(snapshot, name))
    with open(blob, "rb") as file:
        right = file.read()
    for wrong in (bytes([right[0] ^ 1]) + right[1:], right[:-1], b""):
        with open(blob, "wb") as file:
            file.write(wrong)
        code, text = fetch("--check", *mine, "--no-mbpp")
        check(code == 65 and name in text and "the hub says" in text and "remove" in text, text)
    with open(blob, "wb") as file:
        file.write(right)
link = os.path.join(snapshot, "config.json")
os.rename(link, link + ".kept")
shutil.copyfile(link + ".kept", link)
code, text = fetch("--check", *mine, "--no-mbpp")
check(code == 65 and "no link" in text, text)
os.replace(link + ".kept", link)

# MBPP: by its built-in hash.
only = ["--model", "none", "--sae", "none", "--general-text", "0", "--out", out]
other = os.path.join(folder, "other.jsonl")
with open(other, "w") as file:
    file.write("{}\n")
code, text = fetch(*only, PVA_MBPP_URL="file://" + other)
check(code == 65 and "another file than MBPP" in text and not os.path.exists(os.path.join(out, "mbpp.jsonl")) and not os.path.exists(os.path.join(out, "mbpp.jsonl.new")), text)
code, text = fetch(*only, PVA_MBPP_URL="file://" + folder + "/nothing")
check(code == 74 and "failed" in text, text)
code, text = fetch("--check", *only)
check(code == 65 and "mbpp.jsonl is missing" in text, text)
shared = os.path.join(arguments.source, "../shared/data/mbpp/mbpp.jsonl")
if os.path.exists(shared):
    code, text = fetch(*only, PVA_MBPP_URL="file://" + os.path.realpath(shared))
    check(code == 0 and "MBPP has its SHA-256" in text, text)
    code, text = fetch(*only, PVA_MBPP_URL="file:///nothing")
    check(code == 0 and "+ curl" not in text, text)
else:
    print("MBPP is not in ../shared/data: its download is not tried")
shutil.copyfile(other, os.path.join(out, "mbpp.jsonl"))
code, text = fetch(*only)
check(code == 65 and "is not MBPP" in text, text)

for wrong, words in ((["--modle", "x"], "unknown option"), (["--model"], "needs a value"), (["--general-text", "few"], "number of records"), (["--sae-list", "/nothing"], "cannot be read")):
    code, text = fetch(*wrong)
    check(code == 64 and words in text, text)

server.shutdown()
shutil.rmtree(folder)
print(f"fetch.sh with {'a real hf' if arguments.hf else 'a stand-in for hf'}: {failures} failures")
sys.exit(1 if failures else 0)
