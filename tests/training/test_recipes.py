"""What each recipe shows of its pictures, all through the schedule."""

import numpy as np
import pytest

from wordsight.synthetic.scenes import CLASSES, NOUNS, OBJECT_CLASSES, TEXTURES

SIZES = 36, 64, 100, 144  # tokens of a whole picture
SHARES = np.linspace(0, 0.999, 40)


@pytest.fixture
def drawn(training, pictures, monkeypatch):
    """Batches of a recipe, small ones, all through the schedule, from where one says."""
    monkeypatch.setattr(training.batches, "TOKENS", 600)

    def draw(name, begin=0.0):
        recipe = training.recipes.RECIPES[name](pictures)
        return [
            recipe.draw(np.random.default_rng(i), share) for i, share in enumerate(SHARES) if share >= begin
        ]

    return draw


def shows_all(batch, *sizes):
    """Whether every prompt holds every token of pictures of one of these sizes."""
    kept = batch.slots.shape[2]
    return kept in sizes and bool((batch.slots == np.arange(kept)).all())


def test_whole_never_leaves_a_token_out(drawn):
    assert all(shows_all(batch, *SIZES) for batch in drawn("whole"))


def test_pictures_of_whole_grow(drawn):
    batches = drawn("whole")
    assert shows_all(batches[0], 36)
    assert set(SIZES) == {batch.slots.shape[2] for batch in batches}
    assert all(shows_all(batch, 144) for batch in drawn("whole", 0.6))


def test_pruned_mostly_leaves_tokens_out(drawn):
    assert np.mean([shows_all(batch, 144) for batch in drawn("pruned")]) < 0.5


def test_warmed_leaves_tokens_out_at_the_beginning_only(drawn):
    batches = drawn("warmed")
    begun = [not shows_all(batch, *SIZES) for batch in batches]
    assert begun == [share < 0.2 for share in SHARES]


def test_silent_shows_all_of_a_picture_or_background_alone(training, pictures, drawn, monkeypatch):
    shown = []
    gather = training.recipes.one_each

    def remember(pool, chosen, cells, asked, limit):
        shown.append((pool.labels[chosen[:, None], cells], pool.owners[chosen[:, None], cells]))
        return gather(pool, chosen, cells, asked, limit)

    monkeypatch.setattr(training.recipes, "one_each", remember)
    some = [batch for batch in drawn("silent") if not shows_all(batch, *SIZES)]
    assert 0 < len(some) <= len(shown)
    for labels, owners in shown:
        assert (labels >= OBJECT_CLASSES).all()
        assert (owners < 0).all()


def test_only_silent_names_no_background_in_a_probe(drawn):
    said = {
        name: {q.answer for b in drawn(name) for row in b.questions for q in row if q.type == "probe"}
        for name in ("silent", "whole")
    }
    assert said["whole"] & set(TEXTURES)
    assert said["silent"] & set(NOUNS)
    assert not said["silent"] & set(TEXTURES)


def test_what_whole_asks_of_one_picture_is_true_of_it(training, pictures):
    """Words for things and backgrounds in the answers are of what the labels show."""
    recipe, pool = training.recipes.Whole(pictures), pictures.small[0]
    rng = np.random.default_rng(0)
    for number in range(len(pool.facts)):
        shown = {CLASSES[i] for i in pool.labels[number] if i >= 0}
        for question in recipe.questions(rng, pool, number, np.arange(36)):
            if question.type in ("naming", "background", "probe"):
                words = set(question.answer.split()) - {"and"}
                assert words <= {word for name in shown for word in name.split()}
