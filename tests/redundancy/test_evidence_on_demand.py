"""Evidence that is collected as far as it is needed: for a condition, in parts, of pictures of any source."""

import pickle
import re
import shutil
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from wordsight._utils.notes import listen_to_notes
from wordsight.errors import FileError, MediaError, UsageError
from wordsight.redundancy import build, collecting, probe
from wordsight.redundancy.build import Clustering, build_codebook, random_codebook
from wordsight.redundancy.collecting import EvidencePlan, collect_evidence, collect_part, evidence_jobs
from wordsight.redundancy.criteria import CRITERIA, DEFAULT, PAPER, Condition, Quantile
from wordsight.redundancy.evidence import Evidence
from wordsight.redundancy.examining import examine
from wordsight.redundancy.experiments import measure_tokens
from wordsight.redundancy.merging import merge_evidence

NUMBER = 3
ANYWHERE = Clustering(image_clusters=4, largest=144, clusters=4, images=0)


pytestmark = pytest.mark.usefixtures("one_picture_per_shard")


@pytest.fixture(scope="module")
def few(tiny, pictures, tmp_path_factory):
    """The folder of a run of what the default criterion needs."""
    folder = tmp_path_factory.mktemp("few")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collecting, "SHARD_PICTURES", 1)
        collect_evidence(tiny, pictures, folder, EvidencePlan(condition=DEFAULT))
    return folder


@pytest.fixture(scope="module")
def conjunction(whole):
    """A condition like the paper's, both halves of which hold for half of the tokens."""
    return replace(PAPER, confidence=Quantile(0.5), divergence=Quantile(0.5)).resolve(
        Evidence.load(whole).signals
    )


@pytest.fixture
def copy(few, tmp_path):
    return shutil.copytree(few, tmp_path / "copy")


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def saved(book, folder):
    book.save_pretrained(folder)
    return files(folder)


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("default", ["probe-0"]),
        ("certainty", ["probe-0"]),
        ("questions", ["probe-0", "probe-1", "probe-2"]),
        ("regional", ["regional"]),
        ("global", ["global"]),
        ("context", ["regional", "global"]),
        ("paper", ["probe-0", "regional", "global"]),
    ],
)
def test_a_criterion_needs_what_it_reads(name, needs):
    condition = {"default": DEFAULT, **CRITERIA}[name]
    assert condition.needs(probe.QUESTIONS) == ("tokens", *needs)


def test_a_divergence_that_weighs_nothing_is_refused():
    with pytest.raises(UsageError, match=r"weights are both 0 .* expected divergence=None"):
        Condition(regional_weight=0, global_weight=0)


@pytest.mark.parametrize("needs", [["tokens"], ["probe-1"], ["regional"]])
def test_only_what_is_needed_is_measured_and_it_is_the_same(tiny, pictures, needs):
    some, all_of_it = (measure_tokens(tiny, pictures[0], probe.QUESTIONS, *given) for given in ([needs], []))
    assert some.keys() < all_of_it.keys()
    assert ("regional/jensen_shannon" in some) == (needs == ["regional"])
    assert "questions" not in some
    assert all(torch.equal(column, all_of_it[name]) for name, column in some.items())


def test_the_default_condition_leaves_the_dear_experiments_out(few, whole):
    assert files(few).items() < files(whole).items()
    assert sorted(path.name for path in few.iterdir()) == ["manifest.json", "probe-0", "tokens"]


def test_the_same_book_comes_of_little_evidence_and_of_all(few, whole, tmp_path):
    books = [build_codebook(Evidence.load(folder), DEFAULT, ANYWHERE) for folder in (few, whole)]
    assert saved(books[0], tmp_path / "few") == saved(books[1], tmp_path / "whole")


def test_what_another_criterion_needs_is_added_to_the_same_folder(copy, tiny, pictures, whole):
    before, notes = files(copy), []
    with listen_to_notes(notes.append):
        collect_evidence(tiny, pictures, copy, EvidencePlan(condition=CRITERIA["regional"]))
        assert before.items() < files(copy).items() < files(whole).items()
        collect_evidence(tiny, pictures, copy)
    assert files(copy) == files(whole)
    assert notes[0] == f"{copy} has evidence of 3 of 3 pictures; to be added: regional of 3 pictures"
    assert re.fullmatch(
        r"rounding in float32 moves words by .*: regional \S+; less counts as no change", notes[1]
    )
    assert notes[2].endswith("for 2 more pictures")
    assert notes[3].endswith("to be added: probe-1, probe-2, global of 3 pictures")


def test_a_signal_that_was_not_collected_is_refused_in_a_sentence(few):
    found = Evidence.load(few)
    assert [*found.signals] == ["confidence", "certainty", "blind_divergence"]
    with pytest.raises(FileError, match=r"has no global: collect it for a condition that reads it"):
        build_codebook(found, CRITERIA["global"], ANYWHERE)


