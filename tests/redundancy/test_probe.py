"""What each token says alone, against prompts built by hand and read one at a time."""

import math
from dataclasses import replace

import pytest
import torch
from PIL import Image

from wordsight._utils.progress import report_progress
from wordsight.redundancy import probe

TOP = 50
article_ids = probe._article_ids


def alone_by_hand(vlm, embeds, *, repeat=1, said=()):
    """Token by token: the prompt with the embedding in `repeat` placeholders, and the words said so far."""
    text = "user: " + "<image> " * repeat + probe.QUESTION + " assistant:"
    ids = torch.tensor([*vlm.processor.tokenizer(text)["input_ids"], *said])
    rows = []
    for token in embeds:
        spelled = vlm.model.get_input_embeddings()(ids).detach().clone()
        spelled[ids == 4] = token
        with torch.no_grad():
            logits = vlm.model(
                inputs_embeds=spelled[None],
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                position_ids=torch.arange(len(ids))[None],
            ).logits
        rows.append(logits[0, -1])
    return torch.stack(rows)


@pytest.fixture(autouse=True, scope="module")
def no_articles():
    """No word of the tiny model counts as an article, by chance, unless a test says which does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "_article_ids", lambda vlm, articles: set())
        yield


@pytest.fixture(scope="module")
def asked(tiny, picture):
    """Random tokens: of those of a picture the tiny model says much the same word."""
    prompt = tiny.encode(picture, probe.QUESTION)
    embeds = torch.randn(144, 32, generator=torch.Generator().manual_seed(0))
    return replace(prompt, visual=replace(prompt.visual, embeds=embeds))


@pytest.fixture(scope="module")
def reading(tiny, asked):
    return probe.probe_tokens(tiny, asked)


@pytest.fixture(scope="module")
def by_hand(tiny, asked):
    return alone_by_hand(tiny, asked.visual.embeds)


def test_confidence_is_the_best_of_the_softmax_over_the_top_fifty(reading, by_hand):
    slow = torch.stack([row.sort(descending=True).values[:TOP].softmax(0).max() for row in by_hand])
    torch.testing.assert_close(reading.confidence, slow, rtol=1e-5, atol=1e-6)


def test_probabilities_are_those_of_the_fifty_likeliest_words(reading, by_hand):
    for ids, chances, row in zip(reading.tokens, reading.probabilities, by_hand, strict=True):
        torch.testing.assert_close(chances, row[ids].softmax(0), rtol=1e-4, atol=1e-6)


def test_no_word_left_out_is_likelier_than_one_that_is_in(reading, by_hand):
    for ids, row in zip(reading.tokens, by_hand, strict=True):
        others = torch.ones(len(row), dtype=torch.bool)
        others[ids] = False
        assert row[others].max() <= row[ids].min() + 1e-5


def test_the_first_word_is_the_argmax_spelled_out(tiny, reading, by_hand):
    best = [tiny.processor.decode([row.argmax().item()]) for row in by_hand]
    assert [words[0][0] for words in reading.words] == best


def test_words_come_with_their_probabilities_the_likeliest_first(reading):
    chances = [[chance for _, chance in row] for row in reading.words]
    assert chances == [sorted(row, reverse=True) for row in reading.probabilities.tolist()]


def test_the_probabilities_of_a_token_add_up_to_one(reading):
    torch.testing.assert_close(reading.probabilities.sum(-1), torch.ones(144))


@pytest.mark.parametrize("top", [1, 7, 256, 1000])
def test_as_many_words_are_read_as_asked_for_and_there_are(tiny, asked, top):
    few = replace(asked, visual=asked.visual.take(torch.arange(3)))
    assert probe.probe_tokens(tiny, few, top).tokens.shape == (3, min(top, 256))


def test_a_token_shown_three_times_is_read_three_times(tiny, asked):
    some = replace(asked, visual=asked.visual.take(torch.tensor([0, 40, 77, 143])))
    slow = alone_by_hand(tiny, some.visual.embeds, repeat=3).topk(TOP).values.softmax(-1)
    reading = probe.probe_tokens(tiny, some, repeat=3)
    torch.testing.assert_close(reading.probabilities, slow, rtol=1e-4, atol=1e-6)


def test_showing_a_token_three_times_changes_its_confidence(tiny, asked, reading):
    assert not torch.allclose(
        probe.probe_tokens(tiny, asked, repeat=3).confidence, reading.confidence, atol=1e-3
    )


def test_a_token_can_be_repeated_more_often_than_tokens_survive(tiny, asked):
    one = replace(asked, visual=asked.visual.take(torch.tensor([77])))
    slow = alone_by_hand(tiny, one.visual.embeds, repeat=3).topk(TOP).values.softmax(-1)
    reading = probe.probe_tokens(tiny, one, repeat=3)
    torch.testing.assert_close(reading.probabilities, slow, rtol=1e-4, atol=1e-6)


def test_the_tokens_of_a_pruned_prompt_are_read_as_those_of_the_whole(tiny, asked, reading):
    kept = torch.tensor([5, 60, 61, 140])
    pruned = replace(asked, visual=asked.visual.take(kept))
    torch.testing.assert_close(
        probe.probe_tokens(tiny, pruned).confidence, reading.confidence[kept], rtol=1e-5, atol=1e-6
    )


def test_the_tokens_of_a_second_image_are_read_as_those_of_the_first(tiny, picture):
    other = picture.transpose(Image.Transpose.ROTATE_90)
    orders = [tiny.encode(order, probe.QUESTION) for order in ([picture, other], [other, picture])]
    first, second = (
        replace(prompt, visual=prompt.visual.take(torch.arange(144) + start))
        for prompt, start in zip(orders, (0, 144), strict=True)
    )
    torch.testing.assert_close(
        probe.probe_tokens(tiny, second).confidence,
        probe.probe_tokens(tiny, first).confidence,
        rtol=1e-5,
        atol=1e-6,
    )


def slow_certainty(row):
    """One minus the entropy over the whole vocabulary as a share of its maximum, in Python's own floats."""
    powers = [math.exp(value - max(row)) for value in row]
    chances = [power / sum(powers) for power in powers]
    return 1 + sum(chance * math.log(chance) for chance in chances) / math.log(len(row))


