"""One name for one thing: what no argument tells of a call, its key takes from a name.

So a name must not stand for two functions or two classes. The first of a name has it in this
process, until its module is loaded anew; what is made of the same code again is the same. See
docs/design/keys.md.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import weakref
from collections.abc import Callable, Iterator
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, Final

from django.views import View

_owners: dict[str, tuple[Any, Any, Any]] = {}
"""What each name stands for: how its module was loaded, the thing itself, what it is made of."""

_PLAIN: Final = frozenset({str, int, float, complex, bool, bytes, type(None)})


def full_name(cls: type) -> str:
    """Module and qualified name of a class."""
    return f"{cls.__module__}.{_qualified(cls)}"


def _qualified(cls: type) -> str:
    qualified = cls.__qualname__
    # REST framework's `api_view` renames the classes that it makes for functions.
    return qualified if qualified.rpartition(".")[2] == cls.__name__ else cls.__name__


def reachable(cls: type) -> bool:
    """Whether a class is what its name says: those that a function makes share one."""
    return _found(cls) is cls


def _found(cls: type) -> Any:
    found: Any = sys.modules.get(cls.__module__)
    for name in _qualified(cls).split("."):
        found = getattr(found, name, None)
    return found


def is_own(name: str, module: str, thing: Any) -> bool:
    """Whether a name stands for this function or class alone."""
    known = _owners.get(name)
    if known is not None and known[1]() is thing:
        return True
    # Another one for each time that a module is loaded: reloading replaces what it defines.
    load = getattr(sys.modules.get(module), "__spec__", None)
    made = _made_of(thing)
    if known is None or known[0] is not load:
        _owners[name] = load, _reference(thing), made
        return True
    return bool(known[2] == made)


def _reference(thing: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(thing)
    except TypeError:
        return lambda: None


def is_own_class(cls: type) -> bool:
    """Whether the name of a class stands for it alone."""
    found = _found(cls)
    if isinstance(found, type):
        return found is cls
    return is_own(full_name(cls), cls.__module__, cls)


def layers(function: Any) -> Iterator[Any]:
    """What a call goes through: partials, bound methods, what decorators have wrapped."""
    while function is not None:
        if isinstance(function, functools.partial):
            yield function
            function = function.func
        elif isinstance(function, MethodType):
            yield function
            function = function.__func__
        else:
            yield function
            function = getattr(function, "__wrapped__", None)


def of_view(function: Any) -> MethodType | None:
    """The method of a view that a call goes to, which `method_decorator` binds at each request."""
    for each in layers(function):
        if isinstance(each, MethodType) and isinstance(each.__self__, View):
            return each
    return None


def code_text(function: Any) -> str:
    """What tells code apart that is in no file: in a notebook or a shell a name is taken again.

    The same in each process of one version of Python. Nothing for code of files: they are what a
    deploy exchanges, and keys stay.
    """
    texts = [_text_of(each.__code__) for each in layers(function) if _in_no_file(each)]
    if not texts:
        return ""
    return "#" + hashlib.sha256("\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _in_no_file(function: Any) -> bool:
    return isinstance(function, FunctionType) and (
        "__file__" not in function.__globals__ or function.__code__.co_filename.startswith("<")
    )


def _text_of(code: CodeType) -> str:
    return repr(
        (
            code.co_code,
            code.co_names,
            code.co_varnames,
            code.co_freevars,
            code.co_cellvars,
            (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
            [_constant(each) for each in code.co_consts],
        )
    )


def _constant(value: Any) -> str:
    if isinstance(value, CodeType):
        return _text_of(value)
    if isinstance(value, frozenset):  # has no order
        return f"frozenset({sorted(map(repr, value))})"
    return repr(value)


# --- what is the same, made again


class _Same:
    """Equal to itself alone, whatever the object inside says."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.thing is other.thing

    def __repr__(self) -> str:
        return f"<{id(self.thing)}>"

    __hash__ = None  # type: ignore[assignment]


def _made_of(thing: Any) -> Any:
    """What is equal for things that do the same: code, and what it was given besides arguments."""
    if isinstance(thing, type):
        return _class(thing, set())
    found = list(layers(thing))
    if of_view(thing) is not None:  # made anew at each request, with objects of their own
        return [getattr(each, "__code__", None) for each in found]
    return [_layer(each, set(), loose=False) for each in found]


def _layer(function: Any, seen: set[int], loose: bool) -> Any:
    if isinstance(function, functools.partial | MethodType):
        return None  # what they hold is in the key
    code = getattr(function, "__code__", None)
    if code is None:
        return None if loose else _Same(function)
    held = [_held(value, seen, loose) for value in _cells(function)]
    if hasattr(function, "__wrapped__"):  # its own defaults are no arguments of the call
        held += [_held(function.__defaults__, seen, loose)]
        held += [_held(function.__kwdefaults__, seen, loose)]
    return code, held


def _cells(function: Any) -> list[Any]:
    """What a function took from the call that made it, itself and its class left out."""
    own = (function.__name__, "__class__")
    names = function.__code__.co_freevars
    cells = zip(names, function.__closure__ or (), strict=True)
    return [_content(cell) for name, cell in cells if name not in own]


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it has none yet
        return None


def _held(value: Any, seen: set[int], loose: bool) -> Any:
    """`loose`: what cannot be compared is taken for the same."""
    cls = type(value)
    if cls in _PLAIN:
        return cls, repr(value)
    if id(value) in seen:
        return None
    seen = seen | {id(value)}
    if cls in (tuple, list):
        return cls, [_held(part, seen, loose) for part in value]
    if cls is dict:
        return cls, [(_held(k, seen, loose), _held(v, seen, loose)) for k, v in value.items()]
    if cls in (set, frozenset):
        return cls, sorted(repr(_held(part, seen, True)) for part in value)
    if cls is functools.partial:
        return _held((value.func, value.args, value.keywords), seen, loose)
    if cls is MethodType:
        return _held((value.__func__, value.__self__), seen, loose)
    if cls is FunctionType:
        return [_layer(each, seen, loose) for each in layers(value)]
    if isinstance(value, type):
        return _class(value, seen)
    return None if loose else _Same(value)


def _class(cls: type, seen: set[int]) -> Any:
    if reachable(cls):
        return _Same(cls)
    seen = seen | {id(cls)}
    parts: list[Any] = []
    for each in cls.__mro__:
        if reachable(each):
            parts.append(_Same(each))
            continue
        for name, value in sorted(vars(each).items()):
            function = getattr(value, "__func__", getattr(value, "fget", value))
            function = getattr(function, "__wrapped__", function)
            if isinstance(function, FunctionType):
                value = function
            elif name.startswith("__"):
                continue
            parts.append((name, _held(value, seen, loose=True)))
    return parts