@pytest.fixture(scope="module")
def halved(tiny, pictures, conjunction, tmp_path_factory):
    """The folder of a run of what the conjunction needs."""
    folder = tmp_path_factory.mktemp("halved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collecting, "SHARD_PICTURES", 1)
        collect_evidence(tiny, pictures, folder, EvidencePlan(condition=conjunction))
    return folder


def test_a_conjunction_measures_divergences_only_where_the_cheap_half_holds(halved, conjunction, whole):
    found, every = Evidence.load(halved), Evidence.load(whole)
    is_measured = every.signals["confidence"] < conjunction.confidence
    assert is_measured.sum() == len(every) / 2
    for name in ("regional/released_divergence", "global/jensen_shannon"):
        assert torch.equal(found.signals[name].isnan(), ~is_measured)
        torch.testing.assert_close(found.signals[name][is_measured], every.signals[name][is_measured])
    assert torch.equal(conjunction.holds(found.signals), conjunction.holds(every.signals))


def test_what_a_conjunction_left_out_is_filled_in_when_it_is_needed(
    halved, conjunction, tiny, pictures, whole
):
    folder, before = shutil.copytree(halved, halved.parent / "filled"), files(halved)
    stricter = replace(conjunction, confidence=conjunction.confidence / 2)
    collect_evidence(tiny, pictures, folder, EvidencePlan(condition=stricter))
    assert files(folder) == before
    with pytest.raises(UsageError, match=r"evidence is for another condition, \d+ of 432 tokens were not"):
        build_codebook(Evidence.load(folder), CRITERIA["context"], ANYWHERE)
    collect_evidence(tiny, pictures, folder)
    assert files(folder) == files(whole)


@pytest.mark.parametrize("share", [1, 4])
def test_parts_write_what_one_process_writes(share, few, tiny, pictures, tmp_path):
    plan = EvidencePlan(condition=DEFAULT)
    folders = [tmp_path / str(number) for number in range(share)]
    records = [
        collect_part(tiny, pictures, folder, plan, part=(number, share))
        for number, folder in enumerate(folders)
    ]
    assert sum(record["tokens"] for record in records) == NUMBER * 144
    merged = merge_evidence(folders, tmp_path / "merged")
    assert merged == {"format": 1, "pictures": 3, "experiments": ["tokens", "probe-0"], "files": 6}
    assert files(tmp_path / "merged") == files(few)


def test_parts_share_a_folder(few, tiny, pictures, tmp_path):
    for number in (1, 0):
        collect_part(tiny, pictures, tmp_path, EvidencePlan(condition=DEFAULT), part=(number, 2))
    assert files(tmp_path) == files(few)


@pytest.mark.parametrize("part", [(2, 2), (-1, 2), (0, 0)])
def test_a_part_that_there_is_not_is_refused(part, tiny, pictures, tmp_path):
    with pytest.raises(UsageError, match="counted from 0"):
        collect_part(tiny, pictures, tmp_path / "e", part=part)
    assert not (tmp_path / "e").exists()


def test_parts_that_lack_a_file_are_not_merged(copy, few, tmp_path):
    (copy / "probe-0" / "000001.safetensors").unlink()
    with pytest.raises(
        FileError, match=r"1 of 6 files are in none of .*, probe-0/000001\.safetensors first: is a part, or"
    ):
        merge_evidence([copy], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    merge_evidence([few, copy], copy)
    assert files(copy) == files(few)


def test_the_part_that_is_not_there_is_named(tiny, pictures, tmp_path):
    plan, folders = EvidencePlan(condition=DEFAULT), [tmp_path / "0", tmp_path / "2"]
    for folder in folders:
        collect_part(tiny, pictures, folder, plan, part=(int(folder.name), 3))
    with pytest.raises(
        FileError, match=r"2 of 6 files are in none of .* first: is --part 1/3 missing\? coll"
    ):
        merge_evidence(folders, tmp_path / "merged")


OTHERS = {
    "model was tiny, is b": {"name": "b"},
    "measured_with.pass_tokens was 4096, is 64": {"pass_tokens": 64},
    "survivors was": {},
}


@pytest.mark.parametrize("differs", OTHERS)
def test_parts_of_other_runs_are_not_merged(few, tiny, pictures, tmp_path, differs):
    plan = EvidencePlan(condition=DEFAULT, only_survivors=not OTHERS[differs])
    evidence_jobs(replace(tiny, **OTHERS[differs]), pictures, tmp_path / "other", plan)
    with pytest.raises(FileError, match=rf"another run than .* \(what differs: {differs}"):
        merge_evidence([few, tmp_path / "other"], tmp_path / "merged")


def test_a_job_is_plain_and_does_the_same_elsewhere(few, tiny, pictures, tmp_path):
    jobs = evidence_jobs(tiny, pictures, tmp_path, EvidencePlan(condition=DEFAULT))
    for job in pickle.loads(pickle.dumps(jobs)):
        assert examine(tiny, job) == 144
    assert files(tmp_path) == files(few)


@dataclass(frozen=True)
class InMemory:
    """A picture of no file."""

    name: str
    content: bytes

    def read(self):
        if not self.content:
            raise MediaError(f"{self.name} cannot be read")
        return self.content


def test_any_source_of_pictures_will_do(few, tiny, pictures, tmp_path):
    given = [InMemory(path.name, path.read_bytes()) for path in pictures]
    collect_evidence(tiny, iter(given), tmp_path / "e", EvidencePlan(condition=DEFAULT))
    assert files(tmp_path / "e") == files(few)
    found = collect_evidence(tiny, [*given, InMemory("away.png", b"")], tmp_path / "f")
    assert found.skipped == {"away.png": "away.png cannot be read"}


def test_no_pictures_are_refused(tiny, tmp_path):
    with pytest.raises(MediaError, match="expected pictures to examine, got none"):
        collect_evidence(tiny, [], tmp_path / "e")


def test_a_picture_that_one_experiment_skipped_is_left_out_of_what_reads_it(copy, tiny, pictures, tmp_path):
    others = [shutil.copy(path, tmp_path) for path in pictures]
    plan = EvidencePlan(condition=CRITERIA["regional"])
    Path(others[1]).unlink()
    found = collect_evidence(tiny, map(Path, others), copy, plan)
    assert found.image.unique().tolist() == [0, 2]
    assert list(found.skipped) == [others[1]]
    assert len(found.embeds[:]) == len(found.signals["regional/jensen_shannon"]) == 2 * 144
    assert torch.equal(
        found.embeds[torch.tensor([287, 5])], Evidence.load(copy, ["tokens"]).embeds[:][[431, 5]]
    )
    shutil.copy(pictures[1], others[1])
    assert len(collect_evidence(tiny, map(Path, others), copy, plan)) == NUMBER * 144


def test_survivors_give_the_same_book_from_fewer_embeddings(few, tiny, pictures, tmp_path):
    clustering = replace(ANYWHERE, largest=30)
    plan = EvidencePlan(condition=DEFAULT, clustering=clustering, only_survivors=True)
    found = collect_evidence(tiny, pictures, tmp_path / "e", plan)
    sizes = [sum(map(len, files(folder / "tokens").values())) for folder in (tmp_path / "e", few)]
    assert sizes[0] < 0.9 * sizes[1]
    every = Evidence.load(few)
    again = build_codebook(found, DEFAULT, clustering)
    assert saved(again, tmp_path / "a") == saved(build_codebook(every, DEFAULT, clustering), tmp_path / "b")
    for other in (replace(clustering, largest=144), replace(clustering, image_clusters=8)):
        with pytest.raises(FileError, match="keeps the embeddings of survivors only, and others are needed"):
            build_codebook(found, DEFAULT, other)
    with pytest.raises(FileError, match="survivors only"):
        random_codebook(found, 50)


def test_survivors_of_an_absolute_condition_are_those_for_which_it_holds(
    tiny, pictures, whole, conjunction, tmp_path
):
    plan = EvidencePlan(condition=conjunction, clustering=ANYWHERE, only_survivors=True)
    found = collect_evidence(tiny, pictures, tmp_path / "e", plan)
    holds = conjunction.holds(Evidence.load(whole).signals)
    assert 0 < holds.sum() < len(holds)
    rows = holds.nonzero()[:, 0]
    assert torch.equal(found.embeds[rows], Evidence.load(whole).embeds[rows])
    with pytest.raises(FileError, match="survivors only"):
        found.embeds[(~holds).nonzero()[:1, 0]]


def test_embeddings_are_in_the_dtype_of_the_model(tiny, pictures, tmp_path):
    half = replace(tiny, model=deepcopy(tiny.model).to(torch.bfloat16))
    found = collect_evidence(half, pictures[:1], tmp_path, EvidencePlan(condition=DEFAULT))
    assert found.embeds[:].dtype == torch.bfloat16
    assert found.manifest["measured_with"]["dtype"] == "torch.bfloat16"
    assert build_codebook(found, DEFAULT, ANYWHERE).prototypes.dtype == torch.float32


def test_of_too_many_tokens_some_are_drawn_always_the_same(few, monkeypatch):
    monkeypatch.setattr(build, "POOL", 100)
    books = [build_codebook(Evidence.load(few), DEFAULT, ANYWHERE) for _ in range(2)]
    assert torch.equal(books[0].prototypes, books[1].prototypes)
    counts = books[0].config["counts"]
    assert counts["prototypes"] <= counts["drawn"] == 100 < counts["redundant_in_small_clusters"]


def test_only_the_embeddings_of_the_pool_are_read(few):
    found, read = Evidence.load(few), []

    class Counting:
        def __getitem__(self, rows):
            read.append(len(rows))
            return found.embeds[rows]

    book = build_codebook(replace(found, embeds=Counting()), DEFAULT, replace(ANYWHERE, image_clusters=8))
    assert read == [book.config["counts"]["redundant_in_small_clusters"]]
    assert read[0] < len(found)
