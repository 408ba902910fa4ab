"""Windows by hand, the experiments one token at a time."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wordsight.algorithms.divergence import MEASURES, released_divergence
from wordsight.errors import ModelError
from wordsight.redundancy import probe
from wordsight.redundancy.ablation import (
    LogitPair,
    ablate_global,
    ablate_global_frozen,
    ablate_regional,
    frozen_correlation,
    neighborhoods,
)

QUESTION = "what is the background?"
CORNERS_BORDERS_AND_INNER = [0, 11, 132, 143, 5, 59, 60, 138, 13, 77, 130]


def test_the_divergence_of_logits_compares_the_intact_with_the_ablated():
    intact, ablated = torch.randn(4, 256), torch.randn(4, 256)
    moved = LogitPair(intact, ablated).divergence(released_divergence)
    assert torch.equal(moved, released_divergence(intact, ablated))


class MostLogits(TorchDispatchMode):
    """The most rows of logits, over the tiny model's 256 words, that a tensor made while it is open holds."""

    rows = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        made = function(*arguments, **(options or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.shape[-1:] == (256,):
                self.rows = max(self.rows, tensor.untyped_storage().nbytes() // tensor.itemsize // 256)
        return made


@pytest.mark.parametrize("ablate", [ablate_regional, ablate_global, ablate_global_frozen])
def test_logits_of_a_few_words_are_kept_pass_by_pass_and_diverge_the_same(deep, picture, ablate):
    vlm = replace(deep, pass_tokens=400)
    prompt = vlm.encode(picture, QUESTION)
    whole = ablate(vlm, prompt, articles=["a"])
    with MostLogits() as most:
        few = ablate(vlm, prompt, articles=["a"], top=10)
        probe.probe_tokens(vlm, prompt)
    assert few.intact.shape == few.ablated.shape == (144, 10)
    for measure in MEASURES.values():
        assert torch.equal(few.divergence(measure), whole.divergence(measure))
    assert most.rows < 100


def test_what_was_read_stays_as_it_is_where_an_article_is_read_over(tiny, prompt, monkeypatch):
    begun = tiny.begin(prompt)
    before, said = begun.logits.clone(), int(begun.logits.argmax())
    monkeypatch.setattr(probe, "_article_ids", lambda vlm, articles: {said})
    (second,) = probe.first_words(tiny, [prompt], ["a"], passes=[begun.logits])
    assert not torch.equal(second, before)
    assert torch.equal(begun.logits, before)


def grid(height, width, image=0, crop=0):
    return torch.tensor([[image, crop, row, column] for row in range(height) for column in range(width)])


TOP_LEFT, TOP_RIGHT = [0, 1, 2, 4, 5, 6, 8, 9, 10], [1, 2, 3, 5, 6, 7, 9, 10, 11]
BOTTOM_LEFT, BOTTOM_RIGHT = [4, 5, 6, 8, 9, 10, 12, 13, 14], [5, 6, 7, 9, 10, 11, 13, 14, 15]
FOUR_BY_FOUR = {
    "top left": ([0, 1, 4, 5], TOP_LEFT),
    "top right": ([2, 3, 6, 7], TOP_RIGHT),
    "bottom left": ([8, 9, 12, 13], BOTTOM_LEFT),
    "bottom right": ([10, 11, 14, 15], BOTTOM_RIGHT),
}


@pytest.mark.parametrize(("middles", "window"), FOUR_BY_FOUR.values(), ids=FOUR_BY_FOUR)
def test_windows_of_four_by_four_shift_inward_at_the_border(middles, window):
    assert neighborhoods(grid(4, 4))[middles].tolist() == [window] * 4


def test_an_inner_window_has_its_token_in_the_middle():
    assert neighborhoods(grid(12, 12))[77].tolist() == [64, 65, 66, 76, 77, 78, 88, 89, 90]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (2, 3), (3, 2)])
def test_windows_of_a_grid_up_to_three_by_three_are_all_of_it(height, width):
    count = height * width
    assert neighborhoods(grid(height, width)).tolist() == [[*range(count)] + [-1] * (9 - count)] * count


def test_windows_of_two_rows_are_two_rows_high():
    # Column 3 of 5, in either row: columns 2, 3, 4.
    assert neighborhoods(grid(2, 5))[[3, 8]].tolist() == [[2, 3, 4, 7, 8, 9, -1, -1, -1]] * 2


@pytest.mark.parametrize("other", [{"image": 1}, {"crop": 1}], ids=["images", "crops"])
def test_windows_stay_in_their_own_picture(other):
    found = neighborhoods(torch.cat([grid(4, 4), grid(5, 3, **other)]))
    assert found[16:].tolist() == (neighborhoods(grid(5, 3)) + 16).tolist()


def test_windows_of_the_first_picture_do_not_see_the_second():
    found = neighborhoods(torch.cat([grid(4, 4), grid(5, 3, image=1)]))
    assert found[:16].tolist() == neighborhoods(grid(4, 4)).tolist()


def rows_with_line_breaks():
    """A 3x3 grid with a line break after each row, as LLaVA-NeXT has them: breaks at 3, 7 and 11."""
    end = torch.tensor([[0, 0, -1, -1]])
    return torch.cat([part for row in grid(3, 3).split(3) for part in (row, end)])


def test_a_line_break_stands_alone():
    found = neighborhoods(rows_with_line_breaks())
    assert found[[3, 7, 11]].tolist() == [[i] + [-1] * 8 for i in (3, 7, 11)]


def test_line_breaks_are_in_no_window_of_another_token():
    assert neighborhoods(rows_with_line_breaks())[5].tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]


