"""Bare articles in tokenizers as real models have them: byte-level BPE, pieces that begin with a space."""

from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from wordsight.redundancy.probe import (
    ARTICLES,
    QUESTION,
    RELEASED_ARTICLES,
    RELEASED_QUESTION,
    _article_ids,
    articles_of,
)

WORDS = ("a", "an", "the", "A", "The")  # "An" is two tokens
SPACED = ("a", "the", "The", "then", "and")  # with a space before; " an" and " A" are two
LONGER = ("then", "and", "any", "at", "Theo")  # they begin as an article does


def vocabulary_of(space):
    """The ids of the tokens, by their text, and the merges that make them of letters."""
    merges = []
    for word in (*WORDS, *LONGER):
        merges += [(word[:i], word[i]) for i in range(1, len(word))]
    merges += [(space, word) for word in SPACED]
    merges = list(dict.fromkeys(merges))
    letters = sorted({letter for word in (*WORDS, *LONGER, "n") for letter in word})
    tokens = ["<unk>", space, *letters, *("".join(pair) for pair in merges)]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}, merges


def byte_level():
    vocabulary, merges = vocabulary_of("Ġ")
    made = Tokenizer(BPE(vocabulary, merges, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    return made


def sentence_pieces(prepend):
    vocabulary, merges = vocabulary_of("▁")
    made = Tokenizer(BPE(vocabulary, merges, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend)
    made.decoder = decoders.Metaspace(prepend_scheme=prepend)
    return made


@pytest.mark.parametrize(
    ("made", "space"),
    [
        (byte_level(), "Ġ"),
        (sentence_pieces("always"), "▁"),  # as LLaMA: a text begins with a space
        (sentence_pieces("never"), "▁"),  # as Gemma
    ],
    ids=["byte-level", "pieces of LLaMA", "pieces of Gemma"],
)
def test_all_spellings_of_an_article_that_are_one_token_count_and_no_other_word(made, space):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")
    assert [len(tokenizer.tokenize(f" {word}")) for word in ("then", "the", "an")] == [1, 1, 2]
    found = _article_ids(SimpleNamespace(processor=SimpleNamespace(tokenizer=tokenizer)), ARTICLES)
    spelled = {*WORDS, *(f"{space}{word}" for word in ("a", "the", "The"))}
    assert {tokenizer.convert_ids_to_tokens(number) for number in found} == spelled


def test_released_code_reads_over_a_first_capital_a_alone():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=sentence_pieces("always"), unk_token="<unk>")
    vlm = SimpleNamespace(processor=SimpleNamespace(tokenizer=tokenizer))
    found = tokenizer.convert_ids_to_tokens(sorted(_article_ids(vlm, RELEASED_ARTICLES)))
    assert {token.strip("▁") for token in found} == {"A"}


def test_only_to_the_question_of_released_code_articles_are_read_over_as_there():
    assert articles_of(RELEASED_QUESTION, usual=()) == RELEASED_ARTICLES
    assert articles_of(QUESTION, usual=()) == ()
    assert articles_of(QUESTION, usual=ARTICLES) == ARTICLES
