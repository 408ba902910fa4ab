"""What stage 2 draws, and its loss against one row at a time."""

import random

import pytest
import torch


@pytest.fixture
def features(recipe, shown):
    """Random tokens of every photo; the first half of a photo's tokens is salient."""
    views = [recipe.views.View("photo", photo.split, (number,)) for number, photo in enumerate(shown)]
    collages = recipe.views.draw_collages(shown, "train", 10)
    salient = torch.cat([torch.ones(32), torch.zeros(32)])
    return {
        name: recipe.features.Features(
            some,
            [torch.randn(len(some), 64, 1536, generator=torch.Generator().manual_seed(1)).half()],
            salient.expand(len(some), -1),
            ["red"] * len(some),
        )
        for name, some in (("photos", views), ("collages-train", collages))
    }


@pytest.fixture
def run_of(recipe, shown, features, letters, llama):
    return lambda letter: recipe.runs.Run(letter, 0, shown, features, (llama, letters))


@pytest.fixture
def draw(recipe, run_of, letters):
    return lambda letter: recipe.answering.Draw(run_of(letter), recipe.prompts.Layout(letters))


@pytest.fixture
def answerer(recipe, llama):
    return recipe.answering.Answerer(recipe.alignment.Aligner(32).projector, llama)


def said(recipe, row):
    return "".join(chr(i) for i in row.wanted if i != recipe.prompts.IGNORED).removesuffix("<|im_end|>")[1:]


def test_the_loss_of_a_batch_is_that_of_its_rows(recipe, draw, answerer):
    batch = draw("b")
    for one in (batch(random.Random(seed)) for seed in range(6)):
        rows = [
            recipe.answering.Drawn([features], [row])
            for features, row in zip(one.features, one.rows, strict=True)
        ]
        counts = torch.tensor([sum(i != recipe.prompts.IGNORED for i in row.rows[0].wanted) for row in rows])
        with torch.no_grad():
            alone = torch.stack([answerer.loss(row) for row in rows])
            together = answerer.loss(one)
        torch.testing.assert_close(together, (alone * counts).sum() / counts.sum(), rtol=1e-4, atol=1e-4)


def test_both_stages_make_a_share_of_their_steps(recipe, run_of, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe.runs, "BUILD", tmp_path)
    run, share = run_of("b"), 0.005
    recipe.answering.answer(run, share)
    made = {stage: torch.load(run.file(stage), weights_only=True)["step"] for stage in ("align", "answer")}
    assert made == {"align": 14, "answer": 2}


def test_answers_depend_on_tokens_before_a_gap(recipe, letters, answerer):
    question = recipe.questions.Question("names", "What is this?", "cup")
    row = recipe.prompts.Layout(letters).row([[0, 60]], 64, [question])
    tokens = torch.randn(2, 1536)
    other = torch.stack([-tokens[0], tokens[1]])
    with torch.no_grad():
        losses = [answerer.loss(recipe.answering.Drawn([one], [row])) for one in (tokens, other)]
    assert abs(losses[0] - losses[1]) > 1e-6


def test_only_projector_and_lora_get_gradients(draw, answerer, llama):
    answerer.loss(draw("b")(random.Random(0))).backward()
    assert all(weight.grad is None for weight in llama.parameters())
    assert all(weight.grad is not None for weight in answerer.trained.parameters())


def test_background_alone_is_asked_for_any_name(recipe, draw):
    drawer = draw("b")
    answers = {}
    for slots, kind in ((range(32), "salient"), (range(32, 64), "background")):
        shares = [drawer._share(0, row, list(slots)) for row in range(24)]
        answers[kind] = set(shares)
    assert answers == {"salient": {1.0}, "background": {0.0}}


def test_without_silence_background_is_asked_for_the_name(draw):
    assert draw("a")._share(0, 0, list(range(32, 64))) == 1.0


def test_no_token_says_nothing_of_the_photo(draw):
    assert draw("a")._share(0, 0, []) == 0.0


def test_recipe_d_shows_all_tokens(draw):
    drawer = draw("d")
    assert all(len(one) % 64 == 0 for seed in range(10) for one in drawer(random.Random(seed)).features)


def test_the_other_recipes_show_few_tokens_often(draw):
    drawer = draw("b")
    few = sum(len(drawer(random.Random(seed)).features[0]) % 64 != 0 for seed in range(60))
    assert 10 < few < 35


def test_targets_share_the_name_and_the_prior(recipe):
    prior = torch.tensor([0.5, 0.3, 0.2])
    found = recipe.alignment.targets(torch.tensor([2]), torch.tensor([[1.0, 0.0, 0.5]]), prior)[0]
    torch.testing.assert_close(found, torch.tensor([[0, 0, 1], [0.5, 0.3, 0.2], [0.25, 0.15, 0.6]]))


def test_scaled_tokens_lie_as_far_from_the_mean_word_as_words_do(recipe):
    projector, embedding = recipe.alignment.Aligner(32).projector, torch.randn(50, 32) + 3
    sample = torch.randn(20, 64, 1536)
    projector.load_state_dict(recipe.alignment.as_long_as_words(projector, sample, embedding))
    center = embedding.mean(0)
    far = (projector(sample) - center).norm(dim=-1).mean()
    torch.testing.assert_close(far, (embedding - center).norm(dim=1).median(), rtol=1e-4, atol=1e-4)


def test_merged_weights_answer_like_the_adapted_model(recipe, llama):
    ids = torch.arange(10)[None]
    plain = {name: weight.clone() for name, weight in llama.state_dict().items()}
    parts = recipe.lora.adapt(llama)
    for part in parts:
        torch.nn.init.normal_(part.b)
    adapted = llama(ids).logits
    again = type(llama)(llama.config).eval()
    again.load_state_dict(plain)
    recipe.lora.merge(again, parts)
    torch.testing.assert_close(again(ids).logits, adapted, rtol=1e-4, atol=1e-4)


def test_short_prompts_show_salient_tokens_of_every_corner(recipe, draw):
    drawer = draw("e")
    for seed in range(5):
        slots = drawer._slots(drawer.collages, 0, True, random.Random(seed))
        corners = [len(set(slots) & set(corner)) for corner in recipe.answering.CORNERS]
        assert corners in ([2] * 4, [3] * 4, [4] * 4)
        alone = drawer._slots(drawer.sets[0], 0, True, random.Random(seed))
        assert max(alone) < 32  # the salient half


def test_the_longer_recipe_asks_about_several_things_more_often(recipe, draw):
    asked = {
        letter: sum(
            len(row.ids) > 0 and "top" in said(recipe, row)
            for seed in range(40)
            for row in draw(letter)(random.Random(seed)).rows
        )
        for letter in ("b", "e")
    }
    assert asked["e"] > 1.5 * asked["b"]
