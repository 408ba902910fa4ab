"""Evidence on disk, of made-up tokens: pictures and files that are away, replaced, damaged, edited."""

import hashlib
import json
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from wordsight._utils.artifacts import read_metadata, read_tensors, sealed, tensors_digest, write_tensors
from wordsight._utils.progress import report_progress
from wordsight._utils.records import json_text
from wordsight.errors import FileError, ModelError
from wordsight.models.load_options import LoadOptions
from wordsight.models.vlm import VLM
from wordsight.redundancy import collecting, evidence_files, examining
from wordsight.redundancy.build import Clustering, build_codebook
from wordsight.redundancy.collecting import EvidencePlan, collect_evidence
from wordsight.redundancy.criteria import DEFAULT, Condition
from wordsight.redundancy.evidence import Evidence
from wordsight.redundancy.evidence_files import SHARDS, columns_of
from wordsight.redundancy.experiments import ABLATIONS, experiments

WIDTH, NUMBER = 8, 6


def runs_in(dtype):
    """What is asked of a model that is never run."""
    config = SimpleNamespace(_attn_implementation="sdpa")
    return SimpleNamespace(dtype=dtype, device=torch.device("cpu"), config=config)


MODEL = SimpleNamespace(
    name="made-up",
    fingerprint="f00d",
    parts={"vision_tower": "aa", "language_model": "bb"},
    options=LoadOptions(),
    model=runs_in(torch.float32),
    pass_tokens=4096,
    pass_bytes=2**32,
    pad_embedding=torch.ones(WIDTH),
)
TUNED = {"vision_tower": "aa", "language_model": "cc"}
HALF = SimpleNamespace(**{**vars(MODEL), "model": runs_in(torch.half)})


def measured(vlm, picture, questions, needs, ablations):
    """Columns of three or four tokens that depend on the pixels and the experiment alone."""
    pixels, found = int(np.asarray(picture).sum()), {}
    for number, name in enumerate(experiments(len(questions))):
        if name in ("tokens", *needs):
            random = torch.Generator().manual_seed(pixels + number)
            shapes = {**columns_of(name), **({"embeds": ((WIDTH,), None)} if name == "tokens" else {})}
            found[name] = {
                column: torch.rand(3 + pixels % 2, *shape, generator=random).mul(9).to(dtype or torch.float32)
                for column, (shape, dtype) in shapes.items()
            }
            if name in ABLATIONS and (picked := ablations.picked(name, found)) is not None:
                for column, values in found[name].items():
                    found[name][column] = torch.where(picked, values, torch.nan)
    return found


@pytest.fixture(autouse=True)
def made_up(monkeypatch):
    monkeypatch.setattr(examining, "measure_experiments", measured)
    monkeypatch.setattr(collecting, "noise_floors", lambda *given: {name: {} for name in given[-1]})
    monkeypatch.setattr(collecting, "_shard_pictures", lambda *given: 2)


def paint(path, seed):
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def pictures(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(NUMBER)]
    for number, path in enumerate(paths):
        paint(path, number)
    return paths


@pytest.fixture
def whole(pictures, tmp_path):
    """The folder of a run in which nothing happened."""
    collect_evidence(MODEL, pictures, tmp_path / "whole")
    return tmp_path / "whole"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def book(found):
    return build_codebook(
        found, Condition(confidence=None, divergence=None), Clustering(largest=9, clusters=2, images=0)
    )


def meanwhile(monkeypatch, act, before="0.png"):
    """Act once, right before the picture of that name is read to be examined."""
    read, acted = examining.open_unchanged, []

    def acting(picture, *rest):
        if picture.name == before and not acted:
            acted.append(act)
            act()
        return read(picture, *rest)

    monkeypatch.setattr(examining, "open_unchanged", acting)


