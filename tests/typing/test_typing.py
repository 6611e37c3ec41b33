"""The package as type checkers see it: its stub, and the types its users get."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from djsmartcache import _core

FOLDER = Path(__file__).parent
STUB = Path(_core.__file__ or "").with_name("_core.pyi")


def stub_differences(stub: str, module: Any) -> Iterator[str]:
    """Yield where names, and parameters of functions, differ: mypy's stubtest knows no nanobind."""
    tree = ast.parse(stub)
    yield from _names_differ("module", tree.body, vars(module))
    for node in tree.body:
        here = getattr(module, getattr(node, "name", ""), None)
        if isinstance(node, ast.ClassDef) and isinstance(here, type):
            yield from _names_differ(node.name, node.body, vars(here))
            for method in _functions(node.body):
                yield from _parameters_differ(method, vars(here).get(method.name), node.name)
        elif isinstance(node, ast.FunctionDef):
            yield from _parameters_differ(node, here, "module")


def _names_differ(owner: str, body: list[ast.stmt], runtime: Any) -> Iterator[str]:
    declared = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    declared |= {ast.unparse(node.target) for node in body if isinstance(node, ast.AnnAssign)}
    declared = {name for name in declared if not name.startswith("_")}
    present = {name for name in runtime if not name.startswith("_")}
    yield from (f"{owner}: {name} is in the stub only" for name in sorted(declared - present))
    yield from (f"{owner}: {name} is not in the stub" for name in sorted(present - declared))


def _functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
    return (node for node in body if isinstance(node, ast.FunctionDef))


def _parameters_differ(node: ast.FunctionDef, runtime: Any, owner: str) -> Iterator[str]:
    for signature, *_ in getattr(runtime, "__nb_signature__", ()):
        # nanobind writes a default that it keeps apart as a backslash and a number.
        text = f"{signature.replace(chr(92), '')}: ..."
        function = ast.parse(text).body[0]
        assert isinstance(function, ast.FunctionDef)
        if function.args.kwarg is None and _shape(function.args) != _shape(node.args):
            yield f"{owner}: {signature} is ({ast.unparse(node.args)}) in the stub"


def _shape(arguments: ast.arguments) -> tuple[list[str], list[str], int]:
    named = [argument.arg for argument in [*arguments.posonlyargs, *arguments.args]]
    by_keyword = [argument.arg for argument in arguments.kwonlyargs]
    optional = len(arguments.defaults) + sum(d is not None for d in arguments.kw_defaults)
    return named, by_keyword, optional


def test_the_stub_says_what_the_extension_has() -> None:
    found = list(stub_differences(STUB.read_text(), _core))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("def key_tag(key: ", "def key_tag(name: "),
        ("def key_tag(", "def key_tags("),
        ("class Lead", "class Leader"),
        ("    def fill(", "    def fills("),
        ("HIT: Final[int]", ""),
    ],
)
def test_a_wrong_stub_is_found(right: str, wrong: str) -> None:
    text = STUB.read_text()
    assert right in text
    assert list(stub_differences(text.replace(right, wrong, 1), _core))


@pytest.mark.skipif(
    find_spec("mypy_django_plugin") is None, reason="django-stubs is not made for this Python"
)
def test_users_get_types() -> None:
    """mypy also fails where an expected error of usage.py, an ignored one, is not found."""
    check = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "usage.py"]
    done = subprocess.run(
        check, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=FOLDER
    )
    assert done.returncode == 0, done.stdout