def slow_divergence(row, blind):
    """The Jensen-Shannon divergence over the ten words that are likeliest with the token."""
    best = sorted(range(len(row)), key=lambda i: -row[i])[:10]
    both = [[math.exp(logits[i]) for i in best] for logits in (row, blind)]
    p, q = ([power / sum(powers) for power in powers] for powers in both)
    m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    terms = (a * math.log(a / c) + b * math.log(b / c) for a, b, c in zip(p, q, m, strict=True))
    return sum(terms) / 2


def blind_by_hand(vlm, *, said=()):
    return alone_by_hand(vlm, [torch.zeros(0, 32)], repeat=0, said=said)[0].double().tolist()


def test_certainty_is_one_minus_the_share_of_the_entropy(reading, by_hand):
    slow = torch.tensor([slow_certainty(row) for row in by_hand.double().tolist()])
    torch.testing.assert_close(reading.certainty, slow, rtol=1e-4, atol=1e-5)


def test_certainty_tells_tokens_apart(reading):
    assert reading.certainty.max() - reading.certainty.min() > 0.01


def test_blind_divergence_is_that_from_the_prompt_without_any_visual_token(tiny, reading, by_hand):
    blind = blind_by_hand(tiny)
    slow = torch.tensor([slow_divergence(row, blind) for row in by_hand.double().tolist()])
    assert slow.max() > 0.01
    torch.testing.assert_close(reading.blind_divergence, slow, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("moved", "nothing"), [(0, True), (0.1, True), (0.19, True), (0.21, False)])
def test_a_token_that_moves_less_than_a_fifth_of_what_is_said_says_nothing(moved, nothing):
    logits = torch.tensor([[0.5 + moved, 0.5 - moved], [0.5, 0.5]]).log().tolist()
    far = slow_divergence(*logits)
    assert far == pytest.approx(moved**2 / 2, rel=0.1)  # as small divergences are
    one = torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.5]]), (("a", "b"),), torch.zeros(1)
    assert probe.TokenProbe(*one, torch.tensor([far])).says_nothing.tolist() == [nothing]


def test_which_tokens_say_nothing_follows_from_their_distributions(tiny, reading, by_hand):
    blind = blind_by_hand(tiny)
    slow = torch.tensor([slow_divergence(row, blind) for row in by_hand.double().tolist()])
    assert (reading.says_nothing == (slow < probe.NOISE_FLOOR)).all()


def test_tokens_whose_words_are_those_without_any_say_nothing(tiny, asked, monkeypatch):
    same = torch.arange(256.0)
    monkeypatch.setattr(tiny, "logits_by_pass", lambda prompts: [same.repeat(len(prompts), 1)])
    assert probe.probe_tokens(tiny, asked).says_nothing.all()


def test_a_token_that_is_shown_no_time_diverges_from_nothing(tiny, asked):
    few = replace(asked, visual=asked.visual.take(torch.arange(2)))
    assert probe.probe_tokens(tiny, few, repeat=0).blind_divergence.tolist() == pytest.approx(
        [0, 0], abs=1e-9
    )


@pytest.fixture
def articles(tiny, reading, monkeypatch):
    """The two commonest words that the tiny model says of single tokens, taken for articles."""
    said, counts = reading.tokens[:, 0].unique(return_counts=True)
    words = said[counts.argsort(descending=True)[:2]].tolist()
    monkeypatch.setattr(probe, "_article_ids", lambda vlm, articles: set(words))
    return words


