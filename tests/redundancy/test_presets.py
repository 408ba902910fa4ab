"""Presets of the paper's three models, against what lies beside the codebooks that its authors released."""

from dataclasses import replace

import pytest
import torch

from wordsight.errors import UsageError
from wordsight.pruners.codebook import CodebookPruner
from wordsight.redundancy import presets
from wordsight.redundancy.codebook import Codebook, import_released
from wordsight.redundancy.presets import PRESETS, Preset, preset, with_released_pruning
from wordsight.redundancy.probe import RELEASED_QUESTION


def settings(name):
    chosen = preset(name)
    condition, clustering = chosen.condition, chosen.clustering
    return (
        (condition.confidence, condition.divergence, condition.regional_weight, condition.global_weight),
        (clustering.image_clusters, clustering.largest, clustering.clusters, clustering.images),
        chosen.pruning,
    )


def test_the_settings_are_those_released_beside_the_codebooks():
    assert settings("llava-1.5") == (
        (0.15, 2e-3, 1, 16),
        (8, 8, 64, 64),
        {"rule": "cosine", "threshold": 0.45},
    )
    assert settings("llava-next") == (
        (0.1, 2e-3, 1, 16),
        (8, 8, 64, 64),
        {"rule": "cosine", "threshold": 0.11},
    )
    assert settings("llava-onevision") == (
        (0.08, 1.8e-3, 1, 16),
        (8, 3, 24, 16),
        {"rule": "double_softmax", "keep": 0.5},
    )
    for chosen in PRESETS.values():
        assert chosen.condition.measure == "released_divergence"
        assert (chosen.clustering.neighbors, chosen.clustering.scale) == (5, "sqrt_dim")
        assert chosen.plan.questions == (RELEASED_QUESTION,)
        assert chosen.plan.condition == chosen.condition


def test_an_unknown_preset_is_refused():
    with pytest.raises(
        UsageError, match=r"unknown preset 'llava-1\.6': .*choose from llava-1\.5, llava-next"
    ):
        preset("llava-1.6")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((454, 4096), {"threshold": 0.45}),
        ((969, 4096), {"threshold": 0.11}),
        ((45, 3584), {"rule": "double_softmax", "keep": 0.5}),
    ],
)
def test_a_released_book_is_imported_with_the_rule_that_it_prunes_by(tmp_path, shape, expected):
    torch.save(torch.randn(shape), tmp_path / "released.pt")
    with_released_pruning(import_released(tmp_path / "released.pt", "llava")).save_pretrained(
        tmp_path / "book"
    )
    book = str(tmp_path / "book")
    assert CodebookPruner.published(codebook=book) == CodebookPruner(
        codebook=book, positions="contiguous", **expected
    )
    # What is asked for holds: a budget is no threshold.
    assert CodebookPruner.published(codebook=book, keep=0.1) == CodebookPruner(
        codebook=book, positions="contiguous", keep=0.1
    )


def test_another_book_is_imported_without_a_rule(tmp_path):
    torch.save(torch.randn(46, 3584), tmp_path / "own.pt")
    book = with_released_pruning(import_released(tmp_path / "own.pt", "llava"))
    assert "pruning" not in book.config
    assert CodebookPruner.published(codebook=book).threshold is None
    named = with_released_pruning(import_released(tmp_path / "own.pt", "llava"), "llava-next")
    assert named.config["pruning"] == {"rule": "cosine", "threshold": 0.11}


def test_the_book_of_one_model_takes_no_preset_of_another(tmp_path):
    torch.save(torch.randn(454, 4096), tmp_path / "released.pt")
    book = import_released(tmp_path / "released.pt", "llava")
    with pytest.raises(
        UsageError, match=r"454 prototypes of D=4096 .* for llava-1\.5, .* not that of llava-next"
    ):
        with_released_pruning(book, "llava-next")
    assert with_released_pruning(book, "llava-1.5").config == with_released_pruning(book).config


def test_a_book_that_is_built_by_a_preset_says_how_to_prune_by_it(monkeypatch):
    seen = {}
    monkeypatch.setattr(
        presets,
        "build_codebook",
        lambda *given: seen.update(given=given) or Codebook(torch.eye(3), {"format": 3, "model": "made-up"}),
    )
    chosen = replace(preset("llava-next"), pruning={"rule": "cosine", "threshold": 0.3})
    assert chosen.build("evidence").config["pruning"] == {"rule": "cosine", "threshold": 0.3}
    assert seen["given"] == ("evidence", chosen.condition, chosen.clustering)
    ours = Preset(condition=chosen.condition, clustering=chosen.clustering, pruning=None)
    assert "pruning" not in ours.build("evidence").config
