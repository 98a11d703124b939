#!/usr/bin/env bash
# Fetches what a study needs, on a machine with a network such as a cluster's login node: model and SAEs into the Hugging Face
# cache, MBPP and a sample of general text into a folder. Prints every command before it runs it, then checks every file by the
# hash that the hub (or this script, for MBPP) states. Run it again: what is there is not fetched again.
#
#   bash jobs/local/fetch.sh                                       Gemma-2-2B, its 26 canonical Gemma Scope SAEs of width 16k, MBPP, C4
#   bash jobs/local/fetch.sh --model EleutherAI/pythia-70m --sae none
#
#   --model NAME        model on the hub (default google/gemma-2-2b), NAME@REVISION, or none
#   --sae NAME:PATH     one SAE or a folder of SAEs in a repository of the hub, NAME alone for all of it, or none
#   --sae-list FILE     the SAEs of a list with the columns path and repo_id (default jobs/local/gemma_scope_2b_16k.tsv)
#   --general-text N    records of general text (default 10000; 0: none)
#   --no-mbpp           leave MBPP out
#   --out DIR           where mbpp.jsonl and general_text.jsonl go (default data/inputs, where jobs/slurm/site.sh looks)
#   --print             show the commands, run nothing
#   --check             fetch nothing, check what is there
#
# Gated models (Gemma, Llama) want their licence accepted on the hub and a token: `hf auth login`, or HF_TOKEN. The cache is
# HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub; pva looks at the same variables.
# Needs curl, python3, and the program hf (Python package huggingface_hub; fetched by pip into a cache when it is missing).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

mbpp_url=${PVA_MBPP_URL:-https://raw.githubusercontent.com/google-research/google-research/master/mbpp/mbpp.jsonl}
mbpp_sha256=ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f
text_repository=allenai/c4
text_file=en/c4-validation.00000-of-00008.json.gz
hub_package=huggingface_hub==2.4.0

say() { printf 'fetch: %s\n' "$*"; }
die() {
    say "$1" >&2
    exit "${2:-64}"
}

model=google/gemma-2-2b
saes=()
sae_list=jobs/local/gemma_scope_2b_16k.tsv
records=10000
mbpp=1
out=data/inputs
mode=fetch
while (($#)); do
    case $1 in
        -h | --help)
            sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        --no-mbpp) mbpp=0 ;;
        --print) mode=print ;;
        --check) mode=check ;;
        --model | --sae | --sae-list | --general-text | --out)
            (($# > 1)) || die "$1 needs a value (see --help)"
            case $1 in
                --model) model=$2 ;;
                --sae)
                    sae_list=
                    saes+=("$2")
                    ;;
                --sae-list) sae_list=$2 ;;
                --general-text) records=$2 ;;
                --out) out=$2 ;;
            esac
            shift
            ;;
        *) die "unknown option $1 (see --help)" ;;
    esac
    shift
done
[[ $records =~ ^[0-9]+$ ]] || die "--general-text takes a number of records, not '$records'"
[[ -z $sae_list || -r $sae_list ]] || die "--sae-list $sae_list cannot be read"
cache=${HF_HUB_CACHE:-${HF_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/huggingface}/hub}

