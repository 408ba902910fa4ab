"""Noise floors of evidence, and the approximate global divergence in it."""

import pytest
import torch

from wordsight._utils.notes import listen_to_notes
from wordsight.algorithms.divergence import MEASURES, jensen_shannon
from wordsight.errors import FileError
from wordsight.models.vlm import VLM
from wordsight.redundancy import collecting, probe
from wordsight.redundancy.ablation import ablate_global, frozen_correlation
from wordsight.redundancy.build import Clustering
from wordsight.redundancy.collecting import EvidencePlan, collect_evidence, collect_part
from wordsight.redundancy.criteria import CRITERIA, Condition
from wordsight.redundancy.experiments import AskedPicture, above_noise
from wordsight.redundancy.merging import merge_evidence
from wordsight.redundancy.noise import SAMPLE, noise_floors

GLOBAL = EvidencePlan(condition=CRITERIA["global"], approximate_global=True)
SAYS = EvidencePlan(condition=CRITERIA["blind_divergence"])


@pytest.fixture
def three(picture, tmp_path):
    """The files of three pictures."""
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        picture.rotate(90 * number).save(path)
    return paths


def test_noise_is_what_reading_one_prompt_at_a_time_changes(tiny, picture, monkeypatch):
    said, read = [], VLM.logits

    def blurred(vlm, prompts, **given):
        logits = read(vlm, prompts, **given)
        said.append(logits if vlm.pass_tokens > 1 else logits + 0.1 * (torch.arange(logits.shape[-1]) % 2))
        return said[-1]

    monkeypatch.setattr(VLM, "logits", blurred)
    floors = noise_floors(AskedPicture(tiny, picture, [probe.QUESTION]), ["probe-0"])
    assert floors == {"probe-0": {"blind_divergence": float(jensen_shannon(*said).max())}}
    assert floors["probe-0"]["blind_divergence"] > 1e-4
    assert [len(logits) for logits in said] == [29, 29]
    assert SAMPLE >= 29


def test_every_experiment_that_diverges_has_floors_that_are_tiny_in_float32(tiny, picture):
    floors = noise_floors(
        AskedPicture(tiny, picture, probe.QUESTIONS), ["tokens", "probe-1", "regional", "global"]
    )
    assert floors.keys() == {"probe-1", "regional", "global"}
    assert floors["regional"].keys() == floors["global"].keys() == MEASURES.keys()
    assert all(abs(floor) < 1e-9 for columns in floors.values() for floor in columns.values())


def test_what_is_below_the_noise_counts_as_no_change():
    column = torch.tensor([0.5, 1e-4, 2e-4, torch.nan, -1e-9])
    kept = above_noise(column, 2e-4)
    assert torch.equal(kept.nan_to_num(7), torch.tensor([0.5, 0, 2e-4, 7, 0]))


def test_a_condition_holds_above_the_noise_when_collecting_as_when_building(
    tiny, three, tmp_path, monkeypatch
):
    raw = collect_evidence(tiny, three, tmp_path / "raw", SAYS).signals["blind_divergence"]
    floor, lowest = float(raw.median()), float(raw.min())
    blurred = {"probe-0": {"blind_divergence": floor}, "regional": {}, "global": {}}
    monkeypatch.setattr(
        collecting, "noise_floors", lambda *given: {name: blurred[name] for name in given[-1]}
    )
    condition = Condition(confidence=lowest / 2, divergence=9.0, signal="blind_divergence")
    plan = EvidencePlan(condition=condition, clustering=Clustering(largest=144), only_survivors=True)
    found = collect_evidence(tiny, three, tmp_path / "evidence", plan)
    assert torch.equal(found.signals["blind_divergence"], above_noise(raw, floor))
    holds = condition.holds(found.signals)
    assert torch.equal(holds, raw < floor)
    assert found.embeds[holds.nonzero()[:, 0]].isfinite().all()


def test_the_approximate_global_says_how_it_ranks_and_mixes_with_no_exact_one(tiny, three, tmp_path):
    folder, notes = tmp_path / "evidence", []
    with listen_to_notes(notes.append):
        found = collect_evidence(tiny, three, folder, GLOBAL)
    expected = frozen_correlation(tiny, tiny.encode(three[0], probe.QUESTION))
    assert (
        f"rank correlation of the approximate global divergence with the exact one: {expected:.2f}" in notes
    )
    exact = ablate_global(tiny, tiny.encode(three[0], probe.QUESTION)).divergence(jensen_shannon)
    first = found.signals["global/jensen_shannon"][: len(exact)]
    assert not torch.equal(first, exact.float())
    assert torch.corrcoef(torch.stack([first, exact.float()]))[0, 1] > 0.5
    with pytest.raises(FileError, match=r"--global \(approximate_global\) was approximate, is exact"):
        collect_evidence(tiny, three, folder, EvidencePlan(condition=CRITERIA["global"]))


def test_parts_of_which_one_is_approximate_are_not_merged(tiny, three, tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "SHARD_PICTURES", 1)
    for part, is_approximate in enumerate((False, True)):
        plan = EvidencePlan(condition=CRITERIA["global"], approximate_global=is_approximate)
        collect_part(tiny, three, tmp_path / f"{part}", plan, part=(part, 2))
    with pytest.raises(FileError, match=r"global is approximate in .*1 and exact in .*0; expected parts of"):
        merge_evidence([tmp_path / "0", tmp_path / "1"], tmp_path / "out")


def test_an_approximate_global_is_added_to_evidence_without_any(tiny, three, tmp_path):
    collect_evidence(tiny, three, tmp_path, SAYS)
    assert len(collect_evidence(tiny, three, tmp_path, GLOBAL).signals["global/jensen_shannon"])