def test_a_picture_that_is_away_for_a_moment_is_examined_by_the_next_run(
    pictures, whole, folder, monkeypatch
):
    aside = pictures[3].with_suffix(".away")
    with monkeypatch.context() as patch:
        meanwhile(patch, lambda: pictures[3].rename(aside))
        found = collect_evidence(MODEL, pictures, folder)
    assert list(found.skipped) == [str(pictures[3])]
    assert files(folder) != files(whole)
    aside.rename(pictures[3])
    found = collect_evidence(MODEL, pictures, folder)
    assert found.skipped == {}
    assert files(folder) == files(whole)
    assert torch.equal(book(found).prototypes, book(Evidence.load(whole)).prototypes)


def test_a_picture_that_is_away_from_the_start_is_examined_by_the_next_run(pictures, whole, folder):
    aside = pictures[0].with_suffix(".away")
    pictures[0].rename(aside)
    assert list(collect_evidence(MODEL, pictures, folder).skipped) == [str(pictures[0])]
    aside.rename(pictures[0])
    assert collect_evidence(MODEL, pictures, folder).skipped == {}
    assert files(folder) == files(whole)


def test_a_picture_that_may_not_be_read_is_skipped_and_later_examined(pictures, whole, folder, monkeypatch):
    def closed(path, *rest):
        if path == str(pictures[2]):
            raise PermissionError(13, "Permission denied")
        return open(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("wordsight.media.addresses.open", closed, raising=False)
        (reason,) = collect_evidence(MODEL, pictures, folder).skipped.values()
    assert "Permission denied" in reason
    collect_evidence(MODEL, pictures, folder)
    assert files(folder) == files(whole)


def test_of_a_picture_that_goes_after_it_was_examined_the_evidence_stays(pictures, whole):
    before = files(whole)
    pictures[1].unlink()
    assert collect_evidence(MODEL, pictures, whole).skipped == {}
    assert files(whole) == before


def test_a_picture_that_stays_broken_is_not_examined_again_and_again(pictures, folder):
    pictures[1].write_text("no picture")
    first = collect_evidence(MODEL, pictures, folder)
    before = files(folder)

    def idle(function, jobs):
        assert jobs == []
        return []

    assert collect_evidence(MODEL, pictures, folder, map=idle).skipped == first.skipped
    assert files(folder) == before


def test_a_file_that_is_done_again_is_whole_at_any_time(pictures, folder, monkeypatch):
    aside = pictures[0].with_suffix(".away")
    pictures[0].rename(aside)
    collect_evidence(MODEL, pictures, folder)
    before = files(folder)
    aside.rename(pictures[0])

    def killed(path, *rest):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(evidence_files, "write_tensors", killed)
    with pytest.raises(KeyboardInterrupt):
        collect_evidence(MODEL, pictures, folder)
    shards = {name: content for name, content in before.items() if name.endswith(".safetensors")}
    assert shards.items() <= files(folder).items()


def test_a_book_says_only_what_was_examined(pictures, folder):
    pictures[1].write_text("no picture")
    config = book(collect_evidence(MODEL, pictures, folder)).config
    listed = [
        {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in pictures
        if path != pictures[1]
    ]
    assert config["counts"]["pictures"] == NUMBER - 1
    assert config["pictures_sha256"] == hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def test_a_picture_replaced_before_an_experiment_is_added_is_noticed(pictures, whole, folder):
    collect_evidence(MODEL, pictures, folder, EvidencePlan(condition=DEFAULT))
    paint(pictures[4], 99)
    with pytest.raises(FileError, match=r"4\.png is another picture than when its evidence was begun: put"):
        collect_evidence(MODEL, pictures, folder)
    written = files(folder)
    assert written.items() <= files(whole).items()
    assert "regional/000001.safetensors" in written
    assert "regional/000002.safetensors" not in written


def test_what_is_examined_is_what_was_digested(pictures, whole, folder, monkeypatch):
    read = examining.read_picture

    def replacing(file, name):
        paint(Path(name), 99)
        return read(file, name)

    monkeypatch.setattr(examining, "read_picture", replacing)
    collect_evidence(MODEL, pictures, folder)
    assert files(folder) == files(whole)


@pytest.mark.parametrize("other", ["fewer", "renamed"])
def test_other_pictures_are_not_those_of_the_evidence(pictures, whole, other):
    before = files(whole)
    if other == "renamed":
        pictures[5] = pictures[5].rename(pictures[5].with_name("other.png"))
    with pytest.raises(
        FileError, match=r"evidence of another run .*differs: the names of 6 pictures, now [56]\)"
    ):
        collect_evidence(MODEL, pictures[: 5 if other == "fewer" else 6], whole)
    assert files(whole) == before


def test_without_its_manifest_evidence_is_found_by_the_same_run(pictures, whole):
    before = files(whole)
    (whole / "manifest.json").unlink()
    collect_evidence(MODEL, pictures, whole, map=lambda function, jobs: list(jobs))
    assert files(whole) == before


def test_without_its_manifest_evidence_does_not_become_that_of_other_pictures(pictures, whole):
    before = files(whole)
    (whole / "manifest.json").unlink()
    others = [path.rename(path.with_name(f"other {path.name}")) for path in pictures]
    with pytest.raises(
        FileError, match=r"000000\.safetensors is of another run .*pictures, other 0\.png first"
    ):
        collect_evidence(MODEL, others, whole)
    assert {name: files(whole)[name] for name in before if name != "manifest.json"}.items() <= before.items()
    with pytest.raises(FileError):
        Evidence.load(whole)


@pytest.mark.parametrize(
    "other",
    [{"name": "b"}, {"fingerprint": "beef"}, {"parts": TUNED}, {"model": HALF.model}, {"pass_tokens": 1}],
    ids=["name", "weights", "tuned", "dtype", "passes"],
)
def test_without_its_manifest_evidence_does_not_become_that_of_another_model(pictures, whole, other):
    (whole / "manifest.json").unlink()
    with pytest.raises(FileError, match="is of another run"):
        collect_evidence(SimpleNamespace(**{**vars(MODEL), **other}), pictures, whole)


def test_a_run_goes_on_on_the_threads_that_it_was_begun_on(pictures, folder, monkeypatch):
    used = []

    def counted(*arguments):
        used.append(torch.get_num_threads())
        return measured(*arguments)

    def elsewhere(function, jobs):
        """As in other processes, which have numbers of their own."""
        used.append(torch.get_num_threads())
        torch.set_num_threads(1)
        return [function(job) for job in jobs]

    monkeypatch.setattr(examining, "measure_experiments", counted)
    torch.set_num_threads(2)
    try:
        collect_evidence(MODEL, pictures, folder)
    finally:
        torch.set_num_threads(1)
    (folder / "tokens" / "000001.safetensors").unlink()
    found = collect_evidence(MODEL, pictures, folder, map=elsewhere)
    assert used == [2] * (NUMBER + 1 + 2)
    assert torch.get_num_threads() == 1
    assert found.manifest["measured_with"]["threads"] == 2
    assert book(found).config["measured_with"]["threads"] == 2


def test_files_measured_on_other_threads_are_not_mixed(pictures, whole, folder):
    torch.set_num_threads(2)
    try:
        collect_evidence(MODEL, pictures, folder)
    finally:
        torch.set_num_threads(1)
    (whole / "tokens/000001.safetensors").write_bytes((folder / "tokens/000001.safetensors").read_bytes())
    with pytest.raises(
        FileError,
        match=r"000001\.safetensors is of another run .*differs: measured_with.threads was 2, is 1\)",
    ):
        Evidence.load(whole)


def test_a_run_begun_in_another_dtype_is_not_finished_in_this_one(pictures, whole):
    (whole / "tokens" / "000001.safetensors").unlink()
    with pytest.raises(FileError, match=r"begun otherwise \(dtype was torch\.float32, is torch\.float16\)"):
        collect_evidence(HALF, pictures, whole)


def test_finished_evidence_is_read_whatever_the_model_runs_in(pictures, whole):
    assert len(collect_evidence(HALF, pictures, whole)) == len(Evidence.load(whole))


def test_what_is_no_number_is_refused_before_it_is_written(pictures, folder, monkeypatch):
    def broken(*arguments):
        found = measured(*arguments)
        return found | {"probe-0": found["probe-0"] | {"confidence": found["probe-0"]["confidence"] / 0}}

    monkeypatch.setattr(examining, "measure_experiments", broken)
    with pytest.raises(
        ModelError, match=r"tokens of .*0\.png: probe-0: some values of confidence are NaN or infinite"
    ):
        collect_evidence(MODEL, pictures, folder)
    assert not [name for name in files(folder) if not name.endswith(".json")]


def state(folder):
    """All that evidence says, None if it is refused; whatever else is raised is a failure."""
    try:
        found = Evidence.load(folder)
        names = ("embeds", "image", "cell", "words", "word_probabilities", "cluster_sizes")
        columns = {name: getattr(found, name)[:] for name in names} | {**found.signals}
    except FileError:
        return None
    return tensors_digest(columns), found.pictures, found.manifest, found.skipped, found.sha256


@pytest.mark.parametrize("name", ["manifest.json", "tokens/000000.safetensors", "probe-1/000002.safetensors"])
def test_damage_is_noticed_wherever_it_is(whole, pictures, damages, name):
    content, before, refused = (whole / name).read_bytes(), state(whole), 0
    for damaged in damages(content):
        (whole / name).write_bytes(damaged)
        found = state(whole)
        assert found in (None, before)
        refused += found is None
    assert refused > 90


def test_files_that_are_exchanged_are_noticed(whole, pictures, tmp_path):
    other = tmp_path / "other"
    collect_evidence(MODEL, pictures[1:] + pictures[:1], other)
    mine, theirs = files(whole), files(other)
    chance = random.Random(0)
    for _ in range(30):
        taker, giver = chance.choice(sorted(mine)), chance.choice(sorted(theirs))
        (whole / taker).write_bytes(theirs[giver])
        assert state(whole) is None
        (whole / taker).write_bytes(mine[chance.choice(sorted(mine.keys() - {taker}))])
        assert state(whole) is None
        (whole / taker).write_bytes(mine[taker])
    assert state(whole)


def rewrite(path, change_record=dict, change_columns=dict):
    """A shard as another program might write it: its digests are right."""
    record, columns = read_metadata(path, SHARDS), change_columns(read_tensors(path, SHARDS))
    digests = {name: tensors_digest({name: column}) for name, column in columns.items()}
    record = change_record({**record, "columns_sha256": digests})
    write_tensors(path, columns, json_text(sealed(record)))


COLUMNS = {
    "one is missing": lambda columns: {name: columns[name] for name in columns if name != "kept"},
    "one is short": lambda columns: columns | {"cell": columns["cell"][1:]},
    "one is wide": lambda columns: columns | {"cell": columns["cell"][:, :3]},
    "one is flat": lambda columns: columns | {"embeds": columns["embeds"][:, 0]},
    "one is a number": lambda columns: columns | {"kept": torch.tensor(True)},
    "another is a number": lambda columns: columns | {"embeds": torch.tensor(0.0)},
    "cells are floats": lambda columns: columns | {"cell": columns["cell"].float()},
    "embeddings are whole": lambda columns: columns | {"embeds": columns["embeds"].long()},
    "embeddings are complex": lambda columns: columns | {"embeds": columns["embeds"] * 1j},
    "an embedding is infinite": lambda columns: columns | {"embeds": columns["embeds"] / 0},
    "some are not kept": lambda columns: columns | {"kept": columns["kept"].logical_not()},
    "tokens are missing": lambda columns: {name: column[:3] for name, column in columns.items()},
    "there are none": lambda columns: {name: column[:0] for name, column in columns.items()},
    "all are narrow": lambda columns: columns | {"embeds": columns["embeds"][:, :4].clone()},
}


@pytest.mark.parametrize("change", COLUMNS.values(), ids=COLUMNS)
def test_columns_that_are_not_those_of_the_record_are_refused(whole, change):
    rewrite(whole / "tokens" / "000000.safetensors", change_columns=change)
    assert state(whole) is None


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_signal_that_is_no_number_is_refused(whole, value):
    path = whole / "global" / "000000.safetensors"
    rewrite(path, change_columns=lambda columns: {name: column * value for name, column in columns.items()})
    with pytest.raises(FileError, match=r"global/000000.*\(jensen_shannon is NaN or infinite"):
        Evidence.load(whole).signals["global/jensen_shannon"]


RECORDS = {
    "another model": {"model": "b"},
    "other weights": {"fingerprint": "beef"},
    "other questions": {"questions": ["why?"]},
    "no pictures": {"pictures": []},
    "other pictures": {"pictures": [{"name": f"{n}.png", "sha256": None, "tokens": 3} for n in (4, 5)]},
    "other tokens": {"pictures": [{"name": f"{n}.png", "sha256": None, "tokens": -3} for n in (0, 1)]},
    "many tokens": {"pictures": [{"name": f"{n}.png", "sha256": None, "tokens": 10**15} for n in (0, 1)]},
    "another experiment": {"experiment": "regional"},
    "another number": {"number": 1},
    "no digest": {"columns_sha256": {}},
    "an earlier format": {"format": 3},
}


@pytest.mark.parametrize("change", RECORDS.values(), ids=RECORDS)
def test_a_record_that_is_not_that_of_the_manifest_is_refused(whole, pictures, change):
    rewrite(whole / "probe-0" / "000000.safetensors", change_record=lambda record: record | change)
    assert state(whole) is None


def test_a_file_that_others_wrote_as_it_should_be_is_read(whole):
    before = state(whole)
    rewrite(whole / "probe-0" / "000000.safetensors")
    assert state(whole) == before


@pytest.mark.parametrize(
    ("pictures", "size", "expected"), [(1, 1, 1), (511, 1, 1), (512, 1, 2), (10**6, 1, 64), (10**6, 2**24, 4)]
)
def test_a_shard_is_small_beside_the_run_and_in_bytes(pictures, size, expected, monkeypatch):
    monkeypatch.undo()
    asked = SimpleNamespace(content=SimpleNamespace(embeds=SimpleNamespace(nbytes=size)))
    assert collecting._shard_pictures(pictures, lambda: asked) == expected


def test_progress_within_a_shard_goes_one_way(pictures, folder):
    shares = []
    with report_progress(lambda progress: shares.append(progress.done)):
        collect_evidence(MODEL, pictures[:2], folder)
    assert shares == sorted(shares)
    assert 0.5 in shares


def test_the_first_picture_is_encoded_once_for_shards_and_noise(tiny, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(collecting, "FEWEST_SHARDS", 1)
    monkeypatch.setattr(examining, "measure_experiments", lambda *given: pytest.fail("examined"))
    paths, encoded, encode = [tmp_path / f"{number}.png" for number in range(2)], [], VLM.encode
    for number, path in enumerate(paths):
        paint(path, number)

    def noted(vlm, media, question, **given):
        encoded.append(given.get("visual") is None)
        return encode(vlm, media, question, **given)

    monkeypatch.setattr(VLM, "encode", noted)
    (job,) = collecting.evidence_jobs(tiny, paths, tmp_path / "e", EvidencePlan(approximate_global=True))
    assert len(job.pictures) == 2
    assert sum(encoded) == 1


def test_a_name_that_is_too_long_is_no_evidence(tmp_path):
    with pytest.raises(FileError, match=r"no evidence in .*: manifest\.json is missing"):
        Evidence.load(tmp_path / ("a" * 300))


def test_of_two_runs_that_begin_at_once_the_first_one_lays_the_folder_out(
    pictures, folder, whole, monkeypatch
):
    def raced(*given):
        if not (folder / "manifest.json").exists():
            shutil.copytree(whole, folder)
        return 1

    monkeypatch.setattr(collecting, "_shard_pictures", raced)
    collect_evidence(MODEL, pictures, folder)
    assert files(folder) == files(whole)
