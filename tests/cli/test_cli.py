"""Every command's result on stdout, its talk on stderr, and what Ctrl-C leaves behind."""

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from wordsight import __version__, cli
from wordsight._utils.records import checked
from wordsight.explain.token_table import ProbeRecord
from wordsight.models.vlm import VLM
from wordsight.pruners.divprune import DivPrune
from wordsight.pruners.uniform import Uniform
from wordsight.redundancy import examining, probe
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.criteria import criterion
from wordsight.redundancy.probe import QUESTION, RELEASED_QUESTION
from wordsight.reports.folder import COMPARISON_FILES
from wordsight.synthetic.scenes import render
from wordsight.tasks.scenes import Scenes

EVERYTHING = ("--confidence", "1.1", "--divergence", "1000", "--largest", "144", "--min-images", "0")
NOISE = (
    r"rounding in float32 .* counts as no change\n([1-9]\d* tokens a second: at most .* more pictures?\n)?"
)
FEW = r"\S+: \d+ pictures?; what is found on fewer than 20 is not to be believed\n"
ASK = ("ask", "good.png", "what is it?")
COMPARE = ("compare", "--task", "scenes", "--limit", "1", "--pruner", "uniform", "--keep", "0.1")
BUILD = ("codebook", "build", "photos", "--limit", "1", *EVERYTHING)
CERTAIN = (*BUILD[:5], *EVERYTHING[4:], "--out", "out", "--criterion", "certainty", "--json")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder: pictures, one of them bad, a book, and a released file."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("good.png", 1), ("photos/one.png", 2), ("photos/two.png", 3), ("mixed/good.png", 4)):
        Path(name).parent.mkdir(exist_ok=True)
        render(seed).image.save(name)
    Path("mixed/text.png").write_text("not a picture")
    Path("mixed/cut.png").write_bytes(Path("good.png").read_bytes()[:400])
    prototypes = torch.randn(4, 32)
    Codebook(prototypes, {"format": 1, "model": "made-up", "fingerprint": None}).save_pretrained("book")
    torch.save(torch.randn(5, 32), "released.pt")
    return tmp_path


def interrupt(*arguments):
    raise KeyboardInterrupt


CALIBRATE = ("codebook", "calibrate", "--images", "photos", "--out", "out", "--min-images", "0")


@pytest.mark.parametrize(
    "arguments", [ASK, COMPARE, (*BUILD, "--out", "out"), CALIBRATE, ("probe", "good.png")]
)
def test_a_stopped_command_ends_in_one_line(run, monkeypatch, arguments):
    for module in (cli.ask, cli.codebook, cli.compare, cli.probe):
        monkeypatch.setattr(module, "load_vlm", interrupt)
    code, out, err = run(*arguments)
    assert code == 130
    assert out == ""
    assert err.count("\n") == 1
    assert "stopped" in err


def test_a_stopped_build_leaves_no_half_of_a_book(run, folder, monkeypatch):
    monkeypatch.setattr(examining, "measure_experiments", interrupt)
    assert run(*BUILD, "--out", "out")[0] == 130
    assert not (folder / "out").exists()
    assert not [*folder.glob("out.evidence/*/*.safetensors")]


