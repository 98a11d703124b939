#!/usr/bin/env python3
"""Keeps the house: which room may include what, checked calls, first lines, no machine's paths.

    lint.py CHECK [--root DIR]     CHECK: layers, calls, paths, comments
    lint.py self-test              every check finds a made-up fault and passes a made-up good tree

Prints one line a fault, as FILE:LINE: what is wrong. Exit code 0: none, 1: some, 2: wrong usage.
The floors are those of docs/architecture.md. Needs nothing but Python 3.
"""
import argparse
import os
import re
import sys
import tempfile

# --- the plan of the house -------------------------------------------------------------------------------------------
FLOORS = {
    "core": 0,
    "mpi": 1, "io": 1,
    "kernels": 2, "exec": 2, "text": 2, "stats": 2,
    "model": 3, "sae": 3, "tasks": 3,
    "capture": 4, "sae_aten": 4, "analysis": 4, "generate": 4, "train": 4,
    "phases": 5,
    "apps": 6,
}
# Rooms of one floor that may include each other, in one direction only.
SAME_FLOOR = {("io", "mpi"): "result files are written by all ranks together"}

# What a room must not know: other rooms, and library headers, directly or through any pva header it includes.
TORCH = r"(ATen|torch|c10)/"
MPI = r"mpi\.h$"
HDF5 = r"hdf5\w*\.h$"
NOT_ROOMS = {
    "stats": {"mpi", "io", "kernels", "exec", "text"},
    "text": {"io", "mpi"},
    "exec": {"io", "mpi"},
    "kernels": {"io", "mpi"},
    "tasks": {"io", "mpi", "model"},
    "sae": {"model", "mpi"},
    "model": {"mpi"},
    "capture": {"tasks", "io", "mpi"},
    "sae_aten": {"tasks", "io", "mpi"},
    "analysis": {"io", "mpi"},
    "generate": {"tasks", "sae", "io", "mpi"},
    "train": {"model", "tasks", "mpi"},
    "mpi": {"io"},
}
RESULT_FILES = {"pva/io/result_file.h", "pva/io/reader.h"}
TORCH_ROOMS = {"model", "generate", "capture", "sae_aten", "train"}  # all others never see torch
# Rooms that can be built and tested without MPI and HDF5, through whatever they include.
WITHOUT_MPI = {"core", "stats", "text", "exec", "kernels", "tasks", "model", "sae", "analysis", "capture", "sae_aten", "generate", "train"}
# Library headers that stand in these folders only.
HOMES = {MPI: {"include/pva/mpi", "src/mpi"}, HDF5: {"include/pva/io", "src/io"}}

