"""Mutations: what may become of a file or text on its way, drawn from a seeded generator."""

from __future__ import annotations

import json
from copy import deepcopy
from random import Random
from typing import Any

NUMBERS = (
    "-1",
    "0",
    "1",
    "-0.0",
    "1e309",
    "-1e309",
    "nan",
    "inf",
    "9" * 25,
    "9" * 5000,
    "0x10",
    "1_0",
    "٣",
    "½",
)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**63, 10**30, 1e38, float("nan"), float("inf"), "", "\x00", "a" * 5000),
    *([], {}, [[]], {"": {}}, "../../etc/passwd", "/dev/zero", "http://host/a.png", "\ud83d\ude00"),
)
PIECES = (
    "",
    " ",
    ":",
    ",",
    "=",
    ".",
    "/",
    "\n",
    "\x00",
    '"',
    "'",
    "[",
    "{",
    "<image>",
    "</s>",
    "é",
    "中",
    "a" * 300,
)


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """The data with one to eight places changed: bits, bytes, blocks, or its end."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 8))):
        place, length = random.randrange(len(changed) + 1), random.choice((1, 4, 64, 1024))
        block = changed[place : place + length]
        match random.randrange(6):
            case 0 if block:
                changed[place] ^= 1 << random.randrange(8)
            case 1:
                changed[place : place + len(block)] = random.randbytes(len(block))
            case 2:
                changed[place : place + len(block)] = random.choice((b"\x00", b"\xff")) * len(block)
            case 3:
                del changed[place : place + length]
            case 4:
                changed[place:place] = block or random.randbytes(length)
            case 5 if random.random() < 0.5:
                del changed[place:]
    return bytes(changed)


def mutate_text(text: str, random: Random) -> str:
    """The text with one to three places changed: letters left out, doubled or exchanged for odd ones."""
    for _ in range(random.choice((1, 1, 2, 3))):
        place, length = random.randrange(len(text) + 1), random.choice((1, 1, 3, 20))
        middle = random.choice(("", text[place : place + length] * 2, *PIECES, *NUMBERS))
        text = text[:place] + middle + text[place + length :]
    return text


def mutate_json(data: Any, random: Random) -> str:
    """JSON in which one to three values are others, of another type, missing or nested deeply; or cut."""
    data = json.loads(json.dumps(data))
    for _ in range(random.choice((1, 1, 2, 3))):
        data = _mutated(data, random)
    text = json.dumps(data)
    if random.random() < 0.03:
        return "[" * 100_000
    return mutate_text(text, random) if random.random() < 0.2 else text


def _mutated(value: Any, random: Random) -> Any:
    if isinstance(value, dict | list) and value and random.random() < 0.85:
        key = random.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if random.random() < 0.15:
            del value[key]
        else:
            value[key] = _mutated(value[key], random)
        return value
    if isinstance(value, int | float) and random.random() < 0.5:
        return random.choice((-value, value + 1, value * 1e6, float(value), str(value)))
    return deepcopy(random.choice(VALUES))
