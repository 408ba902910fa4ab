"""A choice: the SPEC it holds, whatever is wrong with its file, and the model that it is of."""

import json

import pytest

from wordsight import Codebook, CodebookPruner, DivPrune, Pruner, UsageError, pruners
from wordsight._utils.artifacts import sealed
from wordsight.errors import FileError
from wordsight.pruners.choice import CHOICES, exact_spec

CHOICE = {
    "format": 1,
    "pruner": "divprune:keep=0.3,positions=contiguous",
    "model": "demo",
    "fingerprint": "0123456789abcdef",
    "parts": None,
    "task": "scenes",
    "questions": 40,
    "pictures": 20,
    "verdict": "pays",
    "quality_kept": [0.97, 0.95, 0.99],
    "tokens_kept": 0.3,
}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes a choice into the current folder."""
    monkeypatch.chdir(tmp_path)

    def written(**changed):
        (tmp_path / "choice.json").write_text(CHOICES.text(CHOICE | changed))

    return written


def test_a_choice_is_the_pruner_that_its_spec_makes(write):
    write()
    expected = DivPrune(keep=0.3, positions="contiguous")
    assert Pruner.load("choice.json") == pruners.make("choice.json") == expected


@pytest.mark.parametrize(
    "method",
    [DivPrune(keep=0.2), DivPrune(tokens=7, positions="contiguous"), pruners.make("fastv@published")],
    ids=repr,
)
def test_an_exact_spec_makes_the_pruner_again(method):
    text = exact_spec(method)
    assert pruners.make(text) == method
    assert ("keep=" in text) != ("tokens=" in text)
    assert text.count("positions=") == 1


def test_a_book_is_found_from_any_folder(write, tmp_path, monkeypatch):
    Codebook.from_pretrained("demo").save_pretrained(tmp_path / "book")
    (tmp_path / "demo").mkdir()
    assert "codebook=" not in exact_spec(CodebookPruner())
    write(pruner=exact_spec(CodebookPruner(codebook="book")))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert Pruner.load("../choice.json").codebook == str(tmp_path / "book")
    (tmp_path / "book" / "config.json").unlink()
    with pytest.raises(FileError, match=r"choice\.json: no codebook in .*book: config\.json is missing"):
        Pruner.load("../choice.json")


def test_a_path_that_ends_an_option_is_refused(write, tmp_path):
    Codebook.from_pretrained("demo").save_pretrained(tmp_path / "my, book")
    with pytest.raises(UsageError, match="has a comma"):
        exact_spec(CodebookPruner(codebook="my, book"))


def test_damage_is_noticed_wherever_it_is(write, tmp_path, damages):
    write()
    content = (tmp_path / "choice.json").read_bytes()
    for damaged in damages(content):
        (tmp_path / "choice.json").write_bytes(damaged)
        try:
            assert Pruner.load("choice.json") == DivPrune(keep=0.3, positions="contiguous")  # of blanks
        except FileError as error:
            assert "wordsight recommend --export" in str(error)  # noqa: PT017  # most damage raises


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"format": 2}, "has format 2, and this version of wordsight reads 1"),
        ({"quality_kept": "all"}, "quality_kept"),
        ({"pruner": "divprun"}, "choice.json: unknown pruner 'divprun': did you mean 'divprune'"),
        ({"pruner": "choice.json"}, "^choice.json: unknown pruner 'choice.json'"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(write, tmp_path, changed, sentence):
    write()
    (tmp_path / "choice.json").write_text(json.dumps(sealed(CHOICE | changed)))
    with pytest.raises(UsageError, match=sentence):
        Pruner.load("choice.json")


def test_a_file_that_is_not_there_is_one_sentence():
    with pytest.raises(FileError, match=r"cannot read nowhere\.json, which should be the choice of a pruner"):
        pruners.make("nowhere.json")


def test_a_choice_runs_on_its_own_model_alone(write, tiny):
    write()
    for method in (Pruner.load("choice.json"), Pruner.load("choice.json").with_budget(tokens=3)):
        with pytest.raises(
            UsageError, match=r"choice\.json was chosen for demo .* SPEC, divprune:keep=0\.3,"
        ):
            tiny.chat(pruner=method)
        with pytest.raises(UsageError, match=r"choice\.json was chosen for demo"):
            method.on(tiny.model, tiny.processor)
    pruners.make("divprune:keep=0.3,positions=contiguous").check(tiny)
    write(fingerprint=tiny.fingerprint)
    Pruner.load("choice.json").check(tiny)


def test_a_method_has_one_budget_of_two():
    assert DivPrune(tokens=7).with_budget(keep=0.5) == DivPrune(keep=0.5)
    assert DivPrune(keep=0.5).with_budget(tokens=7) == DivPrune(keep=0.5, tokens=7)
    counted = DivPrune(keep=0.5)
    assert counted.stats is not counted.with_budget(keep=0.2).stats
    with pytest.raises(UsageError, match="keep must be a share"):
        counted.with_budget(keep=7)
    for budget in ({}, {"keep": 0.5, "tokens": 7}):
        with pytest.raises(UsageError, match="expected keep or tokens, one of the two"):
            DivPrune(tokens=7).with_budget(**budget)