# Calls outside the checked path, each with its reason. Every entry must still be true: file, function, number.
BARE_MPI = [
    ("src/mpi/check.cpp", "MPI_Error_string", 1, "makes the message of the checked path itself"),
    ("src/mpi/environment.cpp", "MPI_Init_thread", 1, "handed to check() by hand: the same path, spelled out"),
    ("src/mpi/environment.cpp", "MPI_Abort", 1, "the end; nobody is left to tell"),
    ("src/mpi/environment.cpp", "MPI_Finalized", 1, "in a destructor, which must not throw"),
    ("src/mpi/environment.cpp", "MPI_Finalize", 1, "in a destructor, which must not throw"),
    ("src/mpi/communicator.cpp", "MPI_Finalized", 1, "in a destructor, which must not throw"),
    ("src/mpi/communicator.cpp", "MPI_Comm_free", 1, "in a destructor, which must not throw"),
]
BARE_H5 = [
    ("src/io/h5.cpp", "H5dont_atexit", 1, "may fail when the library runs already; harmless"),
    ("src/io/h5.cpp", "H5Eset_auto2", 1, "silences printing; the stack is put into the message instead"),
    ("src/io/h5.cpp", "H5Ewalk2", 1, "makes the message of the checked path itself"),
    ("src/io/h5.cpp", "H5Eclear2", 2, "empties the stack after it was read or is not wanted"),
    ("src/io/h5.cpp", "H5Fclose", 1, "one function closes all kinds; its callers look at the code"),
    ("src/io/h5.cpp", "H5Gclose", 1, "as H5Fclose"),
    ("src/io/h5.cpp", "H5Dclose", 1, "as H5Fclose"),
    ("src/io/h5.cpp", "H5Sclose", 1, "as H5Fclose"),
    ("src/io/h5.cpp", "H5Pclose", 1, "as H5Fclose"),
    ("src/io/h5.cpp", "H5Tclose", 1, "as H5Fclose"),
    ("src/io/h5.cpp", "H5Aclose", 1, "as H5Fclose"),
    ("src/io/h5.cpp", "H5Fis_hdf5", 1, "its failure is the user's input: InputError with other words"),
    ("src/io/h5.cpp", "H5Fopen", 1, "as H5Fis_hdf5, for reading"),
    ("src/io/h5.cpp", "H5Dopen2", 1, "as H5Fis_hdf5"),
    ("src/io/h5.cpp", "H5Lexists", 1, "a missing group on the way means: not there"),
    ("src/io/h5.cpp", "H5Tget_size", 2, "returns a size, 0 for failure, no code"),
    ("src/io/h5.cpp", "H5Dget_storage_size", 1, "returns a size, 0 for failure, which is refused"),
]

# Words that name one person's machine or a package registry's address; split so that this file does not hold them.
MACHINE_PATHS = re.compile(r"(?<![\w.~})-])/(?:ro" r"ot|wo" r"rk|ho" r"me/\w+|tmp/p" r"va|Us" r"ers/\w+)(?=/|\b)(?![\w-])")
REGISTRIES = re.compile(
    r"py" r"pi\.org|pythonho" r"sted\.org|download\.pyt" r"orch\.org|deb\.deb" r"ian\.org|archive\.ub" r"untu\.com|conda\.ana" r"conda\.org"
    r"|repo\.ana" r"conda\.com|arti" r"factory|proxy\.gol" r"ang\.org|registry\.n" r"pmjs|docker\.i" r"o\b|gh" r"cr\.io|qu" r"ay\.io"
    r"|--(?:extra-)?index" r"-url|PIP_(?:EXTRA_)?INDEX" r"_URL", re.IGNORECASE)
# (file, text that the line holds): reason.
PATHS_ALLOWED = {
    ("src/exec/server.cpp", "/proc/"): "the root of another process's mount namespace, a path of the kernel",
}
SKIPPED_FOLDERS = {".git", "build", "__pycache__", "phase0", "phase1_0", "phase1_1", "phase1_2", "phase2", "phase3", "evaluate", "logs"}

CPP = (".h", ".cpp")


# --- reading ---------------------------------------------------------------------------------------------------------
def files_under(root, folders, endings):
    """Paths relative to root, sorted."""
    found = []
    for folder in folders:
        for at, dirs, names in os.walk(os.path.join(root, folder)):
            dirs[:] = sorted(d for d in dirs if d not in SKIPPED_FOLDERS)
            for name in sorted(names):
                if name == ".git":
                    continue  # of a second working tree: a path of this machine by its nature
                if endings is None or name.endswith(endings):
                    found.append(os.path.relpath(os.path.join(at, name), root))
    return sorted(set(found))


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def room_of(path):
    """Room of a source or header; None for what belongs to none (tests)."""
    parts = path.split("/")
    if parts[:2] == ["include", "pva"] and len(parts) > 3:
        return parts[2]
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return None


