"""One new thing, one new file: the classes of a package, found by the names of their files."""

from __future__ import annotations

import dataclasses
import pkgutil
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
        options[key] = _value(value)
        if isinstance(fields[key].default, int) and isinstance(options[key], str):
            raise UsageError(f"{spec!r}: {key} must be a number, got {value!r}")
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


def _value(text: str) -> int | float | bool | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
