"""A short run of stage 2, from the tower that is there to a checkpoint that answers."""

import pytest
import torch

from wordsight import VLM


@pytest.fixture
def ready(training, pictures, tmp_path, monkeypatch):
    """Stage 2 on few pictures, in a folder of its own."""
    language = training.language
    monkeypatch.setattr(language, "BUILD", tmp_path)
    monkeypatch.setattr(language, "Pictures", lambda *_, **__: pictures)
    monkeypatch.setattr(language, "ALIGN", 2)
    monkeypatch.setattr(training.batches, "TOKENS", 300)
    # That model's tower, under as few words as the training folder has here: silent goes on from it.
    training.model.save(language.start(1), tmp_path / "whole-1")
    monkeypatch.setattr(language, "MODELS", tmp_path)
    monkeypatch.setattr(language, "SHIPPED", {})
    return language


def test_the_tower_is_that_of_the_model_that_is_there(ready, embedded):
    tower = ready.start(1).model.vision_tower.state_dict()
    for name, weight in embedded.model.model.vision_tower.state_dict().items():
        torch.testing.assert_close(tower[name], weight.float(), msg=name)


def test_a_seed_without_a_tower_is_refused(ready):
    with pytest.raises(SystemExit, match="train a tower"):
        ready.start(7)


def test_silent_begins_with_all_of_the_model_of_whole(ready, tmp_path):
    there = VLM.from_pretrained(str(tmp_path / "whole-1")).model.state_dict()
    begun = ready.start(1, "silent").state_dict()
    assert begun.keys() == there.keys()
    assert all(torch.equal(begun[name], weight.float()) for name, weight in there.items())
    with pytest.raises(SystemExit, match=r"language\.py --seed 7"):
        ready.start(7, "silent")


@pytest.mark.parametrize("recipe", ["whole", "pruned", "silent"])
def test_a_run_trains_what_is_not_the_tower_and_answers(training, ready, tmp_path, picture, recipe):
    before = ready.start(1, recipe).state_dict()
    ready.train(recipe, 1, 0.003, 60, 20)
    trained = ready.trained_model(recipe, 1)
    parts = {
        name.removeprefix("model.").split(".")[0]
        for name, w in trained.state_dict().items()
        if not torch.equal(w, before[name])
    }
    assert parts == {
        "multi_modal_projector",
        "language_model",
        "lm_head",
    }  # the last is the table of words, too
    training.model.save(trained, tmp_path / "model")
    assert isinstance(VLM.from_pretrained(str(tmp_path / "model")).answer(picture, "what is it?").text, str)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_a_run_of_steps_learns_from_the_batches_that_are_drawn_for_their_share(training, ready, monkeypatch):
    losses, seen = ready.answer_loss, []
    monkeypatch.setattr(
        ready, "answer_loss", lambda model, *batch: seen.append(batch) or losses(model, *batch)
    )
    ready.train("whole", 1, scenes=60, clips=20, steps=3)
    saved = ready.load(ready.checkpoint("whole", 1), {})
    assert saved["step"] == len(seen) == 3
    recipe = training.recipes.RECIPES["whole"](ready.Pictures())
    for step, (features, slots, packed) in enumerate(seen):
        drawn = ready.draw_batch(recipe, 1, step, step / 3)
        assert torch.equal(features, drawn[0])
        assert torch.equal(slots, drawn[1])
        assert torch.equal(packed.ids, drawn[2].ids)


def test_a_run_of_another_recipe_is_not_gone_on_with(training, ready, tmp_path):
    ready.train("whole", 1, 0.003, 60, 20)
    ready.checkpoint("whole", 1).rename(ready.checkpoint("silent", 1))
    with pytest.raises(SystemExit, match="another recipe"):
        ready.trained_model("silent", 1)
