"""One new thing, one new file: the classes of a package, found by the names of their files."""

from __future__ import annotations

import dataclasses
import pkgutil
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

from wordsight.errors import UsageError, unknown

T = TypeVar("T")


def names(package: ModuleType) -> list[str]:
    """The files of the package, without the one that holds the base class."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name != "base")


def find(package: ModuleType, name: str, base: type[T]) -> type[T]:
    """The subclass of `base` that file `name` of the package defines."""
    kind = package.__name__.rpartition(".")[2].rstrip("s")
    if name not in names(package):
        raise unknown(kind, name, names(package))
    module = import_module(f"{package.__name__}.{name}")
    return next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    )


def make(package: ModuleType, spec: str, base: type[T]) -> T:
    """The object of a SPEC: `name` or `name:option=value,option=value`."""
    name, _, listing = spec.partition(":")
    cls = find(package, name, base)
    options: dict[str, Any] = {}
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]  # plugins are dataclasses
    for item in filter(None, listing.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"{spec!r}: expected option=value, got {item!r}; {name} has {', '.join(fields)}")
        if key not in fields:
            raise unknown(f"option of {name}", key, fields)
        is_text = isinstance(fields[key].default, str)
        options[key] = value if is_text else _number(value, str(fields[key].type), f"{spec!r}: {key}")
    return cls(**options)


def spec(plugin: Any) -> str:
    """The SPEC of an object without its `keep`: its name, and the options that are not at their defaults."""
    module = type(plugin).__module__
    name = module.rpartition(".")[2] if module.startswith("wordsight.") else type(plugin).__name__
    fields = [field for field in dataclasses.fields(plugin) if field.init and field.name != "keep"]
    values = [(field.name, getattr(plugin, field.name)) for field in fields]
    told = [
        f"{key}={value if isinstance(value, (int, float, str)) else type(value).__name__}"
        for (key, value), field in zip(values, fields, strict=True)
        if value != field.default
    ]
    return ":".join([name, ",".join(told)] if told else [name])


def _number(text: str, kind: str, told: str) -> int | float | bool:
    """The text as the annotation `kind` of an option asks for it."""
    if text in ("true", "false") and "bool" in kind:
        return text == "true"
    with suppress(ValueError):
        return int(text)
    if "float" in kind:
        with suppress(ValueError):
            return float(text)
    raise UsageError(f"{told} must be a {'number' if 'float' in kind else 'whole number'}, got {text!r}")
