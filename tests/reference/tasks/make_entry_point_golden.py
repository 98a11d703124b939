"""Golden entry points by Python's own parser, for tests/unit/tasks.

usage: make_entry_point_golden.py MBPP.jsonl SANITIZED.json OUTPUT_DIR

The entry point of a problem is found from the solution and the tests together: among the names that the module-level
definitions of the reference solution bind, the one whose call stands outermost in the first test. The program under
test sees the tests alone.
"""
import ast
import json
import pathlib
import sys
import warnings


def bound_names(code):
    return {node.name for node in ast.parse(code).body
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}


def outermost(node, names):
    """Breadth first, left to right."""
    level = [node]
    while level:
        below = []
        for n in level:
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in names:
                return n.func.id
            below.extend(ast.iter_child_nodes(n))
        level = below
    return ""


def entry_points(rows):
    result = {}
    for row in rows:
        code = row["code"].replace("\r\n", "\n").replace("\r", "\n")
        result[row["task_id"]] = outermost(ast.parse(row["test_list"][0]), bound_names(code))
    return [[task_id, result[task_id]] for task_id in sorted(result)]


def main():
    warnings.simplefilter("ignore")
    mbpp = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
    sanitized = json.load(open(sys.argv[2], encoding="utf-8"))
    golden = {"made_with": {"python": sys.version.split()[0]},
              "mbpp": entry_points(mbpp), "sanitized": entry_points(sanitized)}
    path = pathlib.Path(sys.argv[3]) / "entry_points.json"
    path.write_text(json.dumps(golden) + "\n", encoding="utf-8")


main()