def test_windows_of_a_pruned_grid_hold_what_is_left_of_the_neighborhood():
    left = grid(4, 4)[[0, 2, 5, 15]]
    assert neighborhoods(left).tolist() == [
        [0, 1, 2] + [-1] * 6,
        [1, 2] + [-1] * 7,
        [0, 1, 2] + [-1] * 6,
        [2, 3] + [-1] * 7,
    ]


def neighborhood(token):
    """The nine tokens around one of a 12x12 grid, found by trying every one."""
    row, column = min(max(token // 12, 1), 10), min(max(token % 12, 1), 10)
    return [i for i in range(144) if abs(i // 12 - row) <= 1 and abs(i % 12 - column) <= 1]


@torch.no_grad()
def first_word(vlm, embeds):
    """The logits of a prompt with these visual tokens, written into the embeddings by hand."""
    text = "user: " + "<image> " * len(embeds) + QUESTION + " assistant:"
    ids = torch.tensor(vlm.processor.tokenizer(text)["input_ids"])
    spelled = vlm.model.get_input_embeddings()(ids)
    spelled[ids == 4] = embeds
    return vlm.model(
        inputs_embeds=spelled[None],
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        position_ids=torch.arange(len(ids))[None],
    ).logits[0, -1]


def padded(vlm, embeds, places):
    """The tokens with some replaced by the padding embedding."""
    changed = embeds.clone()
    for place in places:
        changed[place] = vlm.model.get_input_embeddings().weight[0].detach()
    return changed


@pytest.fixture(scope="module")
def regions(tiny, prompt):
    return ablate_regional(tiny, prompt)


@pytest.fixture(scope="module")
def whole(tiny, prompt):
    return ablate_global(tiny, prompt)


some_tokens = pytest.mark.parametrize("token", CORNERS_BORDERS_AND_INNER)


@some_tokens
def test_the_intact_region_is_the_neighborhood_alone(tiny, prompt, regions, token):
    slow = first_word(tiny, prompt.visual.embeds[neighborhood(token)])
    torch.testing.assert_close(regions.intact[token], slow, rtol=1e-5, atol=1e-5)


@some_tokens
def test_the_ablated_region_has_padding_for_the_token(tiny, prompt, regions, token):
    around = neighborhood(token)
    embeds = padded(tiny, prompt.visual.embeds[around], [around.index(token)])
    torch.testing.assert_close(regions.ablated[token], first_word(tiny, embeds), rtol=1e-5, atol=1e-5)


def test_the_intact_image_is_the_same_for_every_token(tiny, prompt, whole):
    slow = first_word(tiny, prompt.visual.embeds).expand(144, -1)
    torch.testing.assert_close(whole.intact, slow, rtol=1e-5, atol=1e-5)


@some_tokens
def test_the_ablated_image_has_padding_for_the_neighborhood(tiny, prompt, whole, token):
    slow = first_word(tiny, padded(tiny, prompt.visual.embeds, neighborhood(token)))
    torch.testing.assert_close(whole.ablated[token], slow, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def frozen(deep, prompt):
    return ablate_global_frozen(deep, prompt)


@torch.no_grad()
def first_word_of_frozen(vlm, prompt, places):
    """Layer by layer: what is not read anew has the states that it has in the intact prompt."""
    language, inputs = vlm.model.model.language_model, prompt.inputs()
    states = vlm.model(**inputs, use_cache=False, output_hidden_states=True).hidden_states
    visual = prompt.is_visual.nonzero()[:, 0]
    anew = torch.cat([visual[places], torch.arange(int(visual[-1]) + 1, len(prompt.is_visual))])
    rotary = language.rotary_emb(states[0], position_ids=inputs["position_ids"])
    mine = states[0][:, anew].clone()
    mine[:, : len(places)] = vlm.pad_embedding
    for before, layer in zip(states[:-1], language.layers, strict=True):
        mixed = before.clone()
        mixed[:, anew] = mine
        mine = layer(mixed, attention_mask=None, position_embeddings=rotary)[:, anew]
    return vlm.model.lm_head(language.norm(mine))[0, -1]


@some_tokens
def test_the_frozen_image_is_read_anew_in_a_neighborhood_and_after_it(deep, prompt, frozen, token):
    slow = first_word_of_frozen(deep, prompt, neighborhood(token))
    torch.testing.assert_close(frozen.ablated[token], slow, rtol=1e-5, atol=1e-5)


def test_the_frozen_image_is_intact_as_the_image_is(deep, prompt, frozen):
    torch.testing.assert_close(frozen.intact, ablate_global(deep, prompt).intact)


def test_the_frozen_image_ranks_about_as_the_image_does(embedded, picture):
    asked = embedded.encode(picture, QUESTION)
    assert 0.8 < frozen_correlation(embedded, asked) < 1


def test_a_model_that_reads_pictures_in_both_directions_has_no_frozen_image(deep, prompt, monkeypatch):
    monkeypatch.setattr(type(deep.family), "is_causal", lambda self, model: False)
    with pytest.raises(ModelError, match="cannot read some tokens of a prompt anew"):
        ablate_global_frozen(deep, prompt)


def test_every_token_is_examined(regions, whole):
    assert {len(part) for logits in (regions, whole) for part in (logits.intact, logits.ablated)} == {144}


def test_leaving_tokens_out_does_not_change_the_prompt(tiny, prompt, regions, whole, picture):
    fresh = tiny.encode(picture, QUESTION)
    assert torch.equal(prompt.visual.embeds, fresh.visual.embeds)


def test_the_regions_of_a_second_image_are_those_of_the_same_image_first(tiny, picture):
    other = picture.transpose(Image.Transpose.ROTATE_90)
    orders = [tiny.encode(order, QUESTION) for order in ([picture, other], [other, picture])]
    first, second = (
        replace(one, visual=one.visual.take(torch.arange(144) + start))
        for one, start in zip(orders, (0, 144), strict=True)
    )
    torch.testing.assert_close(
        ablate_regional(tiny, second).ablated, ablate_regional(tiny, first).ablated, rtol=1e-5, atol=1e-5
    )


def test_an_article_is_read_over_in_both_answers_if_asked(tiny, prompt, monkeypatch):
    plain = ablate_global(tiny, prompt, [70])
    article = int(plain.intact[0].argmax())
    monkeypatch.setattr(probe, "_article_ids", lambda vlm, articles: {article})
    assert torch.equal(ablate_global(tiny, prompt, [70]).intact, plain.intact)
    read_over = ablate_global(tiny, prompt, [70], articles=probe.RELEASED_ARTICLES)
    torch.testing.assert_close(read_over.intact, tiny.logits([prompt.followed_by(article)]))
    alone = ablate_regional(tiny, prompt, [70]).ablated
    said = int(alone[0].argmax())
    monkeypatch.setattr(probe, "_article_ids", lambda vlm, articles: {said})
    after = ablate_regional(tiny, prompt, [70], articles=probe.RELEASED_ARTICLES).ablated
    assert not torch.equal(after, alone)
