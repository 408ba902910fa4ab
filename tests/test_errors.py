"""Errors: one line each, whatever they repeat of what was given."""

import pickle

import pytest

from wordsight.errors import MediaError, UsageError, WordsightError, located, shown


@pytest.mark.parametrize("between", ["\n", "\r\n", "\v", "\u2028", " \n "])
def test_an_error_is_one_line(between):
    assert str(WordsightError(f"first{between}second")) == "first second"


def test_endless_words_are_cut_and_paths_are_not():
    path = f"/{'folder/' * 60}a.png"
    assert str(UsageError(f"no such file: {path}; give another")) == f"no such file: {path}; give another"
    assert str(UsageError(f"got {'9' * 5000}; give less")) == f"got {'9' * 60}...; give less"


def test_a_place_is_put_before_an_error_of_the_same_kind():
    with pytest.raises(MediaError, match=r"^q\.jsonl, line 2: no such picture$"), located("q.jsonl, line 2"):
        raise MediaError("no such picture")


def test_an_error_crosses_processes():
    assert str(pickle.loads(pickle.dumps(UsageError("a\nb")))) == "a b"


def test_values_are_cut_even_where_python_writes_none():
    assert shown("cat") == "'cat'"
    assert len(shown("a" * 100)) == 60
    assert shown(10**5000) == "a number of 16610 bits"
