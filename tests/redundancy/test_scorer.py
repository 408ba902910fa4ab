"""Scorers fitted to made-up evidence, their files, and the models that they are not for."""

import json
import math
from dataclasses import replace

import pytest
import torch

from wordsight import VLM, demo
from wordsight.errors import FileError, UsageError
from wordsight.pruners.learned import Learned
from wordsight.redundancy.scorer import FILES, Fitting, Scorer, fit_scorer

FITTING = Fitting(hidden=16, passes=200)


@pytest.fixture(scope="module")
def evidence(evidence_of):
    """Tokens that say something where the product of two coordinates is positive: no cosine tells which."""
    embeds = torch.randn(800, 6, generator=torch.Generator().manual_seed(0)) * 3 + 5
    says = ((embeds[:, 0] - 5) * (embeds[:, 1] - 5) > 0).float() * 0.5
    return evidence_of({"blind_divergence": says}, embeds)


@pytest.fixture(scope="module")
def scorer(evidence):
    return fit_scorer(evidence, FITTING)


def test_it_tells_what_no_line_divides(evidence, scorer):
    says = evidence.signals["blind_divergence"] > 0
    predicted = scorer.predict(evidence.embeds)
    assert ((predicted > 0.25) == says).float().mean() > 0.9
    assert predicted.min() >= 0
    assert predicted.max() <= math.log(2)


def test_a_prediction_is_two_layers_written_out(evidence, scorer):
    first, second = scorer.layers["first"].double(), scorer.layers["second"].double()
    for embedding, found in zip(
        evidence.embeds[:5].double(), scorer.predict(evidence.embeds[:5]), strict=True
    ):
        hidden = []
        for unit in first:
            total = unit[0] + sum(w * x for w, x in zip(unit[1:], embedding, strict=True))
            hidden.append(total * (1 + math.erf(total / math.sqrt(2))) / 2)
        out = second[0, 0] + sum(w * h for w, h in zip(second[0, 1:], hidden, strict=True))
        assert float(found) == pytest.approx(math.log(2) / (1 + math.exp(-out)), rel=1e-4)


def test_the_mean_prediction_is_the_mean_of_what_tokens_say(evidence, scorer):
    expected = float(evidence.signals["blind_divergence"].mean())
    assert float(scorer.predict(evidence.embeds).mean()) == pytest.approx(expected, abs=0.02)


def test_the_same_evidence_gives_the_same_scorer_and_leaves_the_generator_alone(evidence, scorer):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    again = fit_scorer(evidence, FITTING)
    assert all(torch.equal(again.layers[name], scorer.layers[name]) for name in scorer.layers)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_fitting_leaves_the_generators_of_gpus_alone(evidence, monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("GPUs were seeded"))
    fit_scorer(evidence, Fitting(hidden=2, passes=1))


def test_no_token_is_refused(evidence_of):
    with pytest.raises(UsageError, match="a scorer cannot be fitted to no token"):
        fit_scorer(evidence_of({"blind_divergence": []}))


def test_a_scorer_comes_back_from_its_folder(scorer, tmp_path):
    scorer.save_pretrained(tmp_path / "scorer")
    again = Scorer.from_pretrained(tmp_path / "scorer")
    assert again.config == scorer.config
    assert all(torch.equal(again.layers[name], scorer.layers[name]) for name in scorer.layers)


def test_a_folder_of_something_else_is_not_written_over(scorer, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileError, match=r"it holds notes\.txt"):
        scorer.save_pretrained(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_damaged_and_missing_files_are_refused(scorer, tmp_path, name, damages):
    scorer.save_pretrained(tmp_path / "scorer")
    path = tmp_path / "scorer" / name
    content = path.read_bytes()
    for damaged in damages(content):
        path.write_bytes(damaged)
        with pytest.raises(FileError):
            Scorer.from_pretrained(tmp_path / "scorer")
    path.unlink()
    with pytest.raises(FileError, match=f"no scorer in .*: {name} is missing"):
        Scorer.from_pretrained(tmp_path / "scorer")


def test_layers_that_do_not_fit_are_refused(scorer, tmp_path):
    for number, layers in enumerate(
        (
            {"first": scorer.layers["first"]},
            {**scorer.layers, "second": scorer.layers["second"][:, 1:]},
            {**scorer.layers, "first": scorer.layers["first"] * float("nan")},
        )
    ):
        replace(scorer, layers=layers).save_pretrained(tmp_path / str(number))
        with pytest.raises(FileError, match="fit it again"):
            Scorer.from_pretrained(tmp_path / str(number))


def test_another_width_or_another_model_is_refused(scorer, tiny):
    with pytest.raises(UsageError, match="the scorer is for D=6"):
        Learned(scorer=scorer).check(tiny)
    wide = fit_to_tiny(scorer, "f00d")
    with pytest.raises(UsageError, match=r"fitted for made-up \(fingerprint f00d\), this is tiny"):
        Learned(scorer=wide).check(tiny)
    Learned(scorer=fit_to_tiny(scorer, tiny.fingerprint)).check(tiny)


def fit_to_tiny(scorer, fingerprint):
    layers = {"first": torch.zeros(16, 33), "second": scorer.layers["second"]}
    return Scorer(layers, {**scorer.config, "fingerprint": fingerprint})


def test_the_embedded_scorer_is_the_embedded_models():
    config = json.loads((demo.SCORER / "config.json").read_text())
    assert VLM.from_pretrained().has_token_space(config["fingerprint"])
    assert Scorer.from_pretrained("demo").config["fingerprint"] == config["fingerprint"]
