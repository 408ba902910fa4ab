"""One new thing, one new file: the classes of a package, found by the names of their files, and those of the
user's own modules, found as module:Class.
"""

from __future__ import annotations

import dataclasses
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module, invalidate_caches
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, TypeVar

from wordsight._utils.options import parse_option
from wordsight.errors import UsageError, shown, unknown

T = TypeVar("T")
BUDGET = ("keep", "tokens")  # options that say how much is kept, not which method it is
PUBLISHED = "published"  # the preset of pruners, and the class method that makes it
EARLIER = {"neighbours": "neighbors"}  # what options were called in SPECs that are still read


def names(package: ModuleType) -> list[str]:
    """What a package offers by name: its files, without those that it says are shared, and what others add by
    an entry point of its group, as `wordsight.pruners`.
    """
    files = {module.name for module in pkgutil.iter_modules(package.__path__)}
    return sorted((files - set(package.SHARED)) | set(_entry_points(package.__name__)))


def find(package: ModuleType, name: str, base: type[T]) -> type[T]:
    """The subclass of `base` of this name: that of a file of the package, or of an entry point."""
    if name not in names(package):
        raise unknown(_kind(package), name, names(package))
    if point := _entry_points(package.__name__).get(name):
        return _usable(load_entry_point(point), point.value, base)
    return _own(import_module(f"{package.__name__}.{name}"), base)[0]


def load_entry_point(point: EntryPoint) -> Any:
    """What an entry point of another distribution names. Raises UsageError if it cannot be imported."""
    try:
        return point.load()
    except Exception as error:
        message = " ".join(str(error).split())
        raise UsageError(
            f"entry point {point.name} of {point.group} ({point.value}) cannot be loaded: "
            f"{type(error).__name__}: {message}; is the distribution that declares it whole?"
        ) from error


def find_entry_point(package: ModuleType, name: str) -> EntryPoint | None:
    """The entry point of this name, if another distribution has one."""
    return _entry_points(package.__name__).get(name)


def find_outside(module_name: str, class_name: str, base: type[T]) -> type[T]:
    """The dataclass of this name that extends `base`, in a module of the current folder or the path.

    The module is imported once and kept, as by any import statement. Raises UsageError if there is no such
    module or class, the module fails, or its class cannot be used.
    """
    module = _imported(module_name)
    if class_name not in vars(module):
        known = [cls.__name__ for cls in _own(module, base)] or [f"none, it has no {base.__name__}"]
        raise unknown(f"class of {module_name}", class_name, known)
    return _usable(vars(module)[class_name], f"{class_name} of {module_name}", base)


def make(package: ModuleType, spec: str, base: type[T]) -> T:
    """The object of a SPEC: `name` or `name:option=value,option=value`, where the name is a file of the
    package, or `module:Class` for a class from outside it; with `@published` after the name or class, the
    options not given are those of its PUBLISHED. The option that a class calls FIRST may be given first,
    without its name.
    """
    name, _, listing = spec.partition(":")
    label, _, rest = listing.partition(":")
    if name.partition("@")[0] in names(package) or not label or "=" in label:
        label, at, preset = name.partition("@")
        cls = find(package, label, base)
    else:
        label, at, preset = label.partition("@")
        cls, listing = find_outside(name, label, base), rest
    if at and (preset != PUBLISHED or not hasattr(cls, PUBLISHED)):
        raise unknown(f"preset of {label}", preset, [PUBLISHED] if hasattr(cls, PUBLISHED) else ["none"])
    options = _options(cls, listing, spec, label)
    return getattr(cls, PUBLISHED)(**options) if at else cls(**options)


def spec(plugin: Any) -> str:
    """The SPEC of an object without its budget: its name, and the options that are not at their defaults; or
    `name@published` and the options that are not as published, if what its PUBLISHED says holds.

    Raises UsageError if it is no pruner or task but something else, as the text of a SPEC.
    """
    if isinstance(plugin, type) or not dataclasses.is_dataclass(plugin):
        raise UsageError(
            f"expected pruners and tasks as objects, such as DivPrune(keep=0.2), got {shown(plugin)}; "
            "wordsight.pruners.make and wordsight.tasks.make make one of a SPEC"
        )
    fields = [field for field in dataclasses.fields(plugin) if field.init and field.name not in BUDGET]
    name, published = _name(type(plugin)), getattr(plugin, "PUBLISHED", None) or {}
    if published and all(getattr(plugin, option) == value for option, value in published.items()):
        name = f"{name}@{PUBLISHED}"
    else:
        published = {}
    values = [(field, getattr(plugin, field.name)) for field in fields]
    first = getattr(plugin, "FIRST", None)
    options = [
        _text(value) if field.name == first else f"{field.name}={_text(value)}"
        for field, value in sorted(values, key=lambda pair: pair[0].name != first)
        if value != published.get(field.name, _default(field))
    ]
    return ":".join([name, ",".join(options)] if options else [name])


