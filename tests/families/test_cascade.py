"""Prompts that begin alike, in every family: read as if each were read alone, as documented."""

import re
from pathlib import Path

import pytest
import torch

from wordsight.algorithms.divergence import jensen_shannon
from wordsight.errors import ModelError
from wordsight.models.cascade import can_cascade
from wordsight.models.vlm import VLM
from wordsight.redundancy.ablation import _with_padding_at, ablate_global, ablate_regional
from wordsight.redundancy.probe import keep_only, probe_tokens

QUESTION = "what color is the cat?"
DOCS = Path(__file__).parents[2] / "docs" / "families.md"


@pytest.fixture
def prompt(vlm, picture):
    return vlm.encode(picture(60, 40, 0), QUESTION)


def read_alone(vlm, prompts):
    """The logits (B, V) of the untouched model, one prompt at a time."""
    return torch.cat([*passes_alone(vlm, prompts)])


def passes_alone(vlm, prompts, after=None):
    """The same, of each prompt by itself."""
    with torch.no_grad():
        return [vlm.model(**one.inputs(), use_cache=False).logits[:, -1] for one in prompts]


def is_kept_once(vlm, prompt):
    """Whether what prompts like this begin with is."""
    shares = vlm.family.shares_beginning(vlm.model)
    return shares and can_cascade(vlm.model, vlm.begin(prompt).cache, prompt.length)


def test_what_tokens_say_alone_is_what_is_read_one_by_one(vlm, prompt, monkeypatch):
    alone = [keep_only(prompt, [i]) for i in range(len(prompt.visual))]
    torch.testing.assert_close(vlm.logits(alone), read_alone(vlm, alone), rtol=1e-5, atol=1e-4)
    quick = probe_tokens(vlm, prompt, 1)
    monkeypatch.setattr(VLM, "logits_by_pass", passes_alone)
    slow = probe_tokens(vlm, prompt, 1)
    assert quick.words[0][0][0] == slow.words[0][0][0]
    assert torch.equal(quick.tokens, slow.tokens)
    torch.testing.assert_close(quick.blind_divergence, slow.blind_divergence, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ablate", [ablate_regional, ablate_global])
def test_leaving_tokens_out_changes_what_it_changes_one_by_one(mapped, prompt, ablate, monkeypatch):
    quick = ablate(mapped, prompt)
    monkeypatch.setattr(VLM, "logits_by_pass", passes_alone)
    slow = ablate(mapped, prompt)
    for ours, theirs in ((quick.intact, slow.intact), (quick.ablated, slow.ablated)):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
        assert torch.equal(ours.argmax(-1), theirs.argmax(-1))
    moved = (pair.divergence(jensen_shannon) for pair in (quick, slow))
    torch.testing.assert_close(*moved, rtol=1e-4, atol=1e-6)


def test_reading_a_part_anew_is_exact_where_it_is_all_that_changes(vlm, prompt):
    changed = [_with_padding_at(vlm, prompt, [place]) for place in (1, 2)]
    first = int(prompt.is_visual.nonzero()[1])
    columns = torch.arange(first, prompt.length).expand(2, -1)
    if not is_kept_once(vlm, prompt):
        with pytest.raises(ModelError, match="cannot read some tokens of a prompt anew"):
            next(vlm.reread(vlm.begin(prompt), changed, columns))
        return
    found = torch.cat([*vlm.reread(vlm.begin(prompt), changed, columns)])
    torch.testing.assert_close(found, read_alone(vlm, changed), rtol=1e-5, atol=1e-4)


def test_what_prompts_begin_with_is_kept_once_but_where_the_docs_say_otherwise(vlm, prompt):
    (line,) = re.findall(r"^- \*\*Shared beginnings\.\*\*.*? Not in (.*?):", DOCS.read_text(), re.M)
    expected = vlm.model.config.model_type not in re.findall("`(.*?)`", line)
    assert is_kept_once(vlm, prompt) == expected
