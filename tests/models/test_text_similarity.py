"""Signals from words, against loops over the embedding table; and pruners that read the question."""

from dataclasses import replace

import pytest
import torch

from wordsight.evaluation.prepared_task import PreparedTask
from wordsight.models import text_similarity as words
from wordsight.pruners.cdpruner import CDPruner
from wordsight.pruners.divprune import DivPrune
from wordsight.tasks.scenes import Scenes

QUESTIONS = ("is there a cat?", "what is the background?")


def table(vlm):
    return vlm.model.get_input_embeddings().weight.detach()[: len(vlm.processor.tokenizer)]


def test_question_is_the_cosine_with_each_of_its_words(tiny, picture):
    visual = tiny.encode(picture, QUESTIONS[0], signals=frozenset({"question"})).visual
    ids = tiny.processor.tokenizer.encode(QUESTIONS[0], add_special_tokens=False)
    rows = [table(tiny)[word] for word in ids]
    slow = torch.stack([torch.cosine_similarity(visual.embeds, row[None], -1) for row in rows], 1)
    torch.testing.assert_close(visual.signals["question"], slow)


@pytest.mark.parametrize("chunk", [1, 7, 10_000])
def test_the_nearest_word_is_that_of_the_largest_cosine_of_all(tiny, picture, monkeypatch, chunk):
    monkeypatch.setattr(words, "CHUNK", chunk)
    visual = tiny.encode(picture, QUESTIONS[0], signals=frozenset({"nearest_word", "word_similarity"})).visual
    every = torch.cosine_similarity(visual.embeds[:, None], table(tiny)[None], -1)
    torch.testing.assert_close(visual.signals["word_similarity"], every.amax(1))
    torch.testing.assert_close(visual.signals["nearest_word"], every.argmax(1))


def test_another_question_about_the_same_tokens_has_its_own_words(tiny, picture):
    first, second = (tiny.encode(picture, asked, signals=frozenset({"question"})) for asked in QUESTIONS)
    again = tiny.encode(picture, QUESTIONS[1], signals=frozenset({"question"}), visual=first.visual)
    assert torch.equal(again.visual.signals["question"], second.visual.signals["question"])


def test_a_pruner_that_reads_the_question_chooses_anew_in_a_chat(tiny, picture):
    pruner = CDPruner(keep=0.2)
    chat = tiny.chat(picture, pruner=pruner)
    kept = [chat.prepare(asked).prompt.visual.slot.tolist() for asked in QUESTIONS]
    alone = [
        tiny.chat(picture, pruner=pruner).prepare(asked).prompt.visual.slot.tolist() for asked in QUESTIONS
    ]
    assert kept == alone
    assert kept[0] != kept[1]


def test_one_that_does_not_keeps_its_choice(tiny, picture):
    chat = tiny.chat(picture, pruner=DivPrune(keep=0.2))
    first, second = (chat.prepare(asked).prompt.visual for asked in QUESTIONS)
    assert first is second or torch.equal(first.slot, second.slot)


def test_a_prepared_task_prunes_for_every_question_if_the_pruner_reads_it(tiny, monkeypatch):
    task = Scenes(pictures=1)
    prepared = PreparedTask.of(tiny, task, task.first(4), signals=frozenset({"question"}))
    placed = []
    monkeypatch.setattr(PreparedTask, "_answers", lambda self, prompts: placed.extend(prompts) or [""] * 4)
    prepared.run(CDPruner(keep=0.1))
    alone = [CDPruner(keep=0.1).prune(prompt.visual).slot.tolist() for prompt in prepared.prompts]
    assert [prompt.visual.slot.tolist() for prompt in placed] == alone
    assert len({tuple(slots) for slots in alone}) > 1


def test_a_token_without_length_is_near_no_word(tiny, picture):
    visual = tiny.encode(picture, QUESTIONS[0], signals=words.TEXT_SIGNALS).visual
    nothing = replace(visual, embeds=torch.zeros_like(visual.embeds))
    tokenizer, names = tiny.processor.tokenizer, frozenset({"question"})
    again = words.with_text_signals(tiny.model, tokenizer, nothing, QUESTIONS[0], names)
    assert not again.signals["question"].any()