def test_what_is_read_pass_by_pass_is_bit_for_bit_that_of_all_logits(tiny, asked, articles, monkeypatch):
    monkeypatch.setattr(probe, "_article_ids", lambda vlm, given: {articles[1]})
    vlm = replace(tiny, pass_tokens=200)
    alone = [probe.keep_only(asked, [i]) for i in range(144)]
    logits = vlm.logits(alone)
    first = logits.argmax(-1).tolist()
    late = [row for row, token in enumerate(first) if token == articles[1]]
    assert 1 < len(late) < 140
    second = [alone[row].followed_by(first[row], vlm.family.generated) for row in late]
    logits[late] = vlm.logits(second)
    said = probe.probe_tokens(vlm, asked, TOP)
    best, tokens = logits.topk(TOP, -1)
    assert torch.equal(said.tokens, tokens)
    assert torch.equal(said.probabilities, best.softmax(-1))
    entropy = torch.special.entr(logits.softmax(-1)).sum(-1)
    assert torch.equal(said.certainty, 1 - entropy / math.log(256))


def test_words_are_reported_pass_by_pass_as_they_are_in_the_end(tiny, asked, reading, articles):
    """Where the first word is an article, the second one is; where that is, too, which is rare, none."""
    parts = []
    with report_progress(lambda progress: None, parts.append):
        said = probe.probe_tokens(replace(tiny, pass_tokens=200), asked)
    final = probe.likeliest_words(said.spelled, said.blind_divergence)
    known = [row for row, token in enumerate(said.tokens[:, 0].tolist()) if token not in articles]
    assert len(parts) > 3
    assert sorted(row for part in parts for row in part) == known
    assert all(final[row] == word for part in parts for row, word in part.items())
    assert any(reading.tokens[row, 0] in articles for row in known)


@pytest.mark.parametrize("which", [0, 1])
def test_where_the_first_word_is_an_article_the_next_is_read(tiny, asked, by_hand, articles, which):
    late = by_hand.argmax(-1) == articles[which]
    slow = alone_by_hand(tiny, asked.visual.embeds[late], said=[articles[which]])
    chances = probe.probe_tokens(tiny, asked).probabilities[late]
    torch.testing.assert_close(chances, slow.topk(TOP).values.softmax(-1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("which", [0, 1])
def test_an_article_is_followed_by_the_next_word(tiny, asked, by_hand, articles, which):
    late = by_hand.argmax(-1) == articles[which]
    slow = alone_by_hand(tiny, asked.visual.embeds[late], said=[articles[which]]).argmax(-1)
    assert probe.probe_tokens(tiny, asked).tokens[late, 0].tolist() == slow.tolist()


def test_where_the_first_word_is_no_article_it_is_read(tiny, asked, by_hand, reading, monkeypatch):
    commonest = int(by_hand.argmax(-1).mode().values)
    monkeypatch.setattr(probe, "_article_ids", lambda vlm, articles: {commonest})
    early = by_hand.argmax(-1) != commonest
    assert early.any()
    chances = probe.probe_tokens(tiny, asked).probabilities
    torch.testing.assert_close(chances[early], reading.probabilities[early], rtol=1e-4, atol=1e-6)


def test_only_spellings_of_articles_count_as_articles(tiny):
    vocabulary = tiny.processor.tokenizer.get_vocab()
    assert article_ids(tiny, probe.ARTICLES) == {vocabulary[word] for word in ("a", "an", "the")}


def test_only_orders_and_repeats_tokens_at_will(asked):
    picked = probe.keep_only(asked, [9, 2, 9]).visual.embeds
    assert torch.equal(picked, asked.visual.embeds[[9, 2, 9]])


def test_only_has_contiguous_positions(asked):
    inputs = probe.keep_only(asked, [100, 101]).inputs()
    assert inputs["position_ids"][0].tolist() == list(range(len(asked.is_visual) - 142))


def test_where_the_blind_word_is_an_article_the_next_is_compared(tiny, asked, by_hand, monkeypatch):
    blind = torch.tensor(blind_by_hand(tiny)).argmax().item()
    monkeypatch.setattr(probe, "_article_ids", lambda vlm, articles: {blind})
    early = (by_hand.argmax(-1) != blind).nonzero()[:, 0]
    assert len(early)
    next_words = blind_by_hand(tiny, said=[blind])
    slow = torch.tensor([slow_divergence(row, next_words) for row in by_hand[early].double().tolist()])
    torch.testing.assert_close(
        probe.probe_tokens(tiny, asked).blind_divergence[early], slow, rtol=1e-3, atol=1e-6
    )


def test_spell_names_every_id_on_its_own(tiny):
    words = (("a", "airplane"), ("an", "a"))
    ids = [tiny.processor.tokenizer.convert_tokens_to_ids(list(row)) for row in words]
    assert probe.decode_ids(tiny, torch.tensor(ids)) == words
