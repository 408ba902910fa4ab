"""Every family reads the same under transformers' FlashAttention-2, whose kernels are written out here."""

from contextlib import contextmanager
from dataclasses import replace

import facts
import pytest
import torch
import transformers.modeling_flash_attention_utils as flash_utils

from wordsight import pruners

QUESTION = "what color is the cat?"
LONGER = "is there a cat or a dog in the garden?"


def attend(query, key, value, options):
    """(queries, heads, width) attention of one sequence, by its definition."""
    key, value = (part.repeat_interleave(query.shape[1] // key.shape[1], 1) for part in (key, value))
    scale = options.get("softmax_scale") or query.shape[-1] ** -0.5
    scores = torch.einsum("qhd,khd->hqk", query, key) * scale
    if softcap := options.get("softcap"):
        scores = softcap * torch.tanh(scores / softcap)
    # The last query stands at the last key; a window bounds how far before and after itself each looks.
    ahead = torch.arange(len(key)) - torch.arange(len(query))[:, None] - (len(key) - len(query))
    before, after = options.get("window_size", (-1, -1))
    hidden = (ahead > 0) if options.get("causal") else torch.zeros_like(ahead, dtype=torch.bool)
    hidden |= (ahead < -before) if before >= 0 else hidden
    hidden |= (ahead > after) if after >= 0 else hidden
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(hidden, -torch.inf).softmax(-1), value)


def equal_lengths(query, key, value, *_, **options):
    """flash_attn_func: rows of one length."""
    rows = zip(query, key, value, strict=True)
    return torch.stack([attend(*row, options) for row in rows])


def packed(query, key, value, *_, cu_seqlens_q, cu_seqlens_k, **options):
    """flash_attn_varlen_func: sequences behind one another, each from one bound to the next."""
    for bounds, part in ((cu_seqlens_q, query), (cu_seqlens_k, key)):
        assert int(bounds[-1]) == len(part), "tokens after the last sequence are read by none"
    parts = [
        part.split(bounds.diff().tolist())
        for bounds, part in ((cu_seqlens_q, query), (cu_seqlens_k, key), (cu_seqlens_k, value))
    ]
    return torch.cat([attend(*sequence, options) for sequence in zip(*parts, strict=True)])


@contextmanager
def flash_attention(vlm):
    """While open, the language model attends by the kernels above."""
    kernels = (equal_lengths, packed, None, flash_utils._pad_input, flash_utils._unpad_input)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flash_utils, "_lazy_imports", lambda *given, **options: kernels)
        patch.setattr(flash_utils, "_loaded_implementation", None)
        for config in (vlm.model.config, vlm.model.config.get_text_config()):
            patch.setattr(config, "_attn_implementation_internal", "flash_attention_2")
        yield


@pytest.fixture
def prompts(vlm, media):
    """Two questions about whole and pruned pictures, which begin alike."""
    if not vlm.family.is_causal(vlm.model):
        pytest.skip("no machine runs it: its mask, which is not causal, is none that FlashAttention-2 takes")
    if facts.kind(vlm) in facts.NO_FLASH:
        pytest.skip("no machine runs it: transformers reads no prompt of this model with FlashAttention-2")
    short, long = vlm.encode(media, QUESTION), vlm.encode(media, LONGER)
    return [
        short,
        *(subset(short, share, seed) for seed, share in enumerate((0.5, 0.3, 0.5))),
        subset(long, 0.6, 3),
    ]


def subset(prompt, share, seed):
    chosen = torch.rand(len(prompt.visual), generator=torch.Generator().manual_seed(seed)) < share
    return replace(prompt, visual=prompt.visual.take(chosen.nonzero()[:, 0]))


@pytest.mark.parametrize("pass_tokens", [1, 4096])
def test_logits_are_the_same_under_flash_attention(vlm, prompts, pass_tokens, monkeypatch):
    monkeypatch.setattr(vlm, "pass_tokens", pass_tokens)
    for given in (prompts, prompts[1:2]):
        expected = vlm.logits(given)
        with flash_attention(vlm):
            found = vlm.logits(given)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_answers_are_the_same_under_flash_attention(vlm, prompts):
    expected = [vlm.generate([prompt], max_new_tokens=4)[0] for prompt in prompts]
    with flash_attention(vlm):
        assert [vlm.generate([prompt], max_new_tokens=4)[0] for prompt in prompts] == expected
        assert vlm.generate(prompts, max_new_tokens=4) == expected


def test_dropping_between_layers_is_the_same_under_flash_attention(vlm, prompts):
    if vlm.family.is_recurrent or facts.kind(vlm) in facts.SHARED_KEYS:
        return  # nothing is dropped between such layers
    layer = max(1, vlm.family.whole_layers(vlm.model))
    dropping = [
        pruners.make(f"fastv:layer={layer},keep={keep}")(prompts[place])
        for place, keep in ((0, 0.4), (4, 0.7))
    ]
    expected = vlm.logits(dropping)
    with flash_attention(vlm):
        found = torch.cat([vlm.logits(dropping), *(vlm.logits([one]) for one in dropping)])
    close = 1e-5 * float(expected.abs().max())
    torch.testing.assert_close(found, torch.cat([expected, expected]), rtol=0, atol=close)
