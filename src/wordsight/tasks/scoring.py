"""Scoring: whether what a model said is the answer, by one of five scorers.

docs/scoring.md has the rules in words, with examples that are tested.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal

Scorer = Literal["exact", "choice", "number", "yes_no", "contains"]

ARTICLES = ("a", "an", "the")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NEGATIONS = ("no", "not", "never", "without", "t")  # t: of isn't, whose apostrophe parts words
BETWEEN = (*ARTICLES, "any", "really", "very")  # a negation and what it denies
MARKS = "%‰#&@\u2032\u2033"  # punctuation that changes what is meant; symbols do, if they do not decorate
DECORATION = "`\u00b4|©®™"
CHANGING = frozenset("+-%‰$€£¥<>≤≥±°#/^=*")  # marks beside a word that make it another, as in C++ and -5
DASHES = dict.fromkeys((*range(0x2010, 0x2016), 0x2212, 0xFE63), "-")  # hyphens, dashes, minus
FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d|,\d)")
LEAD = re.compile(
    r"^\W*(?:the\s+)?(?:(?:correct|right|best)\s+)?(?:answer|option|choice)(?:\s+is)?\b\s*:?\s*(?:option\s+)?",
    re.IGNORECASE,
)
LETTER = re.compile(r"^[\s(\[{*\"']*([A-Za-z])(?!\w)([)\]}.:*\"'\s]*)(.*)$", re.DOTALL)


def score(scorer: Scorer, said: str, answers: Sequence[str], options: Mapping[str, str]) -> float:
    """1 if what was said is one of the answers, else 0; `options` are the texts by their letters."""
    if scorer == "choice":
        picked = chosen(said, options)
        return float(picked is not None and picked in [chosen(answer, options) for answer in answers])
    return float(any(SAME[scorer](words(said), words(answer)) for answer in answers))


def scorer_for(answers: Sequence[str], options: Mapping[str, str]) -> Scorer:
    """The scorer of a question that names none: by its options, else by what all of its answers are."""
    if options:
        return "choice"
    listed = [words(answer) for answer in answers]
    if all(answer in (["yes"], ["no"]) for answer in listed):
        return "yes_no"
    if all(_is_quantity(answer) for answer in listed):
        return "number"
    return "exact"


def words(text: str) -> list[str]:
    """What of a text is compared: its words in any case and either Unicode form, and the marks that change
    what is meant, each on its own; a number is one word, without commas between thousands.
    """
    text = text.translate(FULL_WIDTH).translate(DASHES).casefold()
    text = THOUSANDS.sub(lambda number: number[0].replace(",", ""), unicodedata.normalize("NFC", text))
    found: list[str] = []
    in_word = False
    for i, char in enumerate(text):
        if unicodedata.category(char) == "Cf" or char in "\ufe0e\ufe0f":
            continue  # invisible: joiners, directions, the look of an emoji
        joins = _is_in_word(text, i)
        if joins and in_word:
            found[-1] += char
        elif joins or _is_mark(text, i):
            found.append(char)
        in_word = joins
    return found


def chosen(said: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that was said: "B", "(b)", "B. cat", "The answer is B", or its text; None if
    it is none, or several.
    """
    said = said.translate(FULL_WIDTH)
    texts = {letter: _without_article(words(text)) for letter, text in options.items()}
    short = LEAD.sub("", said)
    if letter := _named(said, texts) or _named(short, texts):
        return letter
    match = LETTER.match(short)
    if not match or match[1].upper() not in options:
        return None
    letter, rest = match[1].upper(), match[3]
    is_apart = match[2].strip() or "\n" in match[2]
    if not words(rest):
        return letter if not rest or not _is_mark(rest, 0) else None
    if named := _named(rest, texts):
        return letter if named == letter else None
    is_another = re.fullmatch(r"\W*(?:and|or)?\W*[A-Za-z]\W*", rest, re.IGNORECASE)
    return letter if is_apart and not is_another else None


def _named(said: str, texts: Mapping[str, list[str]]) -> str | None:
    """The one option whose text this is."""
    plain = _without_article(words(said))
    letters = [letter for letter, text in texts.items() if text == plain]
    return letters[0] if len(letters) == 1 else None


