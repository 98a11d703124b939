"""Cyclomatic complexity by the rules of radon 6.0.1, with the standard library only.

Reads a JSON array of Python sources from standard input, writes a JSON array of integers: for each source the largest
complexity of its functions, methods and classes; 1 when it has none or does not parse.
"""
import ast
import json
import sys
import warnings


class Counts:
    """What one piece of the tree adds to the block around it, and the blocks found in it."""

    def __init__(self):
        self.decisions = 0
        self.functions = []  # complexity of each function found, closures of those not included
        self.classes = []  # reported complexities of each class found: its own, then those of its methods


def own_decisions(node):
    if isinstance(node, (ast.If, ast.IfExp)):
        return 1
    if isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
        return 1 + bool(node.orelse)
    if isinstance(node, ast.Try):
        return len(node.handlers) + bool(node.orelse)
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    if isinstance(node, getattr(ast, "Match", ())):
        # `case _` and `case name` have a pattern that matches anything; a guard does not change that for radon.
        catch_all = any(getattr(case.pattern, "pattern", False) is None for case in node.cases)
        return max(0, len(node.cases) - catch_all)
    return 0


def count(node, counts):
    """Adds the subtree to counts. An explicit stack, because long chains of operators make deep trees."""
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            # Decorators, defaults and annotations are not visited; functions and classes inside are not added.
            inner = Counts()
            for child in node.body:
                count(child, inner)
            counts.functions.append(1 + inner.decisions)
        elif isinstance(node, ast.ClassDef):
            inner = Counts()
            for child in node.body:
                count(child, inner)
            methods = inner.functions
            real = 1 + inner.decisions + sum(methods)
            reported = real // len(methods) + (len(methods) > 1) if methods else real
            counts.classes.append([reported] + methods)
        elif isinstance(node, ast.Assert):
            counts.decisions += 1  # its expression is not visited
        else:
            counts.decisions += own_decisions(node)
            stack.extend(ast.iter_child_nodes(node))


def complexity(source):
    try:
        tree = ast.parse(source)
        counts = Counts()
        count(tree, counts)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 1
    return max(counts.functions + [block for blocks in counts.classes for block in blocks], default=1)


def main():
    warnings.simplefilter("ignore")  # invalid escapes in old sources are no fault here
    sources = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    print(json.dumps([complexity(source) for source in sources]))


main()