TOKENS = re.compile(r'//[^\n]*|/\*.*?\*/|R"([^()\\ ]{0,16})\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)


def without_comments_and_texts(source):
    """The same number of characters and lines, comments and string literals blanked. Digit separators (1'000) survive."""
    def blank(match):
        text = match.group(0)
        if text[0] == "'" and match.start() > 0 and source[match.start() - 1].isdigit():
            return text
        return re.sub(r"[^\n]", " ", text)
    return TOKENS.sub(blank, source)


def without_comments(source):
    def blank(match):
        text = match.group(0)
        return re.sub(r"[^\n]", " ", text) if text.startswith(("//", "/*")) else text
    return TOKENS.sub(blank, source)


INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def includes_of(root, path):
    """(line number, name) of each include."""
    source = without_comments(read(root, path))
    return [(source.count("\n", 0, m.start()) + 1, m.group(2)) for m in INCLUDE.finditer(source)]


# --- layers ----------------------------------------------------------------------------------------------------------
def check_layers(root):
    faults = []
    paths = files_under(root, ["include", "src"], CPP)
    includes = {path: includes_of(root, path) for path in paths}
    for path in paths:
        room = room_of(path)
        if room not in FLOORS:
            faults.append(f"{path}:1: the room '{room}' is not in the plan of the house (FLOORS in tests/lint/lint.py, docs/architecture.md)")
            continue
        for line, name in includes[path]:
            faults += layer_faults(root, path, room, line, name)
        faults += closure_faults(path, room, includes)
    faults += circles(includes)
    return faults


def layer_faults(root, path, room, line, name):
    faults = []
    if name.startswith("pva/"):
        other = name.split("/")[1]
        generated = name == "pva/core/build_info.h"
        if other not in FLOORS:
            faults.append(f"{path}:{line}: includes {name}, of no known room")
        elif not generated and not os.path.exists(os.path.join(root, "include", name)):
            faults.append(f"{path}:{line}: includes {name}, which is not there")
        elif other != room and FLOORS[other] >= FLOORS[room] and (room, other) not in SAME_FLOOR:
            faults.append(f"{path}:{line}: {room} (floor {FLOORS[room]}) includes {name} (floor {FLOORS[other]}); lower floors only")
        if other in NOT_ROOMS.get(room, set()):
            faults.append(f"{path}:{line}: {room} must not know {other} (includes {name})")
        if name in RESULT_FILES and FLOORS[room] < FLOORS["phases"] and room != "io":
            faults.append(f"{path}:{line}: {room} must not know result files (includes {name})")
    if room not in TORCH_ROOMS and re.match(TORCH, name):
        faults.append(f"{path}:{line}: {room} must not know torch (includes {name})")
    for pattern, homes in HOMES.items():
        if re.search(pattern, name) and not name.startswith("pva/") and os.path.dirname(path) not in homes:
            faults.append(f"{path}:{line}: includes {name}; only {' and '.join(sorted(homes))} may")
    return faults


def closure_faults(path, room, includes):
    """What comes in through other pva headers."""
    faults = []
    seen = {}
    stack = [(path, [path])]
    while stack:
        at, way = stack.pop()
        for _, name in includes.get(at, []):
            if name.startswith("pva/"):
                header = "include/" + name
                if header not in seen:
                    seen[header] = way + [header]
                    stack.append((header, way + [header]))
            elif len(way) > 1:
                through = " through " + " -> ".join(way[1:])
                if room in WITHOUT_MPI and (re.search(MPI, name) or re.search(HDF5, name)):
                    faults.append(f"{path}:1: {room} must do without {name}, which it gets{through}")
                if room not in TORCH_ROOMS and room not in {"phases", "apps"} and re.match(TORCH, name):
                    faults.append(f"{path}:1: {room} must not know torch, but gets {name}{through}")
                if room in {"phases", "apps"} and re.match(TORCH, name):
                    faults.append(f"{path}:1: tensors stay below {room}, but it gets {name}{through}")
    return faults


def circles(includes):
    """One line for each circle of headers."""
    faults = []
    state = {}

    def visit(header, way):
        state[header] = "open"
        for _, name in includes.get(header, []):
            other = "include/" + name
            if other not in includes:
                continue
            if state.get(other) == "open":
                circle = way[way.index(other):] + [other]
                faults.append(f"{header}:1: headers include each other in a circle: {' -> '.join(circle)}")
            elif other not in state:
                visit(other, way + [other])
        state[header] = "done"

    for header in sorted(includes):
        if header.startswith("include/") and header not in state:
            visit(header, [header])
    return faults


# --- calls -----------------------------------------------------------------------------------------------------------
# MPI's profiling interface: these files stand for the functions themselves and hand their codes on.
MPI_WRAPPERS = {"tests/bench/mpi_clock.cpp"}
MPI_CALL = re.compile(r"\bP?MPI_[A-Z][A-Za-z0-9_]*[a-z][A-Za-z0-9_]*\s*\(")
H5_CALL = re.compile(r"\bH5[A-Z]{0,2}[a-z]\w*\s*\(")


def spans_of(code, macro):
    """Character ranges of the arguments of a macro."""
    spans = []
    for match in re.finditer(r"\b" + macro + r"\s*\(", code):
        depth = 0
        for at in range(match.end() - 1, len(code)):
            if code[at] == "(":
                depth += 1
            elif code[at] == ")":
                depth -= 1
                if depth == 0:
                    spans.append((match.end(), at))
                    break
    return spans


def bare_calls(code, pattern, macro):
    """(line, function) of each call that is not the macro's own argument: inside a lambda there, it would be bare again."""
    spans = spans_of(code, macro)
    result = []
    for match in pattern.finditer(code):
        inside = [span for span in spans if span[0] <= match.start() < span[1]]
        if inside and "{" not in code[max(span[0] for span in inside):match.start()]:
            continue
        result.append((code.count("\n", 0, match.start()) + 1, re.match(r"\w+", match.group(0)).group(0)))
    return result


def check_calls(root):
    faults = []
    for pattern, macro, exceptions, home in ((MPI_CALL, "PVA_MPI", BARE_MPI, "src/mpi"), (H5_CALL, "PVA_H5", BARE_H5, "src/io/h5.cpp")):
        found = {}
        for path in files_under(root, ["include", "src", "tests"], CPP):
            if path in MPI_WRAPPERS:
                continue
            code = re.sub(r"^[ \t]*#[ \t]*define\b.*$", lambda m: " " * len(m.group(0)), without_comments_and_texts(read(root, path)), flags=re.MULTILINE)
            lawful = path.startswith(home) or (macro == "PVA_MPI" and path.startswith("tests/mpi/"))
            calls = bare_calls(code, pattern, macro) if lawful else bare_calls(code, pattern, "NO_MACRO_HELPS_HERE")
            for line, function in calls:
                found.setdefault((path, function), []).append(line)
            for begin, _ in spans_of(code, macro):
                if not lawful:
                    faults.append(f"{path}:{code.count(chr(10), 0, begin) + 1}: {macro} stands in {home} only")
        allowed = {(path, function): number for path, function, number, _ in exceptions}
        for (path, function), lines in sorted(found.items()):
            number = allowed.get((path, function), 0)
            for line in lines[number:]:
                faults.append(f"{path}:{line}: {function} is called outside {macro}(...)" + ("" if path.startswith(home) else f" and outside {home}"))
        for (path, function), number in sorted(allowed.items()):
            if os.path.exists(os.path.join(root, path)) and len(found.get((path, function), [])) < number:
                faults.append(f"{path}:1: tests/lint/lint.py excuses {number} bare {function}, there are {len(found.get((path, function), []))}: take the excuse away")
    return faults


# --- paths -----------------------------------------------------------------------------------------------------------
def check_paths(root):
    faults = []
    for path in files_under(root, ["."], None):
        path = os.path.normpath(path)
        full = os.path.join(root, path)
        if os.path.islink(full) or not os.path.isfile(full):
            continue
        with open(full, "rb") as file:
            data = file.read()
        if b"\0" in data[:65536]:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            for pattern, what in ((MACHINE_PATHS, "a path of one machine"), (REGISTRIES, "the address of a package registry")):
                match = pattern.search(line)
                if match and not any(path == file and text in line for file, text in PATHS_ALLOWED):
                    faults.append(f"{path}:{number}: {what}: {match.group(0)}")
    return faults


# --- comments --------------------------------------------------------------------------------------------------------
def check_comments(root):
    faults = []
    for path in files_under(root, ["include", "src", "tests"], CPP):
        text = read(root, path)
        if not re.match(r"// ?\S", text):
            faults.append(f"{path}:1: the first line says in a comment what the file is for")
        once = re.search(r"^#pragma once$", text, re.MULTILINE)
        if path.endswith(".h"):
            first = INCLUDE.search(text)
            if not once:
                faults.append(f"{path}:1: a header holds `#pragma once`")
            elif first and first.start() < once.start():
                faults.append(f"{path}:1: `#pragma once` stands before the first include")
        elif once:
            faults.append(f"{path}:1: `#pragma once` is for headers")
    for path in files_under(root, ["include"], CPP):
        if not path.endswith(".h"):
            faults.append(f"{path}:1: include/ holds headers only")
    return faults


CHECKS = {"layers": check_layers, "calls": check_calls, "paths": check_paths, "comments": check_comments}


# --- self-test -------------------------------------------------------------------------------------------------------
GOOD = {
    "include/pva/core/a.h": "// A.\n#pragma once\n#include <string>\n",
    "include/pva/core/b.h": "// B.\n#pragma once\n#include \"pva/core/a.h\"\n",
    "include/pva/mpi/c.h": "// C.\n#pragma once\n#include <mpi.h>\n#include \"pva/core/a.h\"\n#define PVA_MPI(call) check((call), #call)\n",
    "include/pva/io/h.h": "// H.\n#pragma once\n#include <hdf5.h>\n#include \"pva/mpi/c.h\"\n",
    "include/pva/io/plain.h": "// Plain.\n#pragma once\n#include \"pva/core/a.h\"\n",
    "include/pva/model/m.h": "// M.\n#pragma once\n#include <ATen/ATen.h>\n#include \"pva/io/plain.h\"\n",
    "include/pva/generate/g.h": "// G.\n#pragma once\n#include \"pva/core/a.h\"\n",
    "include/pva/io/reader.h": "// R.\n#pragma once\n",
    "src/generate/g.cpp": "// G.\n#include \"pva/generate/g.h\"\n#include <ATen/ATen.h>\n#include \"pva/model/m.h\"\n",
    "src/phases/p.cpp": "// P, no MPI_Barrier( here.\n#include \"pva/io/h.h\"\n#include \"pva/generate/g.h\"\nconst char* text = \"H5Fopen(\"; /* MPI_Send( */\n",
    "src/mpi/c.cpp": "// C.\n#include \"pva/mpi/c.h\"\nvoid f() { PVA_MPI(MPI_Barrier(MPI_COMM_WORLD));\n PVA_MPI(MPI_Send(data(1, (2)), 1,\n MPI_INT64_T)); }\n",
    "src/io/h5.cpp": "// H.\n#include \"pva/io/h.h\"\n#define PVA_H5(call, where) checked((call), #call, (where))\n"
                     "#if H5_VERSION_GE(1, 12, 0)\n#endif\nvoid f() { Handle x(k, PVA_H5(H5Screate(H5S_SCALAR), w)); }\n"
                     "void g() { H5dont_atexit(); H5Eset_auto2(); H5Ewalk2(); H5Eclear2(); H5Eclear2(); H5Fclose(1); H5Gclose(1); H5Dclose(1); H5Sclose(1);\n"
                     "H5Pclose(1); H5Tclose(1); H5Aclose(1); H5Fis_hdf5(p); H5Fopen(p); H5Dopen2(p); H5Lexists(p); H5Tget_size(t); H5Tget_size(t); H5Dget_storage_size(d); }\n",
    "tests/unit/core/a_test.cpp": "// Test.\n#include \"pva/core/a.h\"\n",
    "docs/running.md": "Take phases/work.h or $HOME/root or ../work, https://example.org/work/a, a/root/b\n",
}

# (check, file, its text, words that the fault must hold)
BAD = [
    ("layers", "include/pva/core/bad.h", "// X.\n#pragma once\n#include \"pva/io/plain.h\"\n", "lower floors only"),
    ("layers", "include/pva/mpi/bad.h", "// X.\n#pragma once\n#include \"pva/io/plain.h\"\n", "lower floors only"),
    ("layers", "src/model/bad.cpp", "// X.\n#include \"pva/generate/g.h\"\n", "lower floors only"),
    ("layers", "src/io/bad.cpp", "// X.\n#include \"pva/model/m.h\"\n", "lower floors only"),
    ("layers", "src/attic/bad.cpp", "// X.\n", "not in the plan"),
    ("layers", "src/core/bad.cpp", "// X.\n#include \"pva/attic/x.h\"\n", "of no known room"),
    ("layers", "src/phases/bad.cpp", "// X.\n#include \"pva/core/gone.h\"\n", "which is not there"),
    ("layers", "include/pva/core/a.h", "// A.\n#pragma once\n#include \"pva/core/b.h\"\n", "in a circle"),
    ("layers", "include/pva/core/a.h", "// A.\n#pragma once\n#include \"pva/core/a.h\"\n", "in a circle"),
    ("layers", "src/stats/bad.cpp", "// X.\n#include \"pva/io/plain.h\"\n", "stats must not know io"),
    ("layers", "src/generate/bad.cpp", "// X.\n#include \"pva/io/plain.h\"\n", "generate must not know io"),
    ("layers", "src/generate/bad.cpp", "// X.\n#include \"pva/mpi/c.h\"\n", "generate must not know mpi"),
    ("layers", "src/model/bad.cpp", "// X.\n#include \"pva/io/h.h\"\n", "model must do without"),
    ("layers", "src/model/bad.cpp", "// X.\n#include \"pva/mpi/c.h\"\n", "model must not know mpi"),
    ("layers", "src/sae/bad.cpp", "// X.\n#include \"pva/mpi/c.h\"\n", "sae must not know mpi"),
    ("layers", "src/sae/bad.cpp", "// X.\n#include \"pva/io/reader.h\"\n", "must not know result files"),
    ("layers", "src/text/bad.cpp", "// X.\n#include <ATen/ATen.h>\n", "text must not know torch"),
    ("layers", "src/phases/bad.cpp", "// X.\n#  include <torch/torch.h>\n", "phases must not know torch"),
    ("layers", "src/phases/bad.cpp", "// X.\n#include \"pva/model/m.h\"\n", "tensors stay below phases"),
    ("layers", "src/phases/bad.cpp", "// X.\n#include <mpi.h>\n", "includes mpi.h; only"),
    ("layers", "src/phases/bad.cpp", "// X.\n#include <hdf5.h>\n", "includes hdf5.h; only"),
    ("layers", "src/mpi/bad.cpp", "// X.\n#include \"hdf5.h\"\n", "includes hdf5.h; only"),
    ("calls", "src/mpi/bad.cpp", "// X.\nvoid f() { MPI_Barrier(MPI_COMM_WORLD); }\n", "MPI_Barrier is called outside PVA_MPI(...)"),
    ("calls", "src/mpi/bad.cpp", "// X.\nvoid f() { PVA_MPI(run([] { MPI_Barrier(c); return 0; })); }\n", "MPI_Barrier is called outside"),
    ("calls", "src/phases/bad.cpp", "// X.\nvoid f() { PVA_MPI(MPI_Barrier(c)); }\n", "PVA_MPI stands in src/mpi only"),
    ("calls", "src/phases/bad.cpp", "// X.\nint f() { return PMPI_Send (1); }\n", "PMPI_Send is called outside"),
    ("calls", "tests/unit/core/bad.cpp", "// X.\nint f() { return MPI_Init(0, 0); }\n", "MPI_Init is called outside"),
    ("calls", "src/io/bad.cpp", "// X.\nint f() { return H5Fflush(1); }\n", "H5Fflush is called outside"),
    ("calls", "src/io/bad.cpp", "// X.\nint f() { return PVA_H5(H5Fflush(1), w); }\n", "PVA_H5 stands in src/io/h5.cpp only"),
    ("calls", "src/io/h5.cpp", GOOD["src/io/h5.cpp"] + "int h() { return H5open(); }\n", "H5open is called outside"),
    ("calls", "src/io/h5.cpp", GOOD["src/io/h5.cpp"] + "int h() { return H5Fopen(q); }\n", "H5Fopen is called outside"),
    ("calls", "src/io/h5.cpp", GOOD["src/io/h5.cpp"].replace("H5Lexists(p);", ""), "take the excuse away"),
    ("paths", "docs/bad.md", "Results are in /wo" "rk/data.\n", "path of one machine"),
    ("paths", "jobs/bad.sh", "cd '/ro" "ot/pva'\n", "path of one machine"),
    ("paths", "jobs/bad.sh", "cp x /tmp/p" "va/\n", "path of one machine"),
    ("paths", "cmake/bad.cmake", "set(X /ho" "me/somebody/x)\n", "path of one machine"),
    ("paths", "jobs/bad.sh", "pip install --index" "-url x torch\n", "package registry"),
    ("paths", "README.md", "from https://py" "pi.org/simple\n", "package registry"),
    ("comments", "src/core/bad.cpp", "#include <string>\n// Too late.\n", "first line says"),
    ("comments", "tests/unit/core/bad.cpp", "\n// Too late.\n", "first line says"),
    ("comments", "src/core/bad.cpp", "//\nint x;\n", "first line says"),
    ("comments", "include/pva/core/bad.h", "// X.\n#include <string>\n", "holds `#pragma once`"),
    ("comments", "include/pva/core/bad.h", "// X.\n#include <string>\n#pragma once\n", "before the first include"),
    ("comments", "src/core/bad.cpp", "// X.\n#pragma once\n", "is for headers"),
    ("comments", "include/pva/core/bad.cpp", "// X.\n", "headers only"),
]


def self_test():
    failures = []

    def run(check, tree):
        with tempfile.TemporaryDirectory() as root:
            for path, text in tree.items():
                full = os.path.join(root, path)
                os.makedirs(os.path.dirname(full), exist_ok=True)
                with open(full, "w", encoding="utf-8") as file:
                    file.write(text)
            return CHECKS[check](root)

    for check in CHECKS:
        faults = run(check, GOOD)
        if faults:
            failures.append(f"{check}: a good tree is refused: {faults}")
    for check, path, text, words in BAD:
        faults = run(check, {**GOOD, path: text})
        if not any(words in fault and path in fault for fault in faults):
            failures.append(f"{check}: {path} with {text!r}: wanted '{words}', got {faults}")
    for failure in failures:
        print(failure)
    print(f"{len(CHECKS)} checks, {len(BAD)} made-up faults, {len(failures)} not handled rightly")
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=[*CHECKS, "self-test"])
    parser.add_argument("--root", default=os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")))
    arguments = parser.parse_args()
    if arguments.check == "self-test":
        return self_test()
    if not os.path.isdir(os.path.join(arguments.root, "include", "pva")):
        parser.error(f"{arguments.root} is not the project (no include/pva)")
    faults = CHECKS[arguments.check](arguments.root)
    for fault in faults:
        print(fault)
    print(f"lint {arguments.check}: {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
