"""Books on the hub, of which a stand-in on this machine speaks the endpoints."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import huggingface_hub
import pytest
import torch
import yaml
from hub_stand_in import TOKEN, serving
from huggingface_hub import constants

from wordsight import CodebookPruner, cli, pruners
from wordsight._utils.registry import spec
from wordsight.errors import FileError, UsageError
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.origins import SIDE, WORDS, Origins

NAME = "someone/a-book"
# What the hub's client itself says as it uploads a large file without hf_xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in that the hub's client asks, as someone who is logged in."""
    with serving() as hub:
        for name, value in {
            "ENDPOINT": hub.address,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.address + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_XET": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.chdir(tmp_path)
        yield hub
    huggingface_hub.close_session()


@pytest.fixture
def book():
    return Codebook(
        torch.randn(5, 16, generator=torch.Generator().manual_seed(1)),
        {
            "format": 3,
            "model": "owner/model",
            "fingerprint": "f00d",
            "questions": ["Left | right?"],
            "counts": {"pictures": 7, "tokens": 70, "prototypes": 5},
            "pictures_sha256": "c0ffee",
        },
    )


def metadata(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_a_pushed_book_comes_back_the_same(hub, book):
    address = book.push_to_hub(NAME)
    assert address.startswith(f"{hub.address}/{NAME}/commit/")
    for name in (NAME, f"hf://{NAME}", f"hf://{NAME}@main", f"{NAME}@main"):
        back = Codebook.from_pretrained(name)
        assert torch.equal(back.prototypes, book.prototypes)
        assert back.config == book.config


def test_nothing_but_the_book_and_its_card_is_uploaded(hub, book):
    book.push_to_hub(NAME)
    assert sorted(hub.branches[NAME]["main"]) == [
        ".gitattributes",
        "README.md",
        "codebook.safetensors",
        "config.json",
    ]
    assert list(hub.stored.values()) == [hub.branches[NAME]["main"]["codebook.safetensors"]]


def test_nothing_but_the_book_is_downloaded(hub, book, tmp_path):
    book.push_to_hub(NAME)
    hub.branches[NAME]["main"]["pickled.bin"] = b"danger"
    Codebook.from_pretrained(NAME)
    read = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_symlink()}
    assert read == {"codebook.safetensors", "config.json"}


def test_a_revision_is_a_branch_that_is_made(hub, book):
    book.push_to_hub(NAME)
    Codebook(2 * book.prototypes, book.config).push_to_hub(NAME, revision="doubled")
    for doubled in (
        Codebook.from_pretrained(NAME, revision="doubled"),
        Codebook.from_pretrained(f"hf://{NAME}@doubled"),
    ):
        assert torch.equal(doubled.prototypes, 2 * book.prototypes)
    assert torch.equal(Codebook.from_pretrained(NAME).prototypes, book.prototypes)


def test_a_commit_in_the_cache_is_read_without_the_hub(hub, book):
    commit = book.push_to_hub(NAME).rpartition("/")[2]
    Codebook.from_pretrained(f"hf://{NAME}@{commit}")
    hub.asked.clear()
    assert Codebook.from_pretrained(f"hf://{NAME}@{commit}").digest == book.digest
    assert hub.asked == []


def test_without_the_hub_the_cache_counts(hub, book, monkeypatch, caplog):
    book.push_to_hub(NAME)
    Codebook.from_pretrained(NAME)
    hub.fails = (503, "down for maintenance")
    assert Codebook.from_pretrained(NAME).digest == book.digest
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert Codebook.from_pretrained(NAME).digest == book.digest


def test_a_folder_of_that_name_comes_first(hub, book, tmp_path):
    book.save_pretrained(tmp_path / NAME)
    assert Codebook.from_pretrained(NAME).digest == book.digest
    assert hub.asked == []


def test_a_spec_takes_a_book_of_the_hub(hub, book):
    book.push_to_hub(NAME)
    text = f"codebook:codebook=hf://{NAME}@main"
    pruner = pruners.make(f"{text},keep=0.5")
    assert pruner.book.digest == book.digest
    assert spec(pruner) == text


def test_a_book_of_another_model_is_refused_from_the_hub_too(hub, tiny):
    width = tiny.pad_embedding.shape[-1]
    Codebook(torch.eye(3, width), {"format": 3, "model": "owner/model", "fingerprint": "f00d"}).push_to_hub(
        NAME
    )
    with pytest.raises(UsageError, match=r"built for owner/model \(fingerprint f00d\), this is tiny"):
        CodebookPruner(codebook=NAME, keep=0.5).check(tiny)


def test_the_card_says_what_the_book_is(hub, book):
    book.push_to_hub(NAME, license="cc-by-4.0")
    card = hub.branches[NAME]["main"]["README.md"].decode()
    assert metadata(card) == {
        "base_model": "owner/model",
        "library_name": "wordsight",
        "license": "cc-by-4.0",
        "tags": ["wordsight", "codebook", "visual-token-pruning"],
    }
    for row in (
        "| prototypes | 5 of width 16 |",
        "| built from | 70 tokens of 7 pictures |",
        r"| questions | Left \| right? |",
        "| license of the pictures | cc-by-4.0 |",
        "| quality | not known: no calibration chose this book |",
    ):
        assert row in card
    assert f'codebook="{NAME}"' in card


def test_the_card_says_whether_the_book_shows_pictures_and_they_can_be_left_out(hub, book, tmp_path):
    origins = Origins(
        torch.zeros(5, SIDE, SIDE, 3, dtype=torch.uint8),
        torch.zeros(5, WORDS, dtype=torch.long),
        torch.zeros(5, WORDS),
        torch.zeros(5, dtype=torch.bool),
    )
    patches = {"pictures": 7, "side": SIDE, "least_cosine": 1.0}
    shown = replace(book, config={**book.config, "patches": patches}, origins=origins)
    shown.save_pretrained(tmp_path / "book")
    for options, row in (
        ((), "| the pictures themselves | the patches show parts of them |"),
        (("--no-patches",), "| the pictures themselves | none of them is shown |"),
    ):
        assert cli.app(["codebook", "push", "book", NAME, *options], standalone_mode=False) is None
        assert row in hub.branches[NAME]["main"]["README.md"].decode()
        back = Codebook.from_pretrained(NAME)
        assert (back.origins is None) == (back.config == book.config) == bool(options)


def test_the_card_has_the_quality_of_a_calibrated_book_and_the_revision_of_its_model(hub, book):
    book.config["calibrated"] = {
        "task": "scenes:split=validation",
        "questions": 300,
        "pictures": 150,
        "keeps": [0.2, 0.1],
        "accuracy": 0.5,
        "unpruned": 0.75,
        "difference_to": {"random tokens": [0.1, 0.05, 0.15]},
        "level": 0.975,
        "pays": True,
        "beside_diversity": {
            "weight": 0.3,
            "accuracy": 0.525,
            "difference_to": {"divprune": [0.02, -0.01, 0.05]},
            "pays": False,
        },
    }
    book.config["measured_with"] = {
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "attention": "sdpa",
        "pass_tokens": 8,
        "versions": {},
        "options": {"revision": "v2"},
    }
    book.push_to_hub(NAME)
    card = hub.branches[NAME]["main"]["README.md"].decode()
    assert "| model | owner/model, revision v2 |" in card
    assert "pays on 300 questions about 150 pictures of scenes:split=validation, mean over 20%, 10%" in card
    assert "| accuracy 0.500; with all visual tokens 0.750 |" in card
    assert "| minus random tokens +0.100 [+0.050, +0.150], at 97.5% |" in card
    assert "| beside diversity it does not pay (not all of what follows is above zero): " in card
    assert "codebook_mmr, weight 0.3, accuracy 0.525 |" in card
    assert "| minus divprune +0.020 [-0.010, +0.050], at 97.5% |" in card
    assert f'pruner=CodebookPruner(codebook="{NAME}", keep=0.2)' in card
    assert "quality" not in card
    assert Codebook.from_pretrained(NAME).config["calibrated"] == book.config["calibrated"]
    assert "calibrated" not in book.compact(0.5).config


def test_the_card_prunes_beside_diversity_where_the_book_pays_there_alone(hub, book):
    weighed = {"weight": 0.3, "accuracy": 0.525, "difference_to": {}, "pays": True}
    for pays, pruner in (
        (False, "CodebookMMR(codebook={!r}, weight=0.3, "),
        (True, "CodebookPruner(codebook={!r}, "),
    ):
        book.config["calibrated"] = {
            "task": "scenes",
            "questions": 300,
            "pictures": 150,
            "keeps": [0.2],
            "accuracy": 0.5,
            "unpruned": 0.75,
            "difference_to": {},
            "level": 0.975,
            "pays": pays,
            "beside_diversity": weighed,
        }
        book.push_to_hub(NAME)
        card = hub.branches[NAME]["main"]["README.md"].decode()
        assert f"pruner={pruner.format(NAME)}keep=0.2)".replace("'", '"') in card


def test_where_things_lie_on_this_machine_is_not_uploaded(hub, book):
    book.config["model"] = "/home/me/models/llava/"
    book.config["condition"] = "questions:file=../me/own.jsonl,split=test"
    book.push_to_hub(NAME)
    sent = b"".join(hub.branches[NAME]["main"].values()).decode(errors="replace")
    assert "me/" not in sent
    assert Codebook.from_pretrained(NAME).config["condition"] == "questions:file=own.jsonl,split=test"
    assert "base_model" not in metadata(hub.branches[NAME]["main"]["README.md"].decode())


@pytest.mark.parametrize("name", ["a-book", "some one/book", "a/b/c", "hf://someone/book", "", "./book"])
def test_a_name_of_the_wrong_form_is_refused_before_anything_is_sent(hub, book, name):
    with pytest.raises(UsageError, match="expected the name of a repository as user/name, got"):
        book.push_to_hub(name)
    assert hub.asked == []


def test_other_misuses_are_refused_before_anything_is_sent(hub, book, tmp_path, monkeypatch):
    book.save_pretrained(tmp_path / "book")
    for call, message in (
        (lambda: book.push_to_hub(NAME, license="mine, all mine"), "expected a license as the hub calls it"),
        (lambda: Codebook.from_pretrained("hf://a-book"), "expected hf://user/name or hf://user/name@"),
        (lambda: Codebook.from_pretrained(f"{NAME}@a", revision="b"), "give one of the two"),
        (lambda: Codebook.from_pretrained("book", revision="b"), "book is a folder; leave it out"),
    ):
        with pytest.raises(UsageError, match=message):
            call()
    monkeypatch.setattr("wordsight.redundancy.hub.get_token", lambda: None)
    with pytest.raises(UsageError, match="there is no token; log in with `hf auth login`"):
        book.push_to_hub(NAME)
    assert hub.asked == []


def test_a_public_repository_is_not_taken_for_a_private_one(hub, book):
    book.push_to_hub(NAME)
    before = dict(hub.branches[NAME]["main"])
    with pytest.raises(UsageError, match="as private: it is there, and public"):
        Codebook(2 * book.prototypes, book.config).push_to_hub(NAME, private=True)
    assert hub.branches[NAME]["main"] == before
    book.push_to_hub("someone/hidden", private=True)
    assert hub.private == {"someone/hidden"}


@pytest.mark.parametrize(
    ("status", "said", "message"),
    [
        (401, "Invalid credentials in Authorization header", "the hub does not accept the token .* log in"),
        (403, "You don't have the rights to create a model", "You don't have the rights to create a model"),
        (500, "Internal Error", "the hub answers: .*500"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(hub, book, status, said, message):
    hub.fails = (status, said)
    for doing, saying in ((book.push_to_hub, "cannot upload to"), (Codebook.from_pretrained, "cannot load")):
        with pytest.raises(FileError, match=f"^{saying} {NAME}.*{message}") as failure:
            doing(NAME)
        assert "\n" not in str(failure.value)
        assert TOKEN not in str(failure.value)


def test_what_is_not_on_the_hub_is_one_sentence(hub, book, monkeypatch):
    with pytest.raises(FileError, match="no folder here, from the hub: the hub has nothing of this name"):
        Codebook.from_pretrained(NAME)
    book.push_to_hub(NAME)
    with pytest.raises(FileError, match=f"cannot load {NAME} at v9, .* the hub has no such revision of it"):
        Codebook.from_pretrained(NAME, revision="v9")
    del hub.branches[NAME]["main"]["codebook.safetensors"]
    with pytest.raises(FileError, match=f"no codebook in {NAME}: codebook.safetensors is missing"):
        Codebook.from_pretrained(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileError, match="HF_HUB_OFFLINE is set, and not all of its files are in the cache"):
        Codebook.from_pretrained("someone/else")


def test_a_hub_out_of_reach_is_one_sentence(hub, book, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for doing in (book.push_to_hub, Codebook.from_pretrained):
        with pytest.raises(FileError, match=r"hub cannot be reached|Connection refused"):
            doing(NAME)


def test_the_command_pushes_what_the_next_one_reads(hub, book, tmp_path, monkeypatch, capfd):
    book.save_pretrained(tmp_path / "book")
    arguments = ["push", "book", NAME, "--license", "mit", "--revision", "v1", "--private"]
    for argv in (arguments, [*arguments, "--json"], ["info", f"hf://{NAME}@v1", "--json"]):
        monkeypatch.setattr(sys, "argv", ["wordsight", "codebook", *argv])
        cli.main()
    said = capfd.readouterr()
    assert TOKEN not in said.out + said.err
    address, pushed, info = said.out.partition("\n")[0], *map(json.loads, documents(said.out))
    assert address.endswith(pushed["commit"].rpartition("/")[2])
    assert (pushed["repository"], pushed["revision"]) == (NAME, "v1")
    assert (info["model"], info["prototypes"]) == ("owner/model", 5)


def documents(out):
    """The JSON documents that come after the first line."""
    text = out.partition("\n")[2]
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        _, end = decoder.raw_decode(text)
        yield text[:end]
        text = text[end:]


def test_another_process_reads_it_by_the_usual_variables(hub, book, tmp_path):
    book.push_to_hub(NAME)
    variables = {"HF_ENDPOINT": hub.address, "HF_HUB_CACHE": str(tmp_path / "other"), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "wordsight", "codebook", "info", NAME],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "5 of width 16" in done.stdout
