"""Evidence of a few small pictures: its columns, stopped runs that go on, pictures skipped, refusals."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wordsight._utils.artifacts import sealed
from wordsight.algorithms.divergence import MEASURES
from wordsight.errors import FileError, UsageError
from wordsight.redundancy import ablation, collecting, probe
from wordsight.redundancy.build import Clustering, build_codebook
from wordsight.redundancy.collecting import EvidencePlan, collect_evidence
from wordsight.redundancy.criteria import Condition
from wordsight.redundancy.evidence import Evidence
from wordsight.redundancy.experiments import measure_tokens
from wordsight.synthetic.scenes import render

NUMBER = 3
EVERYTHING = Condition(confidence=None, divergence=None)
CLUSTERING = Clustering(image_clusters=4, largest=144, clusters=4, images=0)
TOKEN_SIGNALS = ["confidence", "certainty", "blind_divergence", "questions", "questions_divergence"]
ABLATIONS = {"regional": ablation.ablate_regional, "global": ablation.ablate_global}
EXPERIMENTS = 6  # the tokens, three probes, both ablations


pytestmark = pytest.mark.usefixtures("one_picture_per_shard")


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_there_is_one_row_for_every_token_of_every_picture(whole):
    found = Evidence.load(whole)
    assert len(found) == NUMBER * 144
    assert found.image.tolist() == [i for i in range(NUMBER) for _ in range(144)]


def test_columns_have_the_shapes_of_their_descriptions(whole):
    found = Evidence.load(whole)
    rows = NUMBER * 144
    assert found.embeds[:].shape == (rows, 32)
    assert found.cell[:].shape == (rows, 4)
    assert found.words[:].shape == found.word_probabilities[:].shape == (rows, 5)
    assert {name: tuple(column.shape) for name, column in found.signals.items()} == dict.fromkeys(
        TOKEN_SIGNALS + [f"{scope}/{measure}" for scope in ABLATIONS for measure in MEASURES], (rows,)
    )


def test_columns_hold_what_the_experiments_say(whole, tiny, pictures):
    found = Evidence.load(whole)
    second = slice(144, 288)
    prompt = tiny.encode(pictures[1], probe.QUESTION)
    reading = probe.probe_tokens(tiny, prompt)
    assert torch.equal(found.embeds[second], prompt.visual.embeds)
    assert torch.equal(found.cell[second], prompt.visual.cell)
    assert torch.equal(found.words[second], reading.tokens[:, :5])
    assert torch.equal(found.word_probabilities[second], reading.probabilities[:, :5])
    for name in TOKEN_SIGNALS[:3]:
        assert torch.equal(found.signals[name][second], getattr(reading, name))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("scope", ABLATIONS)
def test_divergences_are_those_of_leaving_out_under_the_first_question(whole, tiny, pictures, scope, measure):
    logits = ABLATIONS[scope](tiny, tiny.encode(pictures[1], probe.QUESTION))
    found = Evidence.load(whole).signals[f"{scope}/{measure}"][144:288]
    assert torch.equal(found, MEASURES[measure](logits.intact, logits.ablated).float())


@pytest.mark.parametrize(
    ("column", "signal"), [("questions", "confidence"), ("questions_divergence", "blind_divergence")]
)
def test_a_signal_over_all_questions_is_that_of_the_question_that_says_most(
    whole, tiny, pictures, column, signal
):
    readings = [probe.probe_tokens(tiny, tiny.encode(pictures[1], question)) for question in probe.QUESTIONS]
    each = zip(*(getattr(reading, signal).tolist() for reading in readings), strict=True)
    slow = torch.tensor([max(values) for values in each])
    found = Evidence.load(whole).signals[column][144:288]
    torch.testing.assert_close(found, slow, rtol=1e-5, atol=1e-7)
    assert (found > Evidence.load(whole).signals[signal][144:288] + 1e-6).any()


def test_tokens_say_nothing_by_the_divergence_from_the_blind_answer(evidence_of):
    found = evidence_of({"blind_divergence": [0.0, 0.019, 0.021, 0.5], "questions_divergence": [0.5] * 4})
    assert found.says_nothing.tolist() == [True, True, False, False]


def test_with_one_question_all_questions_say_what_it_says(tiny, pictures):
    columns = measure_tokens(tiny, pictures[0], ["what is it?"])
    assert torch.equal(columns["questions"], columns["confidence"])
    assert torch.equal(columns["questions_divergence"], columns["blind_divergence"])


def test_the_manifest_says_which_model_was_asked_what_about_which_pictures(whole, tiny, pictures):
    found = Evidence.load(whole)
    assert found.pictures == tuple(path.name for path in pictures)
    assert found.manifest["fingerprint"] == tiny.fingerprint
    assert found.manifest["questions"] == list(probe.QUESTIONS)


def killed_after(count):
    """A map that dies when so many jobs are done."""

    def run(function, jobs):
        for number, job in enumerate(jobs):
            if number == count:
                raise KeyboardInterrupt
            yield function(job)

    return run


@pytest.fixture(scope="module")
def resumed(tiny, pictures, tmp_path_factory):
    """The folder of a run that was killed after one shard, and started again."""
    folder = tmp_path_factory.mktemp("resumed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collecting, "SHARD_PICTURES", 1)
        with pytest.raises(KeyboardInterrupt):
            collect_evidence(tiny, pictures, folder, map=killed_after(1))
        shards = [name for name in files(folder) if name.endswith(".safetensors")]
        assert len(shards) == EXPERIMENTS  # one of each
        collect_evidence(tiny, pictures, folder)
    return folder


def test_a_killed_run_goes_on_to_the_same_bytes(whole, resumed):
    assert files(resumed) == files(whole)


def test_a_killed_run_gives_the_same_book(whole, resumed, tmp_path):
    for name, found in (("whole", Evidence.load(whole)), ("resumed", Evidence.load(resumed))):
        build_codebook(found, EVERYTHING, CLUSTERING).save_pretrained(tmp_path / name)
    assert files(tmp_path / "resumed") == files(tmp_path / "whole")


def test_a_run_killed_inside_a_shard_leaves_no_part_of_it(tiny, pictures, tmp_path, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("wordsight.redundancy.evidence_files.write_tensors", killed)
    with pytest.raises(KeyboardInterrupt):
        collect_evidence(tiny, pictures[:1], tmp_path)
    assert all(name.endswith(".json") for name in files(tmp_path))


def test_a_resumed_run_examines_only_what_is_missing(whole, tiny, pictures, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    (tmp_path / "regional" / "000001.safetensors").unlink()
    done = []

    def counting(function, jobs):
        done.extend((job.number, list(job.missing)) for job in jobs)
        return map(function, jobs)

    collect_evidence(tiny, pictures, tmp_path, map=counting)
    assert done == [(1, ["regional"])]
    assert files(tmp_path) == files(whole)


def backwards(function, jobs):
    return [function(job) for job in reversed(jobs)]


def threaded(function, jobs):
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, jobs))


@pytest.mark.parametrize("other_map", [backwards, threaded])
def test_any_map_writes_the_same_files(other_map, whole, tiny, pictures, tmp_path):
    collect_evidence(tiny, pictures, tmp_path, map=other_map)
    assert files(tmp_path) == files(whole)


@pytest.fixture
def mixed(pictures, tmp_path):
    """Good pictures around two bad ones."""
    text, cut = tmp_path / "text.png", tmp_path / "cut.png"
    text.write_text("not a picture")
    cut.write_bytes(pictures[0].read_bytes()[:300])
    return [pictures[0], text, cut, pictures[1]]


@pytest.mark.parametrize("shard", [1, 4])
def test_bad_pictures_are_skipped_and_the_run_goes_on(shard, mixed, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "SHARD_PICTURES", shard)
    found = collect_evidence(tiny, mixed, tmp_path / "run")
    assert found.image.unique().tolist() == [0, 3]
    assert len(found) == 2 * 144


def test_skipped_pictures_are_named_with_the_reason(mixed, tiny, tmp_path):
    reasons = collect_evidence(tiny, mixed, tmp_path / "run").skipped
    assert [Path(name).name for name in reasons] == ["text.png", "cut.png"]
    text, cut = reasons.values()
    assert "no picture" in text
    assert "cut short" in cut


def test_good_pictures_are_not_skipped(whole):
    assert Evidence.load(whole).skipped == {}


def test_bad_pictures_of_one_name_are_all_named(tiny, tmp_path):
    bad = [tmp_path / folder / "same.png" for folder in ("one", "two")]
    for path in bad:
        path.parent.mkdir()
        path.write_text(f"not a picture: {path}")
    assert len(collect_evidence(tiny, bad, tmp_path / "run").skipped) == 2


def test_only_bad_pictures_leave_no_rows(mixed, tiny, tmp_path):
    assert len(collect_evidence(tiny, mixed[1:3], tmp_path / "run")) == 0


def test_evidence_of_another_model_is_refused(whole, tiny, pictures):
    with pytest.raises(UsageError, match=r"evidence of another run .*differs: .*model"):
        collect_evidence(replace(tiny, name="other"), pictures, whole)


def test_evidence_about_other_questions_is_refused(whole, tiny, pictures):
    with pytest.raises(UsageError, match=r"evidence of another run .*differs: .*questions"):
        collect_evidence(tiny, pictures, whole, EvidencePlan(questions=[probe.QUESTION]))


def test_evidence_of_other_pictures_is_refused(whole, tiny, pictures):
    with pytest.raises(UsageError, match=r"evidence of another run .*differs: .*pictures"):
        collect_evidence(tiny, pictures[:2], whole)


def test_a_picture_that_changed_is_another_picture(copy, tiny, pictures, tmp_path):
    (tmp_path / "other").mkdir()
    changed = tmp_path / "other" / pictures[0].name
    render(99).image.save(changed)
    (copy / "regional" / "000000.safetensors").unlink()
    with pytest.raises(FileError, match=r"0\.png is another picture than when its evidence was begun"):
        collect_evidence(tiny, [changed, *pictures[1:]], copy)


def test_refused_evidence_is_left_as_it_was(whole, tiny, pictures):
    before = files(whole)
    with pytest.raises(UsageError):
        collect_evidence(tiny, pictures[:1], whole)
    assert files(whole) == before


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def test_unfinished_evidence_is_refused_with_the_missing_file(copy):
    (copy / "global" / "000002.safetensors").unlink()
    with pytest.raises(UsageError, match=r"unfinished.* global/000002\.safetensors is missing"):
        Evidence.load(copy)


def test_a_damaged_file_is_refused_by_its_name(copy):
    (copy / "probe-1" / "000001.safetensors").write_bytes(b"damaged")
    with pytest.raises(UsageError, match=r"probe-1/000001\.safetensors cannot be used .*: delete it"):
        Evidence.load(copy)


def reseal(path, **changes):
    """The manifest as another program might write it: its digest is right."""
    manifest = json.loads(path.read_text())
    del manifest["digest"]
    manifest = {key: value for key, value in (manifest | changes).items() if value is not None}
    path.write_text(json.dumps(sealed(manifest)))


@pytest.mark.parametrize("number", [1, 2, 3, 5, None])
def test_evidence_of_another_format_is_refused(copy, number):
    reseal(copy / "manifest.json", format=number)
    with pytest.raises(FileError, match=r"has format \w+, .* reads 4 .*: collect the evidence again"):
        Evidence.load(copy)


def test_a_manifest_without_one_of_its_fields_is_refused(copy):
    reseal(copy / "manifest.json", fingerprint=None)
    with pytest.raises(
        FileError, match=r"manifest\.json is damaged .*: fingerprint: Field required: collect"
    ):
        Evidence.load(copy)


@pytest.mark.parametrize("content", [None, "", "[", "[]"])
def test_a_folder_without_a_manifest_is_refused(copy, content):
    (copy / "manifest.json").unlink()
    if content is not None:
        (copy / "manifest.json").write_text(content)
    with pytest.raises(FileError, match=r"(no evidence in|manifest\.json cannot be used)"):
        Evidence.load(copy)
