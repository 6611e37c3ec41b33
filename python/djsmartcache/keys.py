"""How calls and the user's own key texts become keys.

What tells one argument from another is in `identities`. Every key in the store begins with
`prefixes.prefix()`.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import string
from collections.abc import Callable, Iterable, Sequence
from types import MethodType
from typing import Any, Final, Literal

from . import _core, namesakes, prefixes
from .exceptions import InvalidKey, KeyTemplateError
from .identities import Unkeyable, account, identify, render, typed
from .namesakes import full_name

Step = tuple[Literal["attr", "item"], str | int]
Template = Sequence[str | tuple[str, Sequence[Step]]]

_FIELD: Final = re.compile(r"(?P<root>[^.\[\]]+)(?P<path>(?:\.[^.\[\]]+|\[[^\[\]]+\])*)")
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[([^\[\]]+)\]")
# As ShortenKey of the core, so that a template key and the same text given by hand are one.
_LONGEST: Final = 200
_READABLE: Final = 120
_SHORTENED: Final = re.compile(rb"~[0-9a-f]{32}\Z")


class Key(str):
    """A key as the core made it: used as it is, not shortened again."""

    __slots__ = ()


# --- keys of calls


def plan(function: Callable[..., Any], template: str | None) -> _core.KeyPlan:
    """Compile how calls of `function` become keys.

    Raises:
        KeyTemplateError: The template is malformed or names no argument.
        TypeError: `function` has no name of its own to make keys of, or another has it, and no
        template is given.
    """
    literal = name_of(function)
    if template is None:
        literal += own_part(function, literal)
        _claim(literal, function)
    known_parameters = parameters(function)
    of = functools.partial(_names_of, known_parameters)
    positional = of(inspect.Parameter.POSITIONAL_ONLY)
    either = positional + of(inspect.Parameter.POSITIONAL_OR_KEYWORD)
    keyword_only = of(inspect.Parameter.KEYWORD_ONLY)
    varargs = next(iter(of(inspect.Parameter.VAR_POSITIONAL)), None)
    varkw = next(iter(of(inspect.Parameter.VAR_KEYWORD)), None)
    fields = None if template is None else parse(template)
    known = [*either, *keyword_only, *filter(None, (varargs, varkw))]
    for field in fields or ():
        if not isinstance(field, str) and field[0] not in known:
            raise KeyTemplateError(
                f"key={template!r} names {field[0]!r}, which is no argument of {literal}; "
                f"it has: {', '.join(known) or 'none'}."
            )
    return _core.KeyPlan(
        either,
        positional=len(positional),
        keyword_only=keyword_only,
        varargs=varargs,
        varkw=varkw,
        defaults={p.name: p.default for p in known_parameters if p.default is not p.empty},
        literal=literal,
        template=fields,
        identify=functools.partial(identify, function=literal),
    )


def name_of(function: Callable[..., Any]) -> str:
    """Module and qualified name of a function, under partials; of an object, those of its class."""
    named = innermost(function)
    view = _view_class(named)
    if view is not None:
        return full_name(view)
    if not hasattr(named, "__qualname__"):
        return full_name(type(named))
    return f"{named.__module__}.{named.__qualname__}"


def innermost(function: Any) -> Any:
    """What a partial calls in the end."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _view_class(function: Any) -> type | None:
    """The class of what `as_view()` made: Django's or REST framework's, whose names are all one."""
    found = getattr(function, "view_class", None) or getattr(function, "cls", None)
    return found if isinstance(found, type) else None


def own_part(function: Callable[..., Any], name: str) -> str:
    """What tells a function from others of its name: arguments of a partial, what it is bound to,
    what `as_view()` was given, and the code itself where it is in no file.

    Raises:
        TypeError: It has what no key can show, such as the variables of a closure.
    """
    inner = innermost(function)
    if not hasattr(inner, "__qualname__"):
        raise TypeError(f"objects of {name} share a name: give smart_cached a key=.")
    if "<lambda>" in name:
        raise TypeError("lambdas of one module share a name: give smart_cached a key=.")
    cells = _closure(inspect.unwrap(inner))
    if cells:
        raise TypeError(
            f"{name} uses {', '.join(cells)} of the function around it, of which its name tells "
            "nothing: make that an argument, or give smart_cached a key=."
        )
    arguments: list[Any] = []
    while isinstance(function, functools.partial):
        if function.args or function.keywords:
            arguments.append((function.args, function.keywords))
        function = function.func
    if isinstance(function, MethodType):
        arguments.append(function.__self__)
    if account(arguments):
        raise TypeError(
            f"{name} is bound to a model instance, which may change: decorate the function itself, "
            "or give smart_cached a key=."
        )
    text = b"".join(identify("self", each, function=name)[0] for each in arguments)
    made = _of_as_view(inner) + text
    return made.decode("utf-8", "surrogatepass") + namesakes.code_text(function)


