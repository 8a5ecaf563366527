"""Does this Python code run and pass its asserts, without being able to harm us?

Three walls, each enough for the accidents, together for the attacks:
1. `refusal` reads the syntax tree and refuses, unrun, what a small exercise never needs: imports outside a short list,
   underscore attributes, frames, `open`, `exec`, `getattr`, special methods that could fake a comparison.
2. The child has a short list of builtins, no environment, an empty directory, and hard limits on CPU time, memory,
   file size, open files and processes; as root it becomes nobody first, since limits on processes do not bind root.
3. The parent kills the child's whole process group at a deadline, whatever it does.

What this does NOT do: it is no container. Code that would need one is refused by the first wall.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from typing import Literal

MAX_SOURCE_CHARS = 10_000
CPU_S = 2
WALL_S = 10.0
MEMORY_BYTES = 256 * 1024 * 1024

#: what the child says; any other way to end (a limit, a signal) leaves the question open
PASSED, FAILED = 41, 42
Verdict = Literal["passed", "failed", "unknown"]

MODULES = frozenset(
    ("math", "itertools", "functools", "collections", "heapq", "bisect", "string", "re", "typing", "statistics",
     "fractions", "decimal", "json")
)  # fmt: skip
#: the only special methods a small class may define; __eq__ or __bool__ could satisfy an assert by lying
_SPECIAL = frozenset(
    ("__init__", "__repr__", "__str__", "__len__", "__iter__", "__next__", "__getitem__", "__contains__")
)
#: what the child can call. Code that uses any other builtin is refused: a name we took away must not make it "failed"
BUILTINS = frozenset(
    ("abs", "all", "any", "bin", "bool", "bytes", "callable", "chr", "dict", "divmod", "enumerate", "filter",
     "float", "format", "frozenset", "hash", "hex", "int", "isinstance", "issubclass", "iter", "len", "list",
     "map", "max", "min", "next", "oct", "ord", "pow", "print", "range", "repr", "reversed", "round", "set",
     "slice", "sorted", "str", "sum", "tuple", "zip", "True", "False", "None", "NotImplemented", "property",
     "staticmethod", "classmethod")
)  # fmt: skip
_EXCEPTIONS = frozenset(n for n, v in vars(builtins).items() if isinstance(v, type) and issubclass(v, Exception))
_NAMES = frozenset(vars(builtins)) - BUILTINS - _EXCEPTIONS
#: doors out of the namespace: frames and code objects, string evaluation, and the standard library's own imports
_ATTRIBUTES = frozenset(
    ("gi_frame", "gi_code", "cr_frame", "cr_code", "ag_frame", "ag_code", "f_back", "f_globals", "f_locals",
     "f_builtins", "f_code", "tb_frame", "tb_next", "get_type_hints", "ForwardRef", "stdlib_re")
) | (sys.stdlib_module_names - {"copy", "string"})  # fmt: skip

_HARNESS = f"""
import os, resource, sys
source = sys.stdin.buffer.read().decode()
modules = {{name: __import__(name) for name in {sorted(MODULES)!r}}}
def bring(name, globals=None, locals=None, fromlist=(), level=0):
    if level or name not in modules:
        raise ImportError(name)
    return modules[name]
import builtins
space = {{name: getattr(builtins, name) for name in {sorted(BUILTINS | _EXCEPTIONS)!r}}}
space |= {{"__import__": bring, "__build_class__": builtins.__build_class__}}
namespace = {{"__builtins__": space, "__name__": "answer"}}
if os.getuid() == 0:
    try:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    except OSError:
        pass  # a user namespace without nobody: the other limits hold
for limit, value in (("CPU", {CPU_S}), ("AS", {MEMORY_BYTES}), ("FSIZE", 0), ("NOFILE", 16), ("NPROC", 0), ("CORE", 0)):
    kind = getattr(resource, "RLIMIT_" + limit, None)
    if kind is not None:
        try:
            resource.setrlimit(kind, (value, value))
        except (OSError, ValueError):
            pass  # macOS knows RLIMIT_AS and does not allow it to be set
try:
    exec(compile(source, "answer", "exec"), namespace)
except MemoryError:
    os._exit(43)
except BaseException:
    os._exit({FAILED})
os._exit({PASSED})
"""


def refusal(tree: ast.AST) -> str | None:  # noqa: C901 - one flat case for each kind of node
    """Why this code is not run, or None when it may be."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                bad = [alias.name for alias in names if alias.name not in MODULES]
            case ast.ImportFrom(module=module, names=names, level=level):
                bad = [str(module)] if level or module not in MODULES else []
                bad += [alias.name for alias in names if _closed(alias.name) or alias.name == "*"]
            case ast.Attribute(attr=name):
                bad = [name] if _closed(name) else []
            case ast.Name(id=name):
                bad = [name] if name in _NAMES or name.startswith("__") else []
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bad = [name] if name.startswith("__") and name not in _SPECIAL else []
            case ast.keyword(arg=str(name)) | ast.arg(arg=name):
                bad = [name] if name.startswith("__") else []
            case ast.MatchClass(kwd_attrs=names_matched):
                bad = [name for name in names_matched if _closed(name)]
            case ast.Constant(value=str(text)):
                # str.format reads attributes named in a string
                bad = ["a format string that reads attributes"] if "{" in text and "__" in text else []
            case ast.AsyncFor() | ast.AsyncWith() | ast.Await():
                bad = ["async"]
            case _:
                continue
        if bad:
            return bad[0]
    return None


def _closed(name: str) -> bool:
    return name.startswith("_") or name in _ATTRIBUTES


def run(source: str) -> Verdict:
    """Run `source` in the child: "passed" when it ends by itself, "failed" when it raises, else "unknown".

    A limit that struck (time, memory, a signal) is "unknown": how slow this machine is must not decide a dataset.
    """
    # -I would also ignore the fixed hash seed, and then the order of a set could decide a dataset; the environment is
    # ours alone, so there is nothing else in it to ignore
    command = [sys.executable, "-P", "-s", "-S", "-c", _HARNESS]
    with tempfile.TemporaryDirectory(prefix="reactord-code-") as directory:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=directory, env={"PYTHONHASHSEED": "0"}, start_new_session=True, close_fds=True,
        )  # fmt: skip
        try:
            child.communicate(source.encode(errors="replace"), timeout=WALL_S)
        except subprocess.TimeoutExpired:
            return "unknown"
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)  # also grandchildren that outlived their parent
            child.wait(timeout=WALL_S)
    return {PASSED: "passed", FAILED: "failed"}.get(child.returncode, "unknown")  # type: ignore[return-value]


def verdict(code: str, asserts: str) -> Verdict:
    """Does `code` compile and pass `asserts`? Code that does not compile has failed; code we refuse is "unknown"."""
    if len(code) + len(asserts) > MAX_SOURCE_CHARS:
        return "unknown"
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return "failed"
    except (ValueError, RecursionError, MemoryError):  # NUL bytes; nesting meant to exhaust the parser
        return "unknown"
    try:
        wanted = ast.parse(asserts)
        if refusal(tree) or refusal(wanted):
            return "unknown"
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "unknown"
    return run(f"{code}\n{asserts}\n") if asserts else "unknown"
