"""Muon in float32 against torch's, which rounds to bfloat16, and against singular values."""

import pytest
import torch

SHAPES = [(6, 16), (16, 6), (8, 8)]


@pytest.fixture(scope="module")
def muon(training):
    return training.muon


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_are_those_of_torch_but_for_its_rounding(muon, shape):
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(shape, generator=generator)
    gradients = [torch.randn(shape, generator=generator) for _ in range(4)]
    ends = []
    for make in (muon.Muon, torch.optim.Muon):
        matrix = torch.nn.Parameter(start.clone())
        options = {} if make is muon.Muon else {"adjust_lr_fn": "match_rms_adamw"}
        stepper = make([matrix], lr=0.1, weight_decay=0.05, **options)
        for gradient in gradients:
            matrix.grad = gradient.clone()
            stepper.step()
        ends.append(matrix.detach() - start)
    assert (ends[0] - ends[1]).norm() < 0.03 * ends[1].norm()


def test_singular_values_become_nearly_one_and_directions_stay(muon):
    matrices = torch.randn(3, 5, 9, generator=torch.Generator().manual_seed(2))
    made = muon.orthogonal(matrices)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    values = left.mT @ made @ right.mT
    assert (values.diagonal(dim1=1, dim2=2) - 1).abs().max() < 0.5
    assert (values - torch.diag_embed(values.diagonal(dim1=1, dim2=2))).abs().max() < 1e-4


def test_matrices_of_one_shape_do_not_touch_each_other(muon):
    matrices = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(3))
    together = muon.orthogonal(matrices)
    torch.testing.assert_close(together[:1], muon.orthogonal(matrices[:1]))


def test_a_matrix_without_a_gradient_stays(muon):
    matrix = torch.nn.Parameter(torch.ones(2, 3))
    muon.Muon([matrix], lr=0.1, weight_decay=0.05).step()
    assert torch.equal(matrix, torch.ones(2, 3))
