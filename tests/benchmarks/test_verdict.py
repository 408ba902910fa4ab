"""The verdict from end to end on a tiny model: choices on validation, the test split once, all tables."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from safetensors.numpy import load_file, save_file

from wordsight import VLM
from wordsight.redundancy.experiments import SIGNALS

FEW = {
    "asked": 4,
    "choosing": 2,
    "probed": 2,
    "few": 2,
    "pictures": 3,
    "examined": 6,
    "book": 5,
    "whole": 1,
    "small": 4,
    "fewest": 1,
    "many": 2,
    "sparse": 3,
    "tried": 1,
}


@pytest.fixture(scope="module")
def judged(benchmarks, tiny, tmp_path_factory):
    """The folder of the results of three tiny models of scenes, which are one, whose records are copied."""
    root = tmp_path_factory.mktemp("judged")
    settings = json.loads((Path(benchmarks.verdict.__file__).parent / "verdicts" / "scenes.json").read_text())
    settings["sizes"] = {**FEW, "questions": 2}
    settings["models"] = {"whole-0": "tiny", "whole-1": "tiny", "silent-0": "tiny"}
    settings["beside"] = {"large-0": "tiny"}
    (root / "verdicts").mkdir()
    (root / "verdicts" / "scenes.json").write_text(json.dumps(settings))
    (root / "verdicts" / "photos.json").write_text(
        json.dumps({**benchmarks.pool.SETTINGS["photos"], "sizes": FEW, "models": {"e-0": "tiny"}})
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VLM, "from_pretrained", lambda *_, **__: tiny)
        patch.setattr(benchmarks.verdict, "HERE", root)
        patch.setattr(benchmarks.verdict, "KINDS", ("clutter 9",))
        patch.setattr(benchmarks.verdict, "SHARES", (0.5,))
        patch.setattr(benchmarks.verdict, "CLUSTERINGS", dict([*benchmarks.verdict.CLUSTERINGS.items()][-2:]))
        patch.setattr(benchmarks.kinds.Drawn, "max_new_tokens", 1)
        patch.setattr(benchmarks.bench, "free_tokens", lambda vlm, prompts, order, new_tokens: order % 3 == 0)
        for module in (benchmarks.bench, benchmarks.verdict):
            patch.setattr(module, "KEPT", root / "kept")
        patch.setitem(benchmarks.pool.SETTINGS, "scenes", settings)
        patch.setattr(benchmarks.pool, "PAGES", [root / "page.md"])
        for split in ("validation", "test"):
            benchmarks.verdict.judge("scenes", "whole-0", split)
            for suffix in ("json", "safetensors"):
                first = root / "results" / f"verdict_scenes_whole-0_{split}.{suffix}"
                for other in ("whole-1", "silent-0", "large-0"):
                    shutil.copy(first, str(first).replace("whole-0", other))
        yield root


def of(root, name, split="test"):
    return json.loads((root / "results" / f"verdict_scenes_{name}_{split}.json").read_text())


def test_the_test_split_uses_what_validation_chose(judged):
    assert of(judged, "whole-0")["chosen"] == of(judged, "whole-0", "validation")["chosen"]
    tried = of(judged, "whole-0")["validation"]
    assert tried[of(judged, "whole-0")["chosen"]["plain"]] == max(
        value for label, value in tried.items() if " q" in label
    )


def test_without_choices_the_test_split_is_not_read(benchmarks, judged, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks.verdict, "HERE", tmp_path)
    shutil.copytree(judged / "verdicts", tmp_path / "verdicts")
    with pytest.raises(SystemExit, match="run the same on the validation split first"):
        benchmarks.verdict.judge("scenes", "whole-0", "test")


@pytest.mark.parametrize(
    ("changed", "says"), [({"name": "whole-9"}, "expected one of"), ({"part": ["mian"]}, "got mian")]
)
def test_what_is_not_in_the_settings_is_refused(benchmarks, judged, changed, says):
    with pytest.raises(typer.BadParameter, match=says):
        benchmarks.verdict.judge(**{"of": "scenes", "name": "whole-0", **changed})


def test_questions_are_two_about_every_picture(judged):
    asked = [picture for picture, _ in of(judged, "whole-0")["questions"]]
    assert asked == [str(number) for number in range(4) for _ in range(2)]


def test_what_is_measured_once_is_not_measured_again(benchmarks, judged, monkeypatch):
    before = (judged / "results" / "verdict_scenes_whole-0_test.safetensors").read_bytes()
    for name in ("run", "whole", "blind"):
        monkeypatch.setattr(benchmarks.bench.PreparedTask, name, None)
    monkeypatch.setattr(benchmarks.bench, "probe_tokens", None)
    monkeypatch.setattr(benchmarks.bench, "free_tokens", None)
    benchmarks.verdict.judge("scenes", "whole-0", "test")
    assert (judged / "results" / "verdict_scenes_whole-0_test.safetensors").read_bytes() == before


def test_the_oracle_counts_every_token_of_its_pictures(judged):
    assert of(judged, "whole-0")["oracle"] == {"tokens": 144, "free": 48, "book": 5}


def test_only_what_tokens_say_alone_is_measured(benchmarks, judged, tiny):
    bench = benchmarks.bench.Bench(
        "whole-0", tiny, benchmarks.subjects.scenes("all", judged / "kept" / "scenes"), "test",
        benchmarks.bench.Sizes(**FEW),
    )  # fmt: skip
    evidence = bench.evidence("train", 3, 6)
    assert len(evidence) == 18
    measured = {name for name in SIGNALS if not evidence.signals[name].isnan().any()}
    assert measured == set(benchmarks.bench.ALONE)


def test_the_tables_are_written_between_their_marks(benchmarks, judged):
    marks = ("conclusions", "accuracy", "models", "criteria", "kinds", "sizes")
    page = "".join(f"<!-- table: scenes {mark} -->\nSTALE\n<!-- end -->\n" for mark in marks)
    (judged / "page.md").write_text(page)
    benchmarks.pool.main(judged / "results")
    tables = (judged / "page.md").read_text()
    assert "STALE" not in tables
    assert "| (whole) book - control |" in tables
    assert "| (silent - whole) book - control |" in tables
    assert "| clustered - clustered control [95 %, pictures] |" in tables
    verdict = json.loads((judged / "results" / "verdict_scenes.json").read_text())
    # Both models of the recipe are the same one here, whose differences are as they are.
    one, other = verdict["differences"]["(whole) book - control"]["by_model"]
    assert one == other
    assert verdict["level"] == pytest.approx(1 - 0.05 / verdict["concluded"])


def test_nothing_is_concluded_from_a_model_beside(benchmarks, judged):
    names = ("whole-0", "silent-0", "large-0")
    whole, silent, large = (
        benchmarks.pool.read(judged / "results", "scenes", name, "test") for name in names
    )
    settings, models = benchmarks.pool.SETTINGS["scenes"], {"whole-0": whole, "silent-0": silent}
    tables, verdict = benchmarks.pool.pool(models, settings, {"large-0": large})
    without, alone = benchmarks.pool.pool(models, settings, {})
    changed = {mark for mark, table in tables.items() if table != without[mark]}
    assert changed == {"accuracy", "models", "criteria", "by keep"}
    assert verdict["differences"] == alone["differences"]


def test_nothing_is_concluded_while_a_model_is_missing(benchmarks, judged, tmp_path, capsys):
    for path in [*(judged / "results").glob("*whole-0*"), *(judged / "results").glob("*large-0*")]:
        shutil.copy(path, tmp_path)
    page = "<!-- table: scenes {} -->\nSTALE\n<!-- end -->\n"
    (judged / "page.md").write_text("".join(map(page.format, ("conclusions", "accuracy", "criteria"))))
    benchmarks.pool.main(tmp_path)
    said = capsys.readouterr().err
    assert "scenes: nothing is concluded, since whole-1, silent-0 were not measured" in said
    tables = (judged / "page.md").read_text()
    assert "STALE" not in tables
    assert "pooled" not in tables
    assert "large-0" in tables
    assert "whole-0" not in tables


def test_photos_are_asked_for_the_first_word_of_their_name(benchmarks, judged, picture, monkeypatch):
    """One picture in several copies, in three splits, by a name that training names."""
    paths = [judged / f"{number}.png" for number in range(8)]
    for number, path in enumerate(paths):
        picture.resize((100 + number, 100)).save(path)
    splits = ["train"] * 3 + ["validation"] * 2 + ["test"] * 3
    photos = [
        benchmarks.photos.Photo(str(path), "cat", True, split)
        for path, split in zip(paths, splits, strict=True)
    ]
    monkeypatch.setattr(benchmarks.photos, "read_photos", lambda root: photos)
    for split in ("validation", "test"):
        benchmarks.verdict.judge("photos", "e-0", split, pictures=judged)
    record = json.loads((judged / "results" / "verdict_photos_e-0_test.json").read_text())
    assert len(record["questions"]) == 3
    assert "whole name: all visual tokens" in record["accuracy"]
    assert not set(record["pruners"]["left_out"]) & {"random", "codebook", "learned"}
    rows = {label.removeprefix("pruner: ") for label in record["accuracy"] if label.startswith("pruner: ")}
    for name in ("scope:alpha=0", "codebook_scope", "codebook_scope with a random book"):
        assert {f"{name} | {keep}" for keep in benchmarks.verdict.KEEPS} <= rows


def test_one_part_is_measured_beside_the_others(benchmarks, judged, monkeypatch):
    """The record of the others stays as it was, and one of other questions is not mixed with it."""
    path = judged / "results" / "verdict_scenes_whole-0_test.json"
    before, bytes_before = json.loads(path.read_text()), path.with_suffix(".safetensors").read_bytes()
    scores = load_file(path.with_suffix(".safetensors"))
    save_file(
        {**scores, "oracle: gone | 0.1": scores["oracle: free | 0.1"]}, path.with_suffix(".safetensors")
    )
    benchmarks.verdict.judge("scenes", "whole-0", "test", part=["oracle"])
    after = json.loads(path.read_text())
    assert after["environment of other parts"] == before["environment"]
    assert after["accuracy"] == before["accuracy"]
    assert {part: after[part] for part in benchmarks.verdict.PARTS if part in before} == {
        part: before[part] for part in benchmarks.verdict.PARTS if part in before
    }
    assert path.with_suffix(".safetensors").read_bytes() == bytes_before
    path.write_text(json.dumps(before | {"questions": before["questions"][1:]}))
    monkeypatch.setitem(benchmarks.verdict.PARTS, "oracle", None)  # it is said before anything is measured
    try:
        with pytest.raises(typer.BadParameter, match="is of another model, choice, size or other questions"):
            benchmarks.verdict.judge("scenes", "whole-0", "test", part=["oracle"])
    finally:
        path.write_text(json.dumps(before, indent=1) + "\n")


@pytest.mark.parametrize(
    ("label", "part"),
    [
        ("book | 0.1", "main"),
        ("probe: confidence | 0.1", "main"),
        ("criterion: none | 0.1", "criteria"),
        ("pruner: cls_similarity:prefer=low | 0.1", "pruners"),
        ("whole name: all visual tokens", "pruners"),
        ("size 64 of 12: book | 0.1", "sizes"),
        ("clutter 9: book | 0.1", "kinds"),
        ("oracle: free | 0.1", "oracle"),
    ],
)
def test_a_label_tells_its_part(benchmarks, label, part):
    assert benchmarks.verdict.part_of(label) == part


def test_four_methods_are_a_difference_of_differences(benchmarks):
    values = {"a": 0.9, "b": 0.2, "c": 0.5, "d": 0.1}
    scores = {
        f"{name} | {keep}": np.array([value])
        for name, value in values.items()
        for keep in benchmarks.pool.KEEPS
    }
    assert benchmarks.pool.gap_of({"scores": scores}, [*values]) == pytest.approx([0.9 - 0.2 - (0.5 - 0.1)])
    assert benchmarks.pool.gap_of({"scores": scores}, ("a", "nothing")) is None
