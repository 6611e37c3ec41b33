"""Which part may use which: the include table of the core and the import table of the package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Folder of src/ -> other folders whose headers it may include. include/smartcache is for all.
LEAVES = {"base", "key", "entry", "tags"}
STAGES = {"l1", "l2", "flight", "backplane"}
INCLUDES: dict[str, set[str]] = {
    "base": set(),
    **{leaf: {"base"} for leaf in LEAVES - {"base"}},
    **dict.fromkeys(STAGES, LEAVES),
    "backplane": LEAVES | {"l2"},  # listens to the servers that the store writes to
    "tls": LEAVES | {"l2"},  # itself of the base alone; its tests have servers
    "cache": LEAVES | STAGES,
    "python": LEAVES | STAGES | {"cache", "tls"},
}

# Module or package (the longest name that fits counts) -> its row; imports go to the same row or
# to one above it. The package itself gathers what users import, so it is in the last.
ROWS = (
    ("_core", "conf", "exceptions", "handles", "logs", "orm.switches"),
    (
        *("identities", "keys", "namesakes", "prefixes", "process", "records", "request_items"),
        *(
            "levels",
            "serializers",
            "waiting",
            "orm.dependencies",
            "orm.scopes",
            "orm.state",
            "orm.tables",
        ),
    ),
    (
        *("computing", "explicit", "invalidation", "locks", "orm", "page_keys", "page_privacy"),
        *("recording", "request_session", "responses"),
    ),
    ("api", "decorators", "middleware", "views"),
    ("", "apps", "checks", "management"),
)


def include_violations(path: str, text: str) -> Iterator[str]:
    """Yield what a C++ file of this path, relative to the root, includes and must not."""
    parts = Path(path).parts
    folder = parts[1] if parts[0] == "src" else None
    for name in re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)', text, re.MULTILINE):
        if name == "Python.h" or name.startswith("nanobind/"):
            allowed = folder == "python"
        elif name.startswith("openssl/"):
            allowed = folder == "tls"
        else:
            owner = name.split("/")[0]
            ours = owner in INCLUDES
            allowed = not ours or (folder is not None and owner in {folder, *INCLUDES[folder]})
        if not allowed:
            yield f"{path} includes {name}"


def import_violations(module: str, text: str) -> Iterator[str]:
    """Yield what a module of the package, named relative to it, imports and must not."""
    for name in sorted(set(_imported(module, ast.parse(text)))):
        if _row(name) > _row(module):
            yield f"{module or '__init__'} imports {name or 'the package'}"


def _imported(module: str, tree: ast.AST) -> Iterator[str]:
    for node in _outside_type_checking(tree):
        names: Iterable[str] = ()
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = ["djsmartcache", *module.split(".")][: -node.level]
                base = ".".join(filter(None, [*above, base]))
            # `from djsmartcache import conf` imports a module, `from .conf import x` a name of it.
            joined = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if _is_module(name) else base for name in joined]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "djsmartcache":
                yield rest


def _outside_type_checking(tree: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _outside_type_checking(child)


def _is_module(name: str) -> bool:
    if any(name == f"djsmartcache.{named}" for row in ROWS for named in row):
        return True
    path = ROOT.joinpath("python", *name.split("."))
    return path.is_dir() or any(path.with_suffix(end).exists() for end in (".py", ".pyi"))


def _row(module: str) -> int:
    named = {name: row for row, names in enumerate(ROWS) for name in names}
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        row = named.get(".".join(parts[:length]))
        if row is not None:
            return row
    raise AssertionError(f"{module} has no row yet: name it in ROWS")


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / "python" / "djsmartcache").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def test_every_include_goes_the_one_way() -> None:
    files = [p for top in ("src", "include") for p in (ROOT / top).rglob("*.[hc]*")]
    assert files
    found = [
        violation
        for path in files
        for violation in include_violations(str(path.relative_to(ROOT)), path.read_text())
    ]
    assert not found, "\n".join(found)


def test_every_import_goes_the_one_way() -> None:
    files = list((ROOT / "python" / "djsmartcache").rglob("*.py"))
    assert files
    found = [
        violation
        for path in files
        for violation in import_violations(_module_name(path), path.read_text())
    ]
    assert not found, "\n".join(found)


def test_every_row_names_what_is_there() -> None:
    folders = {path.name for path in (ROOT / "src").iterdir() if path.is_dir()}
    assert folders == INCLUDES.keys()
    modules = {_module_name(path) for path in (ROOT / "python" / "djsmartcache").rglob("*.py*")}
    assert {name for row in ROWS for name in row} <= modules


def test_the_map_names_every_module() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    (section,) = re.findall(
        r"^## The modules of the package$(.*?)^[^|\n]", text, re.MULTILINE | re.DOTALL
    )
    cells = re.findall(r"^\| (`.+?) \| ", section, re.MULTILINE)
    names = [name for cell in cells for name in re.findall(r"`([\w/]+)`", cell)]
    modules = {_module_name(path) for path in (ROOT / "python" / "djsmartcache").rglob("*.py")}
    assert sorted(name.replace("/", ".") for name in names) == sorted(modules - {"", "orm"})


@pytest.mark.parametrize(
    ("path", "line", "allowed"),
    [
        ("src/l1/table.h", '#include "tags/slots.h"', True),
        ("src/l1/table.h", '#include "smartcache/store.h"', True),
        ("src/l1/table.h", "#include <lmdb.h>", True),
        ("src/l1/table.h", '#include "l2/redis/pool.h"', False),
        ("src/key/plan.cpp", '#include "entry/header.h"', False),
        ("src/base/hash.h", '#  include "key/plan.h"', False),
        ("src/cache/cache.cpp", '#include "python/module.h"', False),
        ("src/cache/cache.cpp", "#include <Python.h>", False),
        ("src/cache/cache.cpp", "#include <nanobind/nanobind.h>", False),
        ("src/cache/cache.cpp", "#include <openssl/ssl.h>", False),
        ("src/l2/redis/pool.h", '#include "tls/context.h"', False),
        ("src/l2/redis/pool.h", '#include "smartcache/tls.h"', True),
        ("src/tls/context.cpp", "#include <openssl/ssl.h>", True),
        ("src/python/module.cpp", "#include <Python.h>", True),
        ("include/smartcache/tag.h", '#include "base/hash.h"', False),
    ],
)
def test_a_wrong_include_is_found(path: str, line: str, allowed: bool) -> None:
    assert bool(list(include_violations(path, f"#pragma once\n{line}\n"))) != allowed


@pytest.mark.parametrize(
    ("module", "line", "allowed"),
    [
        ("keys", "from djsmartcache.conf import settings", True),
        ("keys", "from djsmartcache import _core, conf", True),
        ("orm.reads", "from .dependencies import Computation", True),
        ("apps", "from . import checks", True),
        ("conf", "from djsmartcache.keys import render", False),
        ("conf", "def late():\n    from djsmartcache import apps", False),
        ("orm.dependencies", "from .reads import hook", False),
        ("orm.dependencies", "import djsmartcache.orm.reads", False),
        ("views", "from .page_keys import PageKeys", True),
        ("page_keys", "from .views import CachedView", False),
        ("api", "from djsmartcache import cache_get", False),
        ("api", "if TYPE_CHECKING:\n    from djsmartcache import apps", True),
    ],
)
def test_a_wrong_import_is_found(module: str, line: str, allowed: bool) -> None:
    assert bool(list(import_violations(module, line))) != allowed