def extended(text: str, *options: str) -> str:
    """A SPEC with more options, as `keep=0.2`."""
    begun = "=" in text or text.count(":") > 1  # an option, or the first one of a module:Class
    return f"{text}{',' if begun else ':'}{','.join(options)}"


def refuse_duplicates(kind: str, names: Sequence[str]) -> None:
    """Raises UsageError if a name is given twice: the results could not be told apart."""
    for i, name in enumerate(names):
        if name in names[:i]:
            raise UsageError(f"duplicate {kind} {name}: leave one out, or give it other options")


def _name(cls: type[Any]) -> str:
    """By what a SPEC names a class: its file in this package, its entry point, or module:Class."""
    module = cls.__module__
    if module.startswith("wordsight."):
        return module.rpartition(".")[2]
    value = f"{module}:{cls.__name__}"
    packages = ("wordsight.pruners", "wordsight.tasks")
    points = (point for package in packages for point in _entry_points(package).values())
    return next((point.name for point in points if point.value == value), value)


@cache
def _entry_points(package: str) -> dict[str, EntryPoint]:
    """What other distributions add to a package, by name; files of the package itself come first."""
    own = import_module(package).__path__
    files = {module.name for module in pkgutil.iter_modules(own)}
    group = f"wordsight.{package.rpartition('.')[2]}"
    return {point.name: point for point in entry_points(group=group) if point.name not in files}


def _usable(cls: Any, label: str, base: type[T]) -> type[T]:
    """The class, if it is a dataclass that extends `base`; errors call it as `label`."""
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UsageError(f"{label} is no subclass of {base.__name__}; make it one")
    if "__dataclass_fields__" not in vars(cls):
        raise UsageError(f"{label} is no dataclass; write @dataclass(kw_only=True) above it")
    if hiding := _hiding(cls, base):
        raise UsageError(
            f"an option of {label} hides {hiding}; give it another name, or leave out its annotation if it "
            "is meant to"
        )
    return cls


def _hiding(cls: Any, base: type) -> str | None:
    """What of a class that it extends, as a method, an option of a class hides; None if none does."""
    parents = [parent for parent in cls.__mro__[1:] if issubclass(parent, base)]
    for name in (field.name for field in dataclasses.fields(cls) if field.init):
        for parent in parents:
            inherited = parent.__dataclass_fields__.get(name)
            if not inherited.init if inherited else hasattr(parent, name):
                return f"{parent.__name__}.{name}"
    return None


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
        message = " ".join(str(error).split())
        raise UsageError(
            f"importing {name} failed with {type(error).__name__}: {message}; "
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


def _options(cls: type[Any], listing: str, spec: str, name: str) -> dict[str, Any]:
    """The options of the listing. Raises UsageError if the class has no such ones, or needs more."""
    options: dict[str, Any] = {}
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for i, item in enumerate(filter(None, listing.split(","))):
        if i == 0 and hasattr(cls, "FIRST") and "=" not in item:
            item = f"{cls.FIRST}={item}"
        key, equals, value = item.partition("=")
        key = EARLIER.get(key, key)
        if not equals:
            raise UsageError(
                f"{shown(spec)}: expected option=value, got {item!r}; {name} has {', '.join(fields)}"
            )
        if key not in fields:
            raise unknown(f"option of {name}", key, fields)
        try:
            options[key] = parse_option(cls, key, value)
        except UsageError as error:
            raise UsageError(f"{shown(spec)}: {error}") from error
    if "keep" in options and options.get("tokens") is not None:
        raise UsageError(f"{shown(spec)}: expected keep or tokens, one of the two")
    missing = [key for key in fields if key not in options and _default(fields[key]) is dataclasses.MISSING]
    if missing:
        raise UsageError(f"{shown(spec)}: {name} needs {', '.join(f'{key}=...' for key in missing)}")
    return options


def _default(field: dataclasses.Field[Any]) -> Any:
    """What an option is if it is not given; MISSING if it has to be."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def default_text(field: dataclasses.Field[Any]) -> str | None:
    """What an option is if it is not given, as a SPEC has it; None if it has to be given."""
    default = _default(field)
    return None if default is dataclasses.MISSING else _text(default)


def _text(value: Any) -> str:
    """The value of an option as a SPEC has it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "+".join(map(_text, value))
    return str(value) if isinstance(value, (int, float, str)) else type(value).__name__
