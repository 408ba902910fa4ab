"""Embeddings of no picture, put into a prompt to be read."""

from dataclasses import replace

import torch

from wordsight.redundancy.probe import with_embeddings


def test_embeddings_stand_where_the_first_token_stood_with_nothing_added_in_deeper_layers(prompt):
    tokens = prompt.visual.take(torch.arange(7, 20))
    deep = (tokens.embeds + 1, tokens.embeds * 2)  # deepstack features
    embeds = torch.randn(5, 32)
    made = with_embeddings(replace(prompt, visual=replace(tokens, deep=deep)), embeds).visual
    assert torch.equal(made.embeds, embeds)
    assert made.slot.tolist() == [7] * 5
    assert torch.equal(made.cell, tokens.cell[:1].expand(5, -1))
    assert [layer.shape for layer in made.deep] == [embeds.shape] * 2
    assert not any(layer.any() for layer in made.deep)


def test_the_prompt_that_embeddings_are_put_into_stays_as_it_was(prompt):
    deep = (torch.ones(144, 32),)
    given = replace(prompt, visual=replace(prompt.visual, deep=deep))
    with_embeddings(given, torch.randn(5, 32))
    assert given.visual.deep[0].all()
    assert len(given.visual) == 144
