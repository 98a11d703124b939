#!/usr/bin/env bash
# Installs what pva needs on a Debian 12 machine: system packages by apt-get, and libtorch (the PyPI wheel of torch) into a
# cache outside the checkout. Does nothing, quickly and without a network, when all is there.
#
#   jobs/local/setup.sh              set up
#   jobs/local/setup.sh --slurm      also what long tests need: Slurm's daemons, Chromium, clang, valgrind (tests/run.sh --long does this)
#   PVA_CACHE=DIR jobs/local/setup.sh   another cache folder (default: $XDG_CACHE_HOME/pva or ~/.cache/pva; with another
#                                    folder pass -DPVA_LIBTORCH=DIR/libtorch-2.11.0 to CMake)
#
# Those who bring their own libraries (a cluster's modules) need none of this: see README.md.
set -euo pipefail

torch_version=2.11.0
packages=(
    g++ cmake ninja-build ccache git pkg-config ca-certificates curl
    openmpi-bin libopenmpi-dev libhdf5-openmpi-dev
    libboost-program-options-dev libboost-test-dev libboost-dev
    librandom123-dev libsentencepiece-dev libpcre2-dev libicu-dev nlohmann-json3-dev libssl-dev libxxhash-dev zlib1g-dev liblinear-dev
    bubblewrap libseccomp-dev libhwy-dev
    python3 python3-pip
    gnuplot-nox
)
case ${1:-} in
    '') ;;
    --slurm) packages+=(munge slurmctld slurmd slurm-client chromium clang libclang-rt-14-dev valgrind) ;;
    *)
        echo "usage: jobs/local/setup.sh [--slurm]" >&2
        exit 64
        ;;
esac
cache=${PVA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pva}
target=$cache/libtorch-$torch_version

say() { printf 'setup: %s\n' "$*"; }

# --- system packages -------------------------------------------------------------------------------------------------
missing=()
if command -v dpkg-query >/dev/null; then
    # `|| true`: dpkg-query fails when one of them is unknown, and still prints the others.
    installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null || true)
    for package in "${packages[@]}"; do
        grep -qx "$package installed" <<<"$installed" || missing+=("$package")
    done
else
    say "no dpkg here: install the equivalents of: ${packages[*]}"
fi
# A python3 with pip from elsewhere (pyenv, conda) serves as well as Debian's.
if python3 -m pip --version >/dev/null 2>&1; then
    kept=()
    for package in "${missing[@]}"; do
        [[ $package == python3 || $package == python3-pip ]] || kept+=("$package")
    done
    missing=("${kept[@]}")
fi
if ((${#missing[@]})); then
    if [[ $(id -u) == 0 ]]; then
        as_root=()
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    else
        say "these system packages are missing: ${missing[*]}"
        say "ask an administrator to run:  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
        exit 1
    fi
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# --- libtorch --------------------------------------------------------------------------------------------------------
# The wheel is the CUDA build; without an NVIDIA driver two small CUDA libraries are enough to load its CPU part. cuda_headers
# are for building the library that records CUDA graphs.
cuda_headers='nvidia-cuda-crt==13.0.*'
cuda_packages=('nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cupti==13.0.*' "$cuda_headers")
if [[ -e /proc/driver/nvidia/version ]] || [[ -e /dev/nvidiactl ]]; then with_gpu=1; else with_gpu=0; fi
if [[ ! -e $target/torch/lib/libtorch_cpu.so ]] || { ((with_gpu)) && [[ ! -e $target/with-cuda ]]; }; then
    mkdir -p "$cache"
    rm -rf "$target.new"
    say "fetching libtorch $torch_version (about 550 MB; with a GPU about 3 GB) into $target"
    if ((with_gpu)); then
        python3 -m pip install --quiet --no-compile --root-user-action=ignore --target "$target.new" "torch==$torch_version" "$cuda_headers"
        touch "$target.new/with-cuda"
    else
        python3 -m pip install --quiet --no-deps --no-compile --root-user-action=ignore --target "$target.new" "torch==$torch_version" "${cuda_packages[@]}"
    fi
    rm -rf "$target"
    mv "$target.new" "$target"
fi
say "ready: libtorch in $target"
