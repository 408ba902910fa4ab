"""One new thing, one new file: the classes of a package, found by the names of their files, and those of the
user's own modules, found as module:Class.
"""

from __future__ import annotations

import dataclasses
import pkgutil
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module, invalidate_caches
from types import ModuleType
from typing import Any, TypeVar

from wordsight.errors import UsageError, unknown

T = TypeVar("T")


def names(package: ModuleType) -> list[str]:
    """The files of the package, without those that it says are shared: base classes."""
    files = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in files if name not in package.SHARED)


def find(package: ModuleType, name: str, base: type[T]) -> type[T]:
    """The subclass of `base` that file `name` of the package defines."""
    if name not in names(package):
        raise unknown(_kind(package), name, names(package))
    return _own(import_module(f"{package.__name__}.{name}"), base)[0]


def find_outside(module_name: str, class_name: str, base: type[T]) -> type[T]:
    """The dataclass of this name that extends `base`, in a module of the current folder or the path.

    The module is imported once and kept, as by any import statement. Raises UsageError if there is no such
    module or class, the module fails, or its class cannot be used.
    """
    module = _imported(module_name)
    if class_name not in vars(module):
        known = [cls.__name__ for cls in _own(module, base)] or [f"none, it has no {base.__name__}"]
        raise unknown(f"class of {module_name}", class_name, known)
    cls = vars(module)[class_name]
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UsageError(f"{class_name} of {module_name} is no subclass of {base.__name__}; make it one")
    if "__dataclass_fields__" not in vars(cls):
        raise UsageError(
            f"{class_name} of {module_name} is no dataclass; write @dataclass(kw_only=True) above it"
        )
    return cls


def make(package: ModuleType, spec: str, base: type[T]) -> T:
    """The object of a SPEC: `name` or `name:option=value,option=value`, where the name is a file of the
    package, or `module:Class` for a class from outside it.
    """
    name, _, listing = spec.partition(":")
    class_name, _, rest = listing.partition(":")
    if name not in names(package) and class_name and "=" not in class_name:
        return _built(find_outside(name, class_name, base), rest, spec, class_name)
    return _built(find(package, name, base), listing, spec, name)


def spec(plugin: Any) -> str:
    """The SPEC of an object without its `keep`: its name, and the options that are not at their defaults."""
    module = type(plugin).__module__
    is_ours = module.startswith("wordsight.")
    name = module.rpartition(".")[2] if is_ours else f"{module}:{type(plugin).__name__}"
    fields = [field for field in dataclasses.fields(plugin) if field.init and field.name != "keep"]
    values = [(field, getattr(plugin, field.name)) for field in fields]
    told = [f"{field.name}={_text(value)}" for field, value in values if value != _default(field)]
    return ":".join([name, ",".join(told)] if told else [name])


def refuse_duplicates(kind: str, names: Sequence[str]) -> None:
    """Raises UsageError if a name is given twice: the results could not be told apart."""
    for i, name in enumerate(names):
        if name in names[:i]:
            raise UsageError(f"duplicate {kind} {name}: leave one out, or give it other options")


def _kind(package: ModuleType) -> str:
    """What a package holds, in the singular: pruner, task."""
    return package.__name__.rpartition(".")[2].rstrip("s")


def _own(module: ModuleType, base: type[T]) -> list[type[T]]:
    """The subclasses of `base` that the module itself defines."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]


def _imported(name: str) -> ModuleType:
    """The user's module of this name, looked for in the current folder first."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(
            f"{name!r} is no name of a module; expected it as in `import my_module`, without .py"
        )
    try:
        with _current_folder_on_path():
            return import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"no module {name!r} in the current folder or on the path; "
                "expected a name as in `import my_module`"
            ) from error
        told = " ".join(str(error).split())
        raise UsageError(
            f"importing {name} failed with {type(error).__name__}: {told}; "
            f"`python -c 'import {name}'` shows where"
        ) from error


@contextmanager
def _current_folder_on_path() -> Iterator[None]:
    """A console script, unlike `python -m`, does not look for modules where the user stands."""
    sys.path.insert(0, "")
    invalidate_caches()  # a module may have been written a moment ago
    try:
        yield
    finally:
        sys.path.remove("")


def _built(cls: type[T], listing: str, spec: str, name: str) -> T:
    """An object of the class with the options of the listing."""
    options: dict[str, Any] = {}
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]  # plugins are dataclasses
    for item in filter(None, listing.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"{spec!r}: expected option=value, got {item!r}; {name} has {', '.join(fields)}")
        if key not in fields:
            raise unknown(f"option of {name}", key, fields)
        options[key] = _value(value, fields[key], f"{spec!r}: {key}")
    missing = [key for key in fields if key not in options and _default(fields[key]) is dataclasses.MISSING]
    if missing:
        raise UsageError(f"{spec!r}: {name} needs {', '.join(f'{key}=...' for key in missing)}")
    return cls(**options)


def _default(field: dataclasses.Field[Any]) -> Any:
    """What an option is if it is not given; MISSING if it has to be."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _text(value: Any) -> str:
    """The value of an option as a SPEC has it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "+".join(map(_text, value))
    return str(value) if isinstance(value, (int, float, str)) else type(value).__name__


def _value(
    text: str, field: dataclasses.Field[Any], told: str
) -> int | float | str | tuple[float, ...] | None:
    """The text as the annotation of an option asks for it; a tuple of numbers is written a+b+c."""
    kind = str(field.type)
    if kind.startswith("tuple"):
        with suppress(ValueError):
            return tuple(float(part) for part in text.split("+"))
        raise UsageError(f"{told} must be numbers, as 0.25+0.5; got {text!r}")
    if text == "none" and re.search("None|Optional", kind):
        return None
    if isinstance(field.default, str) or re.search(r"\bstr\b", kind):
        return text
    if text in ("true", "false") and "bool" in kind:
        return text == "true"
    with suppress(ValueError):
        return int(text)
    if "float" in kind:
        with suppress(ValueError):
            return float(text)
    raise UsageError(f"{told} must be a {'number' if 'float' in kind else 'whole number'}, got {text!r}")
