"""Fingerprints: one for every way to load, save and cut a checkpoint; others for other weights."""

import json
import shutil

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from wordsight import Codebook
from wordsight.errors import ModelNote, UsageError
from wordsight.models.fingerprints import fingerprint_of_files
from wordsight.models.load_options import LoadOptions
from wordsight.models.vlm import VLM


def of(folder, **options):
    return fingerprint_of_files(str(folder), LoadOptions(**options))


def rewrite(folder, change):
    """The weights of a folder changed: a function of the tensors by name."""
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, {"format": "pt"})


def nudge(folder, end):
    """The weight whose name ends so, with every value a little larger."""

    def change(weights):
        (key,) = [key for key in weights if key.endswith(end)]
        return weights | {key: weights[key] * 1.01}

    rewrite(folder, change)


def test_it_is_that_of_the_weights_in_memory(tiny, saved):
    """So that books of before there were fingerprints of files are still known."""
    assert of(saved).space == tiny.fingerprint
    assert of(saved).parts == tiny.parts


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_it_is_the_same_in_every_dtype_that_a_model_is_loaded_in(saved, dtype):
    vlm = VLM.from_pretrained(str(saved), dtype=dtype)
    assert vlm.model.dtype == getattr(torch, dtype)
    assert (vlm.fingerprint, vlm.parts) == (of(saved).space, of(saved).parts)


def test_it_is_the_same_of_files_in_bfloat16(saved, folder):
    rewrite(folder, lambda weights: {key: weight.bfloat16() for key, weight in weights.items()})
    assert of(folder) == of(saved)


def test_it_is_the_same_of_many_files(tiny, saved, tmp_path):
    tiny.model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    assert of(tmp_path) == of(saved)


def test_it_is_the_same_under_the_names_of_the_files_and_those_in_memory(tiny, saved, folder):
    save_file(dict(tiny.model.state_dict()), folder / "model.safetensors", {"format": "pt"})
    files = (load_file(place / "model.safetensors").keys() for place in (folder, saved))
    assert len(set.intersection(*map(set, files))) < len(tiny.model.state_dict())
    assert of(folder) == of(saved)


def test_it_is_the_same_in_the_cache_of_the_hub(saved, tmp_path, monkeypatch):
    repository, commit = tmp_path / "hub" / "models--some-owner--some-model", "0" * 40
    shutil.copytree(saved, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    assert of("some-owner/some-model", cache_dir=str(tmp_path / "hub")) == of(saved)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert of("some-owner/some-model") == of(saved)
    assert of("some-owner/another") is None


def test_that_of_the_embedded_model_is_the_one_of_its_book():
    assert of("demo").space == Codebook.from_pretrained("demo").config["fingerprint"]


@pytest.mark.parametrize("end", ["multi_modal_projector.linear_1.weight", "embed_tokens.weight"])
def test_it_changes_with_the_token_space(saved, folder, end):
    nudge(folder, end)
    assert of(folder).space != of(saved).space
    assert of(folder).parts == of(saved).parts


@pytest.mark.parametrize(
    ("end", "part"),
    [
        ("model.layers.0.self_attn.q_proj.weight", "language_model"),
        ("lm_head.weight", "language_model"),
        ("encoder.layers.1.mlp.fc1.weight", "vision_tower"),
    ],
)
def test_a_part_changes_alone(saved, folder, end, part):
    nudge(folder, end)
    before, after = of(saved), of(folder)
    assert after.space == before.space
    assert [name for name in before.parts if before.parts[name] != after.parts[name]] == [part]


def test_tied_embeddings_are_found_under_either_name(tiny, saved, folder):
    """Some checkpoints hold them as those of the input, some as the head."""
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))

    def without(end):
        return lambda weights: {key: weight for key, weight in weights.items() if not key.endswith(end)}

    head_only = shutil.copytree(folder, folder.parent / "head")
    rewrite(folder, without("lm_head.weight"))
    assert of(folder).space == of(saved).space
    embeddings = next(key for key in load_file(head_only / "model.safetensors") if "embed_tokens" in key)
    rewrite(
        head_only,
        lambda weights: without("embed_tokens.weight")(weights | {"lm_head.weight": weights[embeddings]}),
    )
    assert of(head_only) == of(folder)


def test_without_safetensors_it_is_of_what_was_loaded(tiny, folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert of(folder) is None
    assert VLM.from_pretrained(str(folder)).fingerprint == tiny.fingerprint


def book_of(vlm, **config):
    known = {"format": 3, "model": "the base", "fingerprint": vlm.fingerprint, "parts": vlm.parts}
    return Codebook(torch.randn(3, 32), {**known, **config})


def test_a_book_on_a_tuned_model_is_used_with_a_note_that_says_what_differs(saved, folder, recwarn):
    base = VLM.from_pretrained(str(saved))
    book_of(base).check(base)
    assert not recwarn.list
    nudge(folder, "model.layers.0.self_attn.q_proj.weight")
    with pytest.warns(ModelNote, match="built for the base, and .*model has another language model"):
        book_of(base).check(VLM.from_pretrained(str(folder)))


def test_a_book_on_other_tokens_is_refused(saved, folder):
    book = book_of(VLM.from_pretrained(str(saved)))
    nudge(folder, "multi_modal_projector.linear_1.weight")
    with pytest.raises(UsageError, match="prototypes mean nothing in another model"):
        book.check(VLM.from_pretrained(str(folder)))


def test_a_book_of_before_is_known_where_its_model_was_loaded_in_another_dtype(saved, recwarn):
    """Then it was that of the weights in memory, which float16 rounds."""
    half = VLM.from_pretrained(str(saved), dtype="float16")
    before = VLM(half.model, half.processor, "in memory").fingerprint
    assert before != half.fingerprint
    book_of(half, fingerprint=before, parts=None).check(half)
    assert not recwarn.list
