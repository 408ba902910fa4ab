"""What ships of a trained model: 8 bits near enough, names of the checkpoint, the same bytes every time."""

import json

import pytest
import torch
from transformers import AutoTokenizer

from wordsight.demo import MODEL
from wordsight.models.assembly import dequantized


def test_eight_bits_are_within_half_a_step_of_every_row(recipe):
    matrix = torch.randn(5, 7) * torch.tensor([1e-4, 1.0, 30.0, 1.0, 0.0])[:, None]
    weights = {"a.weight": matrix, "b.weight": torch.randn(4, 3, 2, 2), "a.bias": torch.randn(5)}
    packed = recipe.parts.quantized(weights)
    assert packed["a.weight"].dtype == packed["b.weight"].dtype == torch.int8
    found = dequantized(packed)
    assert found.keys() == weights.keys()
    for name in ("a.weight", "b.weight"):
        far = (found[name] - weights[name]).abs().flatten(1).amax(1)
        step = weights[name].abs().flatten(1).amax(1) / 127
        assert (far <= step * 0.5001).all()
    torch.testing.assert_close(found["a.bias"], weights["a.bias"], rtol=1e-3, atol=0)


@pytest.fixture
def checkpoint(recipe, llama, tmp_path):
    """A checkpoint of stage 2 whose LoRA is none of nothing, and its LoRA."""
    parts = recipe.lora.fresh(llama)
    for part in parts:
        torch.nn.init.normal_(part.b)
    modules = {"projector": recipe.alignment.Aligner(32).projector, "lora": parts}
    state = {"trained": torch.nn.ModuleDict(modules).state_dict(), "step": 3, "made_of": {"recipe": "b"}}
    torch.save(state, tmp_path / "answer-b-0.pt")
    return tmp_path / "answer-b-0.pt", parts


def test_lora_is_added_to_the_weight_that_it_is_called_by(recipe, llama, checkpoint):
    path, parts = checkpoint
    trained = recipe.parts.trained(torch.load(path, weights_only=True)["trained"])
    before = {name: weight.clone() for name, weight in llama.state_dict().items()}
    recipe.lora.merge(llama, parts)
    adapted = [name for name, weight in llama.state_dict().items() if not torch.equal(weight, before[name])]
    assert {f"language_model.{name}.lora_a" for name in adapted} == {
        name for name in trained if name.endswith(".lora_a")
    }
    for name in adapted:
        a, b = (trained[f"language_model.{name}.lora_{side}"].float() for side in "ab")
        torch.testing.assert_close(before[name] + b @ a, llama.state_dict()[name], rtol=0, atol=0.01)


def test_the_parts_are_the_same_bytes_every_time_and_tell_no_paths(
    recipe, llama, checkpoint, tmp_path, monkeypatch
):
    source = tmp_path / "language"
    llama.config.save_pretrained(source)
    AutoTokenizer.from_pretrained(MODEL, padding_side="right").save_pretrained(source)
    monkeypatch.setattr(recipe.parts, "language_folder", lambda: source)
    tower = recipe.parts.quantized({"x.weight": torch.ones(2, 2)})
    for name in "ab":
        (tmp_path / name).mkdir()
        recipe.parts.write_parts(checkpoint[0], tmp_path / name, tower)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    contents = [[(tmp_path / name / file).read_bytes() for file in files] for name in "ab"]
    assert contents[0] == contents[1]
    assert not any(str(tmp_path).encode() in content for content in contents[0])
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert manifest["made_of"] == {"recipe": "b", "steps": 3}
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "a")
    assert config["text_config"]["vocab_size"] == len(tokenizer)
    assert config["image_token_id"] == tokenizer.convert_tokens_to_ids("<image>")
    assert tokenizer.padding_side == "left"
    assert "local_files_only" not in (tmp_path / "a" / "tokenizer_config.json").read_text()


def test_the_card_says_what_passes_fails_and_was_not_measured(recipe):
    figure = {"value": 0.9, "interval": [0.8, 0.95], "blind": 0.1}
    gates = [
        {"name": "names", "says": "names >= .85", **figure, "passes": True},
        {"name": "how_many", "says": "how many >= .95", **figure, "passes": False},
        {"name": "names", "says": "one", "value": 0.9, "interval": [None, None], "passes": True},
        {"name": "unseen_names", "says": "unseen >= .60", "value": None, "passes": None},
    ]
    report = {
        "model": "e-0",
        "split": "test",
        "most": 60,
        "gates": gates,
        "environment": {"date": "2026-01-31"},
    }
    told, *_, passes, fails, one, unmeasured = recipe.package.gates_table(report).splitlines()
    assert told.startswith("**It passes 2 of the 3 gates that were measured; it misses: how many 0.900.**")
    assert passes == "| names >= .85 | 0.900 [0.800, 0.950] | 0.100 | passes |"
    assert fails == "| how many >= .95 | 0.900 [0.800, 0.950] | 0.100 | fails |"
    assert one == "| one | 0.900 [one picture] |  | passes |"
    assert unmeasured == "| unseen >= .60 | not measured | | |"


def test_the_card_names_every_folder_that_its_gates_were_measured_with(recipe):
    gates = [{"name": "unseen_names", "value": 0.4}, {"name": "salient_alone", "value": None}]
    report = {"model": "e-1", "split": "test", "most": 60, "gates": gates}
    command = "make photo-gates RECIPE=e SEED=1 SPLIT=test MOST=60 PHOTOS=folder"
    assert recipe.package.gates_command(report) == f"{command} UNSEEN=folder"
    gates[1]["value"] = 0.4
    assert recipe.package.gates_command(report) == f"{command} UNSEEN=folder OUTLINES=folder"


def test_the_card_that_ships_says_what_its_results_say(recipe):
    report = json.loads(recipe.package.RESULTS.read_text())["e-0-test"]
    assert recipe.package.gates_table(report) in recipe.package.CARD.read_text()
