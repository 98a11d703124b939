#!/usr/bin/env python3
"""The configure step stops with one message that names the remedy: serial HDF5, missing MPI, libtorch of the old C++ ABI,
no libtorch; and optional CUDA headers are taken whole or left out. Made with small fake libraries. Python's standard library only.

configure_test.py --source DIR --cmake CMAKE --cxx COMPILER --cc COMPILER
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

parser = argparse.ArgumentParser()
for name in ("source", "cmake", "cxx", "cc"):
    parser.add_argument("--" + name, required=True)
arguments = parser.parse_args()
folder = tempfile.mkdtemp(prefix="pva_configure_")
passed = failed = 0


def make(path, text=""):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    return path


def library(path, source, *flags):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    subprocess.run([arguments.cxx, "-shared", "-fPIC", "-o", path, make(path + ".cpp", source), *flags], check=True)


def configure(title, options):
    build = os.path.join(folder, title.replace(" ", "_"))
    return subprocess.run([arguments.cmake, "-G", "Ninja", "-S", arguments.source, "-B", build, "-DCMAKE_CXX_COMPILER=" + arguments.cxx,
                           "-DCMAKE_C_COMPILER=" + arguments.cc, *options], capture_output=True, text=True)


def report(title, problems, output):
    global passed, failed
    if problems:
        failed += 1
        print(f"FAILED  {title}: {problems}\n{output[-1500:]}")
    else:
        passed += 1
        print(f"ok      {title}")


def expect(title, words, *options):
    """The step fails with one error that says the words."""
    result = configure(title, options)
    text = " ".join(result.stderr.split())
    problems = [word for word in words if word not in text]
    if result.returncode == 0:
        problems.append("(the step did not fail)")
    if result.stderr.count("CMake Error") != 1:
        problems.append(f"({result.stderr.count('CMake Error')} errors instead of one)")
    report(title, problems, result.stderr)


def expect_said(title, words, said, *options):
    """The step succeeds, and says the words or does not."""
    result = configure(title, options)
    problems = [] if result.returncode == 0 else [f"(code {result.returncode})"]
    if (words in result.stdout) != said:
        problems.append(words)
    report(title, problems, result.stdout + result.stderr)


serial = os.path.join(folder, "serial")
make(os.path.join(serial, "include", "hdf5.h"), "typedef long hid_t; typedef int herr_t;\n")
library(os.path.join(serial, "lib", "libhdf5.so"), "extern \"C\" int H5Pcreate(int) { return 0; }\n")
expect("serial HDF5", ["Found a serial HDF5", "libhdf5-openmpi-dev", "HDF5_ROOT"], "-DHDF5_ROOT=" + serial)
expect("no HDF5 where HDF5_ROOT points", ["has no include/hdf5.h", "HDF5_ROOT"], "-DHDF5_ROOT=" + os.path.join(folder, "nothing"))
expect("no MPI", ["No MPI found", "libopenmpi-dev", "MPI_HOME"], "-DCMAKE_DISABLE_FIND_PACKAGE_MPI=ON")
old = os.path.join(folder, "old_torch")
make(os.path.join(old, "include", "ATen", "ATen.h"))
check_fail = "#include <string>\nnamespace c10 { namespace detail { void torchCheckFail(const char*, const char*, unsigned int, const std::string&) {} } }\n"
library(os.path.join(old, "lib", "libc10.so"), check_fail, "-D_GLIBCXX_USE_CXX11_ABI=0")
library(os.path.join(old, "lib", "libtorch_cpu.so"), "int unused;\n")
expect("libtorch of the old ABI", ["new C++ ABI", "cxx11 ABI", "jobs/local/setup.sh"], "-DPVA_LIBTORCH=" + old)
expect("no libtorch", ["libtorch not found", "jobs/local/setup.sh", "PVA_LIBTORCH"], "-DPVA_LIBTORCH=" + os.path.join(folder, "nothing"))
# A wheel's CUDA headers without those that they include: the optional library is left out, all else is built.
torch = os.path.join(folder, "torch")
for header in ("ATen/ATen.h", "ATen/cuda/CUDAGraph.h", "torch/csrc/api/include/torch/all.h"):
    make(os.path.join(torch, "include", header))
make(os.path.join(torch, "include", "torch", "headeronly", "version.h"), "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 11\n#define TORCH_VERSION_PATCH 0\n")
library(os.path.join(torch, "lib", "libc10.so"), check_fail)
for name in ("torch_cpu", "torch_cuda", "c10_cuda", "cudart"):
    library(os.path.join(torch, "lib", f"lib{name}.so"), "int unused;\n")
headers = os.path.join(folder, "headers")
make(os.path.join(headers, "cuda_runtime_api.h"))
left_out = "--cuda-graphs will not be there"
expect_said("CUDA headers without crt", left_out, True, "-DPVA_LIBTORCH=" + torch, "-DPVA_CUDA_INCLUDE=" + headers)
make(os.path.join(headers, "crt", "host_config.h"))
expect_said("whole CUDA headers", left_out, False, "-DPVA_LIBTORCH=" + torch, "-DPVA_CUDA_INCLUDE=" + headers)
shutil.rmtree(folder)
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