def test_a_stopped_build_goes_on_with_the_same_command(run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(examining, "measure_experiments", interrupt)
        run(*BUILD, "--out", "out")
    assert run(*BUILD, "--out", "out")[0] == 0


def test_the_answer_is_on_stdout_and_the_talk_on_stderr(run, tiny, folder):
    code, out, err = run(*ASK, "--pruner", "uniform", "--keep", "0.1")
    assert code == 0
    assert out.count("\n") == 1
    assert err.splitlines()[-1] == "14 of 144 visual tokens read"


def parsed(result):
    code, out, err = result
    assert code == 0
    assert re.fullmatch(rf"({FEW})?({NOISE})?", err)
    return json.loads(out)


def test_ask_as_json_tells_answer_counts_and_times(run):
    record = parsed(run(*ASK, "--pruner", "uniform", "--keep", "0.1", "--json"))
    assert set(record) >= {"answer", "tokens_total", "tokens_kept", "pruner", "model"}
    assert {"vision_ms", "selection_ms", "prefill_ms", "decode_ms"} <= set(record)
    assert (record["tokens_total"], record["tokens_kept"]) == (144, 14)


def test_ask_without_a_pruner_keeps_all_tokens(run):
    record = parsed(run(*ASK, "--json"))
    assert (record["pruner"], record["tokens_kept"]) == ("none", 144)


def test_ask_takes_the_budget_of_the_spec(run):
    assert parsed(run(*ASK, "--pruner", "uniform:tokens=7", "--json"))["tokens_kept"] == 7


def test_ask_prunes_with_a_book_in_a_folder(run):
    record = parsed(run(*ASK, "--pruner", "codebook:codebook=book", "--keep", "0.25", "--json"))
    assert record["tokens_kept"] == 36


@pytest.fixture
def floor(monkeypatch):
    """A noise floor between the tokens of the tiny model."""
    monkeypatch.setattr(probe, "NOISE_FLOOR", 0.005)


def test_probe_as_json_has_what_every_token_says(run, floor):
    record = parsed(run("probe", "good.png", "--json"))
    assert set(record) == {"format", "image", "model", "question", "tokens"}
    assert (record["format"], record["question"]) == (1, QUESTION)
    assert checked(ProbeRecord, record, "the record") == record
    assert [token["cell"] for token in record["tokens"]] == [[0, 0, i // 12, i % 12] for i in range(144)]
    for token in record["tokens"]:
        assert set(token) == {"cell", "words", "confidence", "blind_divergence", "says_nothing"}
        assert token["words"][0][1] == token["confidence"]
        assert token["says_nothing"] == (token["blind_divergence"] < probe.NOISE_FLOOR)
    assert {token["says_nothing"] for token in record["tokens"]} == {True, False}


def test_the_share_of_the_command_line_holds_over_the_count_of_the_spec_and_that_is_said(run):
    code, out, err = run(*ASK, "--pruner", "uniform:tokens=7", "--keep", "0.5", "--json")
    assert code == 0
    assert json.loads(out)["tokens_kept"] == 72
    assert err == "note: tokens=7 of 'uniform:tokens=7' is not used: --keep 0.5 holds\n"


def test_probe_with_ablation_also_shows_divergences(run):
    tokens = parsed(run("probe", "good.png", "--ablation", "--json"))["tokens"]
    assert all({"cell", "words", "says_nothing", "regional", "global"} <= set(token) for token in tokens)
    assert all(0 <= token[scope] <= 0.6932 for token in tokens for scope in ("regional", "global"))


def test_probe_shows_a_grid_of_words_with_a_dot_for_every_token_that_says_nothing(run, floor):
    code, out, _ = run("probe", "good.png")
    assert code == 0
    assert out.count("\n") == 12
    tokens = parsed(run("probe", "good.png", "--json"))["tokens"]
    assert out.split().count("·") == sum(token["says_nothing"] for token in tokens) > 0


def test_probe_draws_a_picture(run, folder):
    assert run("probe", "good.png", "--out", "deep/words.png", "--json")[0] == 0
    with Image.open(folder / "deep" / "words.png") as drawing:
        assert drawing.width == drawing.height >= 12 * 72


def test_compare_as_json_tells_rows_and_environment(run):
    record = parsed(run(*COMPARE, "--json"))
    assert set(record) == {"format", "rows", "environment", "answers", "asked"}
    assert record["format"] == 3
    assert [row["tokens_kept"] for row in record["rows"]] == [144, 144, 14]
    assert record["environment"]["command"] == " ".join(["wordsight", *COMPARE, "--json"])


@pytest.mark.parametrize(
    ("options", "questions", "pictures"),
    [
        (("--limit", "3"), 3, 3),
        (("--limit", "3", "--pictures", "2"), 3, 2),
        (("--pictures", "1"), sum(example.picture_id == "0" for example in Scenes().first(None, 1)), 1),
    ],
)
def test_compare_asks_as_many_pictures_as_there_are(run, options, questions, pictures):
    record = parsed(run(*COMPARE[:3], *COMPARE[5:], *options, "--json"))
    assert {(row["questions"], row["pictures"]) for row in record["rows"]} == {(questions, pictures)}
    limit = questions if "--limit" in options else None
    assert record["asked"] == {"limit": limit, "pictures": pictures if "--pictures" in options else None}


def test_compare_of_one_picture_says_so_where_an_interval_would_be(run):
    code, out, _ = run(*COMPARE)
    assert code == 0
    assert "[one picture]" in out
    assert "What is found on one picture, fewer than 20, is not to be believed." in out
    assert "[-1" not in out


def test_compare_runs_every_pruner_at_every_keep(run):
    rows = parsed(run(*COMPARE, "--pruner", "cls_topk", "--keep", "0.5", "--json"))["rows"]
    kept = [row["tokens_kept"] for row in rows if row["pruner"] in ("uniform", "cls_topk")]
    assert sorted(kept) == [14, 14, 72, 72]


def test_compare_writes_what_it_shows(run, folder):
    shown = parsed(run(*COMPARE, "--out", "deep/results.json", "--json"))
    written = json.loads((folder / "deep" / "results.json").read_text())
    assert written == shown | {"digest": written["digest"]}


def test_compare_with_a_report_writes_its_folder(run, folder):
    assert run(*COMPARE, "--report", "deep/report", "--out", "results.parquet")[0] == 0
    assert {path.name for path in (folder / "deep" / "report").iterdir()} == set(COMPARISON_FILES)
    assert (folder / "results.parquet").is_file()
    assert not (folder / "results.parquet.cells").exists()


def test_compare_runs_every_model(run, monkeypatch, tiny):
    monkeypatch.setattr(cli.compare, "load_vlm", lambda name, options: VLM(tiny.model, tiny.processor, name))
    rows = parsed(run(*COMPARE, "--model", "one", "--model", "two", "--json"))["rows"]
    assert [row["model"] for row in rows] == ["one"] * 3 + ["two"] * 3


def test_compare_takes_a_reference_as_it_is_written(run):
    asked = ("--pruner", "cls_similarity", "--reference", "cls_similarity:prefer=high", "--json")
    rows = parsed(run(*COMPARE, *asked))["rows"]
    assert sorted(rows[2]["difference_to"]) == ["cls_similarity", "none"]


def test_a_stopped_comparison_goes_on_with_the_same_command(run, folder, monkeypatch):
    asked = (*COMPARE, "--pruner", "divprune", "--out", "results.json", "--json")
    with monkeypatch.context() as patch:
        patch.setattr(DivPrune, "prune", interrupt)
        assert run(*asked)[0] == 130
    assert not (folder / "results.json").exists()
    assert len(list((folder / "results.json.cells").iterdir())) == 4
    monkeypatch.setattr(Uniform, "prune", lambda *_: pytest.fail("uniform was run again"))
    rows = parsed(run(*asked))["rows"]
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert [path.name for path in folder.glob("results*")] == ["results.json"]
    assert [row["pruner"] for row in rows] == ["none", "resized", "uniform", "divprune"]


def test_parts_of_a_comparison_are_collected_by_the_same_command(run, folder, monkeypatch):
    asked = (*COMPARE, "--pruner", "divprune", "--out", "results.json", "--json")
    alone = parsed(run(*asked[:-3], "--json"))["rows"]
    missing = [parsed(run(*asked, "--part", f"{number}/3"))["missing"] for number in range(3)]
    assert [len(places) for places in missing] == [3, 1, 0]
    assert "all is measured" in run(*asked[:-1], "--part", "2/3")[1]
    assert not (folder / "results.json").exists()
    for pruner in (Uniform, DivPrune):
        monkeypatch.setattr(pruner, "prune", lambda *_: pytest.fail("a part was run again"))
    assert parsed(run(*asked))["rows"] == alone
    assert [path.name for path in folder.glob("results*")] == ["results.json"]


def test_compare_with_timing_shows_times(run, monkeypatch):
    code, out, _ = run(*COMPARE, "--timing", "6", "--batch", "2")
    assert code == 0
    assert "Time and memory" in out


def test_compare_shows_a_table(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = run(*COMPARE)
    assert code == 0
    assert re.fullmatch(FEW, err)
    assert "uniform" in out
    assert "(blind)" in out


def test_build_names_bad_pictures_and_goes_on(run, folder):
    code, out, err = run("codebook", "build", "mixed", "--out", "out", *EVERYTHING, "--json")
    assert code == 0
    assert re.fullmatch(rf"{NOISE}skipped .*cut\.png: .*\nskipped .*text\.png: .*\n", err)
    assert json.loads(out)["counts"]["tokens"] == 144
    assert Codebook.from_pretrained(folder / "out").prototypes.shape[1] == 32


def test_build_uses_only_the_first_pictures(run):
    assert parsed(run(*BUILD, "--out", "out", "--json"))["counts"]["pictures"] == 1


def test_build_states_the_criterion_it_is_told(run):
    assert parsed(run(*CERTAIN))["condition"] == criterion("certainty").as_json()


def test_build_by_a_preset_asks_and_prunes_as_the_authors_do(run):
    book = parsed(run(*BUILD, "--out", "out", "--preset", "llava-onevision", "--json"))
    assert book["condition"]["measure"] == "released_divergence"
    assert (book["clustering"]["clusters"], book["clustering"]["scale"]) == (24, "sqrt_dim")
    assert (book["clustering"]["largest"], book["clustering"]["images"]) == (144, 0)  # as told beside it
    assert book["questions"] == [RELEASED_QUESTION]
    assert book["pruning"] == {"rule": "double_softmax", "keep": 0.5}


def test_a_preset_with_a_criterion_and_an_unknown_one_are_refused(run):
    code, _, err = run(*BUILD, "--out", "out", "--preset", "llava-1.5", "--criterion", "paper")
    assert (code, "expected --preset llava-1.5 or --criterion paper" in err) == (2, True)
    code, _, err = run(*BUILD, "--out", "out", "--preset", "llava")
    assert (code, "unknown preset 'llava'" in err) == (2, True)


def test_build_asks_every_token_ones_own_questions_and_reads_the_answers_to_all(run):
    own = ["how many?", "is it night?"]
    book = parsed(run(*BUILD, "--out", "out", "--ask", own[0], "--ask", own[1], "--json"))
    assert book["questions"] == own
    assert (book["condition"]["signal"], book["condition"]["confidence"]) == ("questions_divergence", 1.1)
    assert sorted(each.name for each in Path("out.evidence").glob("probe-*")) == ["probe-0", "probe-1"]


def test_build_puts_a_threshold_it_is_told_in_the_place_of_the_criterions(run):
    condition = parsed(run(*CERTAIN, "--confidence", "q0.8", "--divergence", "0.7"))["condition"]
    told = {"confidence": {"quantile": 0.8}, "divergence": 0.7}
    assert condition == criterion("certainty").as_json() | told


def test_info_as_json_tells_what_the_book_holds(run):
    record = parsed(run("codebook", "info", "book", "--json"))
    assert (record["prototypes"], record["width"], record["model"]) == (4, 32, "made-up")


RELEASED_FOR = "llava-hf/llava-1.5-7b-hf"


def test_import_writes_a_book(run, folder):
    code, out, err = run("codebook", "import", "released.pt", "--out", "out", "--model", RELEASED_FOR)
    assert (code, out) == (0, "5 prototypes in out\n")
    assert "note: no released book has the shape of released.pt" in err
    assert Codebook.from_pretrained(folder / "out").config["model"] == RELEASED_FOR
    torch.save(torch.randn(454, 4096), "llava15.pt")
    out = run("codebook", "import", "llava15.pt", "--out", "second", "--model", RELEASED_FOR, "--json")[1]
    pruning = json.loads(out)["pruning"]
    assert pruning == {"rule": "cosine", "threshold": 0.45}
    assert "authors prune  rule=cosine, threshold=0.45\n" in run("codebook", "info", "second")[1]


def test_import_takes_the_rule_of_a_preset(run, folder):
    given = ("codebook", "import", "released.pt", "--model", RELEASED_FOR, "--out", "out", "--preset")
    code, out, err = run(*given, "llava-nxt")
    assert (code, out) == (2, "")
    assert "llava-next" in err
    assert not (folder / "out").exists()
    code, _, err = run(*given, "llava-next")
    assert code == 0
    assert err == f"note: {RELEASED_FOR} is not here, so that it was not checked to be this book's model\n"
    assert Codebook.from_pretrained(folder / "out").config["pruning"]["threshold"] == 0.11


def test_a_book_of_another_width_is_not_imported_for_a_model_that_is_here(run, folder):
    code, out, err = run("codebook", "import", "released.pt", "--out", "out", "--model", "demo")
    assert (code, out) == (2, "")
    assert "released.pt holds prototypes of D=" in err
    assert "and demo has D=256: name the model that the book was released for" in err
    assert not (folder / "out").exists()


def test_a_name_that_begins_with_a_dash_is_told_how_to_be_given(run):
    code, _, err = run("ask", "-dash.png", "what is it?")
    assert code == 2
    assert "a file whose name begins with a dash is given as ./-name" in err


def test_the_version_is_told(run):
    assert run("--version") == (0, f"wordsight {__version__}\n", "")


ANSWERS = ("answers", "out.json", "--show", "all", "--json")


def test_a_comparison_keeps_what_was_said_and_lists_it_again(run, tiny, folder, monkeypatch):
    rows = [{"image": "good.png", "question": f"what {i}?", "answer": "unsayable"} for i in range(3)]
    Path("q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr(cli.compare, "load_vlm", lambda name, options: tiny)
    asked = ("compare", "--task", "q.jsonl", "--pruner", "uniform", "--keep", "0.1", "--out", "out.json")
    code, out, _ = run(*asked, "--show", "wrong")
    assert code == 0
    expected = [tiny.answer("good.png", f"what {i}?", max_new_tokens=32).text for i in range(3)]
    monkeypatch.setattr(VLM, "from_pretrained", interrupt)
    listed = json.loads(run(*ANSWERS, "--pruner", "none")[1])["answers"]
    assert [(each["question"], each["said"], each["score"]) for each in listed] == [
        (f"what {i}?", said, 0.0) for i, said in enumerate(expected)
    ]
    everything = json.loads(run(*ANSWERS)[1])["answers"]
    assert [each["pruner"] for each in everything] == [
        name for name in ("none", "resized", "uniform", "blind") for _ in range(3)
    ]
    table = run(*ANSWERS[:2])[1]
    assert "12 answers" in out
    assert "12 answers" in table
    assert "unsayable" in table
    code, _, err = run(*ANSWERS[:2], "--pruner", "unifrom")
    assert (code, "did you mean 'uniform'" in err) == (2, True)
