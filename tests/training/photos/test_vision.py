"""The order of tokens, and what a window lets through."""

import torch
from transformers import InternVLVisionModel
from transformers.models.internvl.modeling_internvl import InternVLModel


def test_tokens_are_in_the_order_of_internvl(recipe):
    states = torch.randn(2, 257, 12)
    theirs = InternVLModel.pixel_shuffle(None, states[:, 1:].reshape(2, 16, 16, 12), 0.5)
    assert torch.equal(recipe.vision.tokens_of(states), theirs.reshape(2, 64, 48))


def test_a_token_knows_nothing_outside_its_window(recipe):
    torch.manual_seed(0)
    tower = InternVLVisionModel(recipe.vision.vision_config(2)).eval()
    recipe.vision.restrict_attention(tower)
    image = torch.randn(1, 3, 224, 224)
    other = image.clone()
    other[..., :56, :56] += 1  # the first window
    with torch.no_grad():
        before, after = (
            recipe.vision.tokens_of(tower(one).last_hidden_state)[0].view(8, 8, -1) for one in (image, other)
        )
    changed = (before - after).abs().amax(-1) > 1e-6
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[:2, :2] = True
    assert torch.equal(changed, expected)


def test_the_most_salient_tokens_are_foreground_however_faint(recipe):
    salient = torch.linspace(0, 0.3, 64)[None]
    share = recipe.vision.foreground(salient)[0]
    assert share.tolist() == [0.0] * 58 + [1.0] * 6


def test_between_background_and_foreground_the_share_grows(recipe):
    salient = torch.tensor([[0.3, 0.4, 0.55, 0.7] + [0.9] * 60])
    torch.testing.assert_close(recipe.vision.foreground(salient)[0, :4], torch.tensor([0, 0, 0.5, 1.0]))


def test_the_exporters_matrices_get_their_names_back(recipe):
    matrix, places = torch.randn(3, 4), {name: torch.zeros(1, 1, 3) for name in recipe.wheels.POSITIONS}
    inputs = {"/backbone/encoder/layer.0/attention/attention/key/MatMul": "onnx::MatMul_7"}
    found = recipe.wheels.renamed({"onnx::MatMul_7": matrix, **places}, inputs)
    assert torch.equal(found["encoder.layer.0.attention.k_proj.weight"], matrix.T)