def _of_as_view(function: Any) -> bytes:
    """What a view's class was given besides the request. What no key can show is told by the path
    alone, which is in the key of every page."""
    if _view_class(function) is None:
        return b""
    given = getattr(function, "view_initkwargs", None) or getattr(function, "initkwargs", None)
    parts = {**(given or {}), "actions": getattr(function, "actions", None)}
    shown = [
        render(name) + b"=" + _shown(value) for name, value in parts.items() if value is not None
    ]
    return typed("as_view", *sorted(shown)) if shown else b""


def _shown(value: Any) -> bytes:
    try:
        return render(value)
    except (Unkeyable, RecursionError):
        return b"?"


def _claim(literal: str, function: Any) -> None:
    inner = innermost(function)
    of = _view_class(inner)
    if of is not None:
        own = namesakes.is_own_class(of)
    else:
        own = namesakes.is_own(literal, inner.__module__, function)
    if not own:
        what = "functions" if of is None else "classes"
        raise TypeError(
            f"two {what} are called {literal}, so that their results would be mixed up: give one a "
            "key=, or another name."
        )


def _closure(function: Any) -> list[str]:
    """The variables that a function takes from the call that made it."""
    code = getattr(function, "__code__", None)
    if code is None or "<locals>" not in function.__qualname__ or _view_class(function):
        return []
    return [name for name in code.co_freevars if name not in (function.__name__, "__class__")]


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters that a call of `function` fills."""
    for layer in namesakes.layers(function):
        if isinstance(layer, functools.partial):
            # method_decorator hands over a partial that claims to be the unbound method: look at
            # what is called.
            function = functools.partial(layer.func, *layer.args, **layer.keywords)
            break
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError:  # a builtin that does not tell
        rest = inspect.Parameter
        return [rest("args", rest.VAR_POSITIONAL), rest("kwargs", rest.VAR_KEYWORD)]


def _names_of(parameters: Iterable[inspect.Parameter], kind: Any) -> list[str]:
    return [p.name for p in parameters if p.kind is kind]


def parse(template: str) -> Template:
    """Split a key template into literals and fields.

    Raises:
        KeyTemplateError: It is empty or malformed, or a field has no name, a conversion or a
        format.
    """
    if not isinstance(template, str) or not template:
        raise KeyTemplateError(f"key={template!r}: a key template is text that is not empty.")
    made: list[str | tuple[str, Sequence[Step]]] = []
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise KeyTemplateError(f"key={template!r}: {error}.") from error
    for literal, field, spec, conversion in parts:
        if literal:
            made.append(literal)
        if field is None:
            continue
        if conversion or spec:
            raise KeyTemplateError(
                f"key={template!r}: {field!r} has a conversion or format, which could make "
                "different arguments look alike."
            )
        found = _FIELD.fullmatch(field)
        if not found or not found["root"].isidentifier():
            raise KeyTemplateError(f"key={template!r}: {{{field}}} does not name an argument.")
        steps: list[Step] = []
        for attribute, item in _STEP.findall(found["path"]):
            if attribute:
                steps.append(("attr", attribute))
            else:
                steps.append(("item", int(item) if item.isdecimal() else item))
        made.append((found["root"], steps))
    return made


def follow(value: Any, steps: Sequence[Step]) -> Any:
    """The part of an argument that a field of a template names; None if there is none."""
    try:
        for kind, name in steps:
            value = getattr(value, str(name)) if kind == "attr" else value[name]
    except (AttributeError, LookupError, TypeError):
        return None
    return value


# --- keys given by hand


def encode(key: str) -> bytes:
    """The key in the store for a key that the user gives as text.

    Raises:
        InvalidKey: It is not text, is empty, or begins with NUL.
    """
    if isinstance(key, Key):
        return prefixes.prefix() + key.encode("utf-8", "surrogatepass")
    return prefixes.prefix() + shorten(check_text(key, "a key").encode("utf-8", "surrogatepass"))


def check_text(text: Any, what: str) -> str:
    """Give `text` back if it can name something.

    Raises:
        InvalidKey: It is not text, is empty, or begins with NUL, which the package's own keys do.
    """
    if not isinstance(text, str):
        raise InvalidKey(f"{what} is text, not {type(text).__name__}: {text!r}.")
    if not text or text[0] == "\0":
        raise InvalidKey(f"{what} is not empty and does not begin with NUL: {text!r}.")
    return text


def shorten(key: bytes, made: bool = False) -> bytes:
    """Replace a key beyond 200 bytes by its beginning and a hash of the whole.

    So is one that looks like a shortened key, unless the core `made` it: nobody can spell another's
    key.
    """
    if len(key) <= _LONGEST and (made or not _SHORTENED.search(key)):
        return key
    kept = min(_READABLE, len(key) - 1)
    while kept and key[kept] & 0xC0 == 0x80:  # not in the middle of a character
        kept -= 1
    return key[:kept] + b"~" + hashlib.sha256(key).hexdigest()[:32].encode()
