"""The finding: what a choice of tokens costs, in a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from wordsight._utils.numbers import counted
from wordsight.explain.pruner_choices import ChoiceRecord, ChoicesRecord

NAMED = 3  # lost words, at most
RECURRING = 2  # tokens that say a word: one alone may be mistaken


def findings(choices: ChoicesRecord, said: Sequence[str | None]) -> list[list[str]]:
    """Per pruner a sentence for each of its choices; `said` is the word of every token, None for nothing."""
    return [[finding(choice, choices, said) for choice in method["choices"]] for method in choices["methods"]]


def finding(choice: ChoiceRecord, of_all: ChoicesRecord, said: Sequence[str | None]) -> str:
    """How many tokens give the same answer or another, and which words no token that is kept says."""
    right = {True: ", which is right", False: ", which is wrong", None: ""}[choice["right"]]
    kept, is_one = choice["kept"], len(choice["kept"]) == 1
    if choice["answer"] == of_all["answer"]:
        answer = f"{'gives' if is_one else 'give'} the same answer{right}"
    else:
        verb = "changes" if is_one else "change"
        answer = f"{verb} the answer to “{choice['answer'] or '(blank)'}”{right}"
    return f"{len(kept)} of {counted(len(said), 'token')} {answer}; {_loss(lost_words(kept, said))}."


def lost_words(kept: Sequence[int], said: Sequence[str | None]) -> list[str]:
    """The words that several tokens say and none of the kept ones, the commonest first."""
    left = {said[token] for token in kept}
    common = sorted(Counter(word for word in said if word).items(), key=lambda item: (-item[1], item[0]))
    return [word for word, count in common if count >= RECURRING and word not in left]


def _loss(lost: Sequence[str]) -> str:
    if not lost:
        return "no word that several tokens say is lost"
    named = [f"“{word}”" for word in lost[:NAMED]]
    others = [f"{len(lost) - NAMED} more"] if len(lost) > NAMED else []
    *first, last = named + others
    listed = f"{', '.join(first)} and {last}" if first else last
    return f"the word {listed} is lost" if len(lost) == 1 else f"the words {listed} are lost"