def _without_article(listed: list[str]) -> list[str]:
    return listed[1:] if len(listed) > 1 and listed[0] in ARTICLES else listed


def _is_in_word(text: str, i: int) -> bool:
    """Letters with their signs, digits, and what joins digits: 3.5, 5:30."""
    char = text[i]
    if unicodedata.category(char)[0] in "LMN" or char == "_":
        return True
    before, after = text[i - 1 : i], text[i + 1 : i + 2]
    if char == "." and after.isdecimal():
        return not before or before.isdecimal() or before.isspace() or _is_mark(text, i - 1)
    return char == ":" and before.isdecimal() and after.isdecimal()


def _is_mark(text: str, i: int) -> bool:
    """Symbols, percent and the like; a dash before a number, a slash between words, a star between
    numbers.
    """
    char, before, after = text[i], text[:i].rstrip()[-1:], text[i + 1 :].lstrip()[:2]
    if char == "-":
        return bool(re.match(r"\d|\.\d", after)) or unicodedata.category(after[:1] or " ") == "Sc"
    if char == "/":
        return before.isalnum() and after[:1].isalnum()
    if char == "*":
        return before.isdecimal() and after[:1].isdecimal()
    return char in MARKS or (unicodedata.category(char)[0] == "S" and char not in DECORATION)


def _same_quantity(said: list[str], answer: list[str]) -> bool:
    """Equal as numbers, with the same sign, marks and unit; as words where one of them is no number."""
    mine, theirs = _quantity(said), _quantity(answer)
    return said == answer if mine is None or theirs is None else mine == theirs


def _quantity(listed: list[str]) -> tuple[Decimal, list[str]] | None:
    """The one number among the words and marks, with its sign, and the others; None if there is not one."""
    parts = [part for word in listed for part in _number_and_unit(word)]
    at = [i for i, part in enumerate(parts) if _number(part) is not None]
    if len(at) != 1:
        return None
    value = _number(parts[at[0]]) or Decimal(0)
    before = parts[: at[0]]
    others = [part for part in before if part not in "+-"] + parts[at[0] + 1 :]
    return value.copy_negate() if "-" in before else value, sorted(others)


def _number_and_unit(word: str) -> list[str]:
    """5km as 5 and km."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([^\W\d_]+)", word)
    return [match[1], match[2]] if match else [word]


def _number(word: str) -> Decimal | None:
    """The value of a number in digits or one up to ten in words; 007 is none, it is a name."""
    if word in NUMBERS:
        return Decimal(NUMBERS.index(word))
    is_number = re.fullmatch(r"\d*\.?\d+", word) and not re.match(r"0\d", word)
    return Decimal(word) if is_number else None


def _is_quantity(listed: list[str]) -> bool:
    """A number alone, or with marks and at most one word behind it, its unit."""
    quantity = _quantity(listed)
    if quantity is None:
        return False
    unit = [other for other in quantity[1] if other[0].isalpha()]
    return not unit or (len(unit) == 1 and listed[-1].endswith(unit[0]))


def _same_side(said: list[str], answer: list[str]) -> bool:
    """Said first, yes or no, and the other one nowhere."""
    if answer not in (["yes"], ["no"]):
        return said == answer
    other = "no" if answer == ["yes"] else "yes"
    return said[:1] == answer and other not in said


def _is_within(said: list[str], answer: list[str]) -> bool:
    """The words of the answer in a row, not denied, and no mark beside them that makes them another."""
    for start in range(len(said) - len(answer) + 1):
        end = start + len(answer)
        beside = {*said[max(0, start - 1) : start], *said[end : end + 1]}
        if said[start:end] == answer and not beside & CHANGING and not _is_denied(said[:start]):
            return True
    return False


def _is_denied(before: list[str]) -> bool:
    """Whether the nearest word before is a negation, articles and adverbs of degree left out."""
    nearest = next((word for word in reversed(before) if word not in BETWEEN), "")
    return nearest in NEGATIONS


def _same_words(said: list[str], answer: list[str]) -> bool:
    return said == answer


SAME = {
    "exact": _same_words,
    "number": _same_quantity,
    "yes_no": _same_side,
    "contains": _is_within,
}