# --- the tool --------------------------------------------------------------------------------------------------------
hf=(hf)
if [[ $mode == fetch ]] && ! command -v hf >/dev/null; then
    tool=${PVA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pva}/${hub_package//==/-} # no = in it: env would take it for a variable
    hf=(env "PYTHONPATH=$tool" "$tool/bin/hf")
    if [[ ! -x $tool/bin/hf ]]; then
        say "the program hf is missing; fetching $hub_package into $tool"
        rm -rf "$tool.new"
        python3 -m pip install --quiet --no-compile --root-user-action=ignore --target "$tool.new" "$hub_package" ||
            die "pip could not fetch $hub_package (its message is above); install huggingface_hub, so that hf is in PATH" 74
        mv -T "$tool.new" "$tool"
    fi
fi

# run COMMAND...: prints it, and runs it when something is to be fetched.
run() {
    printf '+'
    printf ' %q' "$@"
    echo
    if [[ $mode == fetch ]]; then
        local words=("$@")
        [[ $1 != hf ]] || words=("${hf[@]}" "${@:2}")
        "${words[@]}" || die "the command above failed; its message is above too. Gated models: see --help. Run this again: what is there is kept" 74
    fi
}

# --- what to fetch, as lines of  kind  repository  revision  pattern ----------------------------------------------------
wanted=()
if [[ $model != none ]]; then
    revision=main
    [[ $model != *@* ]] || revision=${model#*@}
    for pattern in '*.safetensors' '*.json' 'tokenizer.model'; do wanted+=("model ${model%@*} $revision $pattern"); done
fi
for sae in "${saes[@]}"; do
    [[ $sae != none ]] || continue
    pattern='*'
    [[ $sae != *:* ]] || pattern=${sae#*:}/'*'
    wanted+=("model ${sae%%:*} main $pattern")
done
if [[ -n $sae_list ]]; then
    while IFS= read -r line; do wanted+=("$line"); done < <(python3 - "$sae_list" <<'PYTHON'
import csv, sys
with open(sys.argv[1], newline="") as file:
    for row in csv.DictReader(file, delimiter="\t"):
        print("model", row.get("repo_id") or "google/" + row["release"], "main", (row.get("path") or row["sae_id"]) + "/*")
PYTHON
    )
fi
((records == 0)) || wanted+=("dataset $text_repository main $text_file")

[[ $mode == check ]] || for line in "${wanted[@]}"; do
    read -r kind repository revision pattern <<<"$line"
    run hf download "$repository" --repo-type "$kind" --revision "$revision" --include "$pattern"
done

# --- checks ----------------------------------------------------------------------------------------------------------
# The cache names each file by the hash that the hub states for it: SHA-256 of large files, git's SHA-1 of small ones. So the check
# can be repeated without a network, for instance after copying the cache to a cluster.
checked=0
bytes=0
declare -A seen=()
check_blob() { # FILE-IN-A-SNAPSHOT
    local blob name size actual
    blob=$(readlink -f "$1")
    [[ -e $blob ]] || die "$1 points to nothing: fetch it again" 65
    [[ -z ${seen[$blob]-} ]] || return 0
    seen[$blob]=1
    name=${blob##*/}
    size=$(stat -c %s "$blob")
    if [[ $name =~ ^[0-9a-f]{64}$ ]]; then
        actual=$(sha256sum <"$blob")
    elif [[ $name =~ ^[0-9a-f]{40}$ ]]; then
        actual=$({ printf 'blob %s\0' "$size" && cat "$blob"; } | sha1sum)
    else
        die "$1 is no link into the cache's blobs, so nothing says its hash (made with --local-dir, or a file system without links)" 65
    fi
    [[ ${actual%% *} == "$name" ]] || die "$1: its hash is ${actual%% *}, the hub says $name. The file is damaged: remove $blob and run this again" 65
    checked=$((checked + 1))
    bytes=$((bytes + size))
}

text_path=
if [[ $mode != print ]]; then
    for line in "${wanted[@]}"; do
        read -r kind repository revision pattern <<<"$line"
        folder=$cache/${kind}s--${repository//\//--}
        [[ ! -e $folder/refs/$revision ]] || revision=$(<"$folder/refs/$revision")
        found=0
        while IFS= read -r -d '' file; do
            relative=${file#"$folder/snapshots/$revision/"}
            # shellcheck disable=SC2053  # a pattern on purpose
            [[ $relative == $pattern ]] || continue
            check_blob "$file"
            found=1
            [[ $kind != dataset ]] || text_path=$file
        done < <(find "$folder/snapshots/$revision" -mindepth 1 \( -type f -o -type l \) -print0 2>/dev/null | sort -z)
        # Not every model has a tokenizer.model.
        ((found)) || [[ $pattern == tokenizer.model ]] || die "$repository has no file $pattern in $cache: not fetched, or not there on the hub" 65
    done
    say "$checked files of the hub, $bytes bytes, have the hashes that the hub states"
fi

# --- files for --problems and --general-text ----------------------------------------------------------------------------
[[ $mode == print ]] || mkdir -p "$out"
problems=$out/mbpp.jsonl
if ((mbpp)); then
    has_hash() { [[ $(sha256sum <"$1") == "$mbpp_sha256  -" ]]; }
    if [[ -e $problems ]]; then
        has_hash "$problems" || die "$problems is there and is not MBPP as this script knows it (SHA-256 $mbpp_sha256): remove it or choose another --out" 65
    elif [[ $mode == check ]]; then
        die "$problems is missing" 65
    else
        run curl --fail --location --silent --show-error --output "$problems.new" "$mbpp_url"
        if [[ $mode == fetch ]]; then
            has_hash "$problems.new" || {
                rm -f "$problems.new"
                die "$mbpp_url gave another file than MBPP as this script knows it (SHA-256 $mbpp_sha256)" 65
            }
            mv "$problems.new" "$problems"
        fi
    fi
    [[ $mode == print ]] || say "MBPP has its SHA-256: $problems"
fi
general=$out/general_text.jsonl
if ((records)) && [[ $mode == fetch ]]; then
    # Whole lines, the first ones: the same sample for everybody.
    python3 - "$text_path" "$general" "$records" <<'PYTHON'
import gzip, itertools, json, os, sys
source, target, records = sys.argv[1], sys.argv[2], int(sys.argv[3])
with gzip.open(source, "rt", encoding="utf-8") as text, open(target + ".new", "w", encoding="utf-8") as out:
    written = 0
    for line in itertools.islice(text, records):
        out.write(json.dumps({"text": json.loads(line)["text"]}, ensure_ascii=False) + "\n")
        written += 1
if written < records:
    sys.exit(f"fetch: {source} holds {written} records, {records} are wanted")
os.replace(target + ".new", target)
PYTHON
    say "general text: $records records in $general"
fi
[[ $mode != fetch ]] || say "ready. Options of the phases: --model $model --problems $problems --general-text $general${sae_list:+ --sae-list $sae_list}"
