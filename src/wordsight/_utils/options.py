"""Options of methods, tasks and settings: dataclass fields, whose annotations say what may be given."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Interval, Le, Lt

from wordsight.errors import UsageError, shown

# A text in Annotated is what the value is called in the sentence that refuses another.
Share = Annotated[float, "a share of the tokens", Interval(gt=0, le=1)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Count = Annotated[int, Ge(1)]
Seed = Annotated[int, Interval(ge=-(10**12), le=10**12)]
Rounding = Literal["exact", "released"]  # of a budget: as asked for, or as code of a method's authors has it
NewTokens = Annotated[int, Interval(ge=1, le=1_000_000)]  # of an answer


def check_options(owner: Any) -> None:
    """Raises UsageError if a field of this dataclass is not what its annotation asks for."""
    kind: type = type(owner)
    hints = _hints(kind)
    for field in dataclasses.fields(owner):
        if field.init:
            check_value(field.name, getattr(owner, field.name), hints[field.name])


def check_value(name: str, value: Any, hint: Any) -> None:
    """Raises UsageError if the value of this name is not what an annotation asks for."""
    if not _fits(value, hint):
        raise _refusal(name, value, hint)


def parse_option(owner: type, name: str, text: str) -> Any:
    """The value that a text gives to an option of a class: `none`, `true`, 0.5, a+b+c for several numbers.

    Raises UsageError if it gives none that the annotation allows.
    """
    hint = _hints(owner)[name]
    kinds = _alternatives(hint)
    if text == "none" and NoneType in kinds:
        return None
    read = _several if any(get_origin(kind) is tuple for kind in kinds) else _single
    value = read(text, kinds)
    if value is None or not _fits(value, hint):
        raise _refusal(name, text if value is None else value, hint)
    return value


def takes_text(owner: type, name: str) -> bool:
    """Whether an option of a class can be any text, as a path is."""
    return any(_base(kind) is str for kind in _alternatives(_hints(owner)[name]))


def expected(owner: type, name: str) -> str:
    """What an option of a class may be, in words: "a number in [0, 1)"."""
    return _described(_hints(owner)[name])


def share_hint(value: Any) -> str:
    """What somebody meant who gave this as a share, if it can be told: "; did you mean ...?"."""
    try:
        text = str(value).strip()
        number = float(text.removesuffix("%"))
    except ValueError:
        return ""
    if text.endswith("%"):
        return f"; did you mean {number / 100:g}?" if 0 < number <= 100 else ""
    if number > 1 and number.is_integer():
        return f"; for a number of tokens say tokens={int(number)}, as in divprune:tokens={int(number)}"
    return ""


@cache
def _hints(owner: Any) -> dict[str, Any]:
    """The annotations of the fields of a class."""
    try:
        return get_type_hints(owner, include_extras=True)
    except NameError as error:
        raise UsageError(
            f"the options of {owner.__name__} cannot be read: {error} in its annotations; import it "
            "outside of TYPE_CHECKING"
        ) from error


def _fits(value: Any, hint: Any) -> bool:
    from pydantic import ValidationError

    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return isinstance(value, hint)  # it has checked its own fields
    try:
        _adapter(hint).validate_python(value, strict=True)
    except ValidationError:
        return False
    numbers = value if isinstance(value, tuple) else (value,)
    return all(math.isfinite(number) for number in numbers if isinstance(number, float))


@cache
def _adapter(hint: Any) -> Any:
    from pydantic import ConfigDict, InstanceOf, TypeAdapter

    if dataclasses.is_dataclass(hint):  # pydantic takes no configuration for one
        return TypeAdapter(InstanceOf[hint])
    return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))


def _single(text: str, kinds: Iterable[Any]) -> Any:
    """The text as the first of the kinds that can be read of it, None if none can."""
    for kind in kinds:
        base = _base(kind)
        if get_origin(base) is Literal and text in map(str, get_args(base)):
            return next(choice for choice in get_args(base) if str(choice) == text)
        if base is bool and text in ("true", "false"):
            return text == "true"
        if base in (int, float) and (number := _number(base, text)) is not None:
            return number
        if base is str:
            return text
    return None


def _number(kind: type[int] | type[float], text: str) -> float | int | None:
    try:
        return kind(text)
    except ValueError:
        return None


def _several(text: str, kinds: Iterable[Any]) -> tuple[float, ...] | None:
    """Numbers written a+b+c, None if one of them is none."""
    numbers = [_number(float, part) for part in text.split("+")]
    return None if None in numbers else tuple(number for number in numbers if number is not None)


def _refusal(name: str, value: Any, hint: Any) -> UsageError:
    more = share_hint(value) if name == "keep" else ""
    return UsageError(f"{name} must be {_described(hint)}, got {shown(value)}{more}")


def _described(hint: Any) -> str:
    return " or ".join(dict.fromkeys(map(_expected, _alternatives(hint))))


def _expected(kind: Any) -> str:
    """What a kind of value is called."""
    base = _base(kind)
    if get_origin(base) is Literal:
        return " or ".join(map(repr, get_args(base)))
    if get_origin(base) is tuple:
        members = get_args(base)
        return "numbers, as 0.25+0.5" if ... in members else f"{len(members)} numbers joined by +"
    names = {bool: "true or false", int: "a whole number", float: "a number", NoneType: "none", str: "text"}
    called = next((note for note in _notes(kind) if isinstance(note, str)), None)
    return (called or names.get(base, getattr(base, "__name__", str(base)))) + _range(kind)


def _range(kind: Any) -> str:
    """The bounds of an Annotated number, in words."""
    bounds: dict[type, Any] = {}
    for note in _notes(kind):
        for bound in note if isinstance(note, Interval) else [note]:
            if isinstance(bound, (Ge, Gt, Le, Lt)):
                bounds[type(bound)] = getattr(bound, type(bound).__name__.lower())
    low, high = bounds.get(Ge, bounds.get(Gt)), bounds.get(Le, bounds.get(Lt))
    if low is not None and high is not None:
        return f" in {'[' if Ge in bounds else '('}{low}, {high}{']' if Le in bounds else ')'}"
    if low is not None:
        return f" from {low} on" if Ge in bounds else f" above {low}"
    return "" if high is None else f" up to {high}" if Le in bounds else f" below {high}"


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the one kind that there is."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _notes(kind: Any) -> tuple[Any, ...]:
    """What an Annotated kind says beside its type: bounds, and what it is called."""
    return get_args(kind)[1:] if get_origin(kind) is Annotated else ()


def _base(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind
