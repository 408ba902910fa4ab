"""The verdict on language-defined redundancy, for one model: docs/findings.md says what is measured, and why.

verdicts/*.json say of scenes and of photos which models there are, which parts are measured of which, and on
how much. Run it for every model on the validation split, which makes the choices, then on the test split,
then pool.py. What is measured is kept picture by picture and method by method: a stopped run goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from safetensors.numpy import load_file, save_file
from torch import Tensor

from bars import CONTROL, row_label
from bench import ALONE, KEPT, Bench, Sizes
from causes import auroc
from methods import Known, Method, OneDraw, Saying, key, of_book, of_probe, of_pruner
from subjects import Names, WholeNames, photos, scenes
from wordsight import VLM, Clustering, Codebook, Evidence, Learned, Pruner, UsageError, pruners
from wordsight import fit_scorer as fitted_to
from wordsight._utils.files import replacing
from wordsight.evaluation.calibration import KEEPS, SHARES
from wordsight.evaluation.environment import environment
from wordsight.evaluation.prepared_task import PreparedTask
from wordsight.evaluation.statistics import Scores
from wordsight.pruners.book import BookPruner
from wordsight.pruners.cls_topk import ClsTopK
from wordsight.pruners.codebook_mmr import CodebookMMR
from wordsight.pruners.divprune import DivPrune
from wordsight.pruners.scorer import ScorerPruner
from wordsight.pruners.uniform import Uniform
from wordsight.redundancy.build import build_codebook, random_codebook
from wordsight.redundancy.collecting import collect_evidence
from wordsight.redundancy.criteria import CRITERIA, Condition
from wordsight.redundancy.probe import NOISE_FLOOR
from wordsight.tasks.base import Split

HERE = Path(__file__).parent
MIDDLE = KEEPS[1]  # choices are made at it
CLUSTERINGS = {
    f"largest {most}, images {images}": Clustering(largest=most, images=images)
    for most in (2, 4, 8, 12, 24)
    for images in (4, 8)
}
COLUMNS = ("embeds", "cell", "words", "word_probabilities", "image")  # of evidence
Found = tuple[dict[str, Scores], dict[str, Any]]  # by "method | keep", and what else the record says
SIZES = (64, 512, 2048, 8192)  # of books
ROWS: list[str] = json.loads((HERE / "experiments" / "pruners.json").read_text())["pruner"]
KINDS: tuple[str, ...] = ("foreground 10", "foreground 30", "foreground 60", "foreground 90")
KINDS += ("clutter 1", "clutter 9", "strange ground, rare", "strange ground, common")


def judge(  # noqa: PLR0913  # options of a command
    of: Annotated[str, typer.Argument(help="scenes or photos: which settings in verdicts/")],
    name: Annotated[str, typer.Argument(help="of the model there")],
    split: Annotated[
        Split, typer.Option(help="validation makes the choices; test is read once, at the end")
    ] = "validation",
    pictures: Annotated[
        Path | None, typer.Option(help="of photos: the folder that it was trained with")
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="main, criteria, pruners, sizes, kinds, oracle, beside what was measured of the others; by "
            "default as in the settings"
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="its folder; by default as in the settings")] = None,
    share: Annotated[float, typer.Option(help="of the pictures; less is for trying it out")] = 1.0,
) -> None:
    """Measure parts of the verdict and write results/verdict_OF_NAME_SPLIT.json and .safetensors."""
    settings = json.loads((HERE / "verdicts" / f"{of}.json").read_text())
    if unknown := set(part or ()) - PARTS.keys():
        raise typer.BadParameter(f"expected parts of {', '.join(PARTS)}, got {unknown.pop()}")
    models = {**settings["models"], **settings.get("beside", {})}
    if name not in models:
        raise typer.BadParameter(f"expected one of {', '.join(models)}, got {name}")
    vlm = VLM.from_pretrained(model or models[name], dtype=torch.float32)
    if of == "photos":
        windows_of(vlm, name)
    subject = photos(pictures) if pictures else scenes("all", KEPT / "scenes")
    bench = Bench(name, vlm, subject, split, Sizes(**settings["sizes"]).at(share))
    results = (KEPT if share < 1 else HERE) / "results"
    results.mkdir(parents=True, exist_ok=True)
    chosen = _chosen(bench, results / f"verdict_{of}_{name}_validation.json")
    says = {
        "model": name,
        "split": split,
        "sizes": asdict(bench.sizes),
        **chosen,
        "questions": bench.questions(bench.sizes.asked),
        "environment": {**environment(vlm), "command": _command(sys.argv)},
    }
    path = results / f"verdict_{of}_{name}_{split}.json"
    scores, record = measured_of_others(path, says, part) if part else ({}, {})
    for each in part or parts_of(settings, name, split):
        found, record[each] = PARTS[each](bench, chosen["chosen"])
        scores |= found
    record |= says
    record["accuracy"] = {label: float(values.mean()) for label, values in scores.items()}
    with replacing(path.with_suffix(".safetensors")) as draft:
        save_file({label: values.astype(np.float32) for label, values in scores.items()}, draft)
    with replacing(path) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")


def measured_of_others(
    path: Path, says: dict[str, Any], parts: list[str]
) -> tuple[dict[str, Scores], dict[str, Any]]:
    """What a record says of other parts than these, nothing if there is none. Raises BadParameter if it is of
    another model, choice, size or other questions.
    """
    if not path.exists():
        return {}, {}
    before = json.loads(path.read_text())
    if what_is_asked(before) != what_is_asked(says):
        raise typer.BadParameter(
            f"{path.name} is of another model, choice, size or other questions; measure all of it, without "
            "--part"
        )
    scores = load_file(path.with_suffix(".safetensors"))
    return (
        {label: values.astype(float) for label, values in scores.items() if part_of(label) not in parts},
        {
            **{part: before[part] for part in PARTS if part in before and part not in parts},
            "environment of other parts": before["environment"],
        },
    )


def what_is_asked(record: dict[str, Any]) -> list[Any]:
    """What parts of one record have to share."""
    model = [record["environment"].get(name) for name in ("fingerprint", "parts", "dtype")]
    return [record["chosen"], record["questions"], record["sizes"], model]


def part_of(label: str) -> str:
    """Which part measures the method of a label."""
    return next((part for part, begins in LABELS_BEGIN.items() if label.startswith(begins)), "main")


def _command(words: list[str]) -> str:
    """The command line, without where on this machine its folders lie."""
    return " ".join(["python", *(Path(word).name if Path(word).is_absolute() else word for word in words)])


def windows_of(vlm: VLM, name: str) -> None:
    """The tower attends in windows where the recipe of a model of photos says so."""
    from recipes import RECIPES
    from vision import restrict_attention

    if RECIPES[name[0]].windowed:
        restrict_attention(vlm.model.model.vision_tower)


def parts_of(settings: dict[str, Any], name: str, split: Split) -> list[str]:
    """The parts that are measured of a model, by its name or its recipe, on a split, beside the choices."""
    ours = {name, name.rpartition("-")[0]}
    return [part for part, models in settings["parts"][split].items() if ours & set(models)]


def _chosen(bench: Bench, path: Path) -> dict[str, Any]:
    """What validation chose: made on that split, read on the test split, which may not choose."""
    if bench.split == "test":
        if not path.exists():
            raise SystemExit(f"{path} is missing: run the same on the validation split first")
        record = json.loads(path.read_text())
        return {"chosen": record["chosen"], "validation": record["validation"]}
    task, evidence = bench.task(bench.sizes.choosing), main_evidence(bench)
    conditions = {f"{name} q{share}": CRITERIA[name].at(share) for name in ALONE for share in SHARES}
    plain = {label: plain_book(evidence, each, bench.sizes.book) for label, each in conditions.items()}
    tried = _tried(bench, task, plain)
    chosen = {"plain": max(tried, key=tried.__getitem__)}
    clustered: dict[str, Codebook] = {}
    for label, clustering in CLUSTERINGS.items():
        with suppress(UsageError):  # no prototype is left
            clustered[label] = build_codebook(evidence, conditions[chosen["plain"]], clustering)
    if clustered:
        tried_too = _tried(bench, task, clustered)
        chosen["clustered"] = max(tried_too, key=tried_too.__getitem__)
        tried |= tried_too
    return {"chosen": chosen, "validation": tried}


def _tried(bench: Bench, task: PreparedTask, books: dict[str, Codebook]) -> dict[str, float]:
    found = bench.run(task, {f"try {label}": of_book(book) for label, book in books.items()}, [MIDDLE])
    return {label: float(found[f"try {label} | {MIDDLE}"].mean()) for label in books}


def main_evidence(bench: Bench) -> Evidence:
    return bench.evidence("train", bench.sizes.pictures, bench.sizes.examined)


def condition_of(chosen: dict[str, str]) -> Condition:
    """The condition of "criterion qSHARE"."""
    name, _, share = chosen["plain"].partition(" q")
    return CRITERIA[name].at(float(share))


def plain_book(evidence: Evidence, condition: Condition, count: int) -> Codebook:
    """A random sample of the redundant tokens, without any clustering."""
    return random_codebook(_only(evidence, condition.holds(evidence.signals)), count)


def _only(evidence: Evidence, rows: Tensor) -> Evidence:
    """The tokens of a mask (T,)."""
    columns = {name: getattr(evidence, name)[rows] for name in COLUMNS}
    return replace(
        evidence, **columns, signals={name: values[rows] for name, values in evidence.signals.items()}
    )


def measure_main(bench: Bench, chosen: dict[str, str]) -> Found:
    """Books, their controls, the scorer and the references; the probe on the first pictures."""
    evidence, condition = main_evidence(bench), condition_of(chosen)
    books = {"book": plain_book(evidence, condition, bench.sizes.book)}
    books["control"] = random_codebook(evidence, len(books["book"].prototypes), 1)
    if label := chosen.get("clustered"):
        books["clustered"] = build_codebook(evidence, condition, CLUSTERINGS[label])
        books["clustered control"] = random_codebook(evidence, len(books["clustered"].prototypes), 1)
    scorer = fitted_to(evidence)
    methods: dict[str, Method] = {
        "random": lambda keep: OneDraw(keep=keep),
        "uniform": lambda keep: Uniform(keep=keep),
        "divprune": lambda keep: DivPrune(keep=keep),
        "[CLS] attention": lambda keep: ClsTopK(keep=keep),
        "scorer": lambda keep: Learned(keep=keep, scorer=scorer),
        "book + diversity": lambda keep: CodebookMMR(keep=keep, codebook=books["book"], weight=0.5),
        **{name: of_book(book) for name, book in books.items()},
    }
    task = bench.task(bench.sizes.asked, frozenset({"cls_attention"}))
    scores = {
        "all visual tokens": bench.score(task, "all visual tokens", lambda: task.whole),
        "no visual tokens": bench.score(task, "no visual tokens", lambda: task.blind),
        **bench.run(task, methods),
    }
    few = _first(task, bench.sizes.probed)
    probed = bench.evidence(bench.split, bench.sizes.probed)
    known = _known(few, probed)
    probes = {name: of_probe(name, known) for name in ("confidence", "blind_divergence")}
    scores |= bench.run(few, {f"probe: {name}": method for name, method in probes.items()})
    saying = Saying(keep=1.0, known=known)
    scores["probe: all that say something"] = bench.score(few, "probe: saying", lambda: few.run(saying)[0])
    return scores, {
        "prototypes": {name: len(each.prototypes) for name, each in books.items()},
        **_silence(evidence, probed),
        "auroc": _aurocs(few, probed, books, Learned(scorer=scorer)),
    }


def _first(task: PreparedTask, pictures: int) -> PreparedTask:
    """The questions about the first so many pictures."""
    names = list(dict.fromkeys(task.pictures))[:pictures]
    count = sum(name in names for name in task.pictures)
    return replace(task, examples=task.examples[:count], prompts=task.prompts[:count])


def _known(task: PreparedTask, evidence: Evidence) -> Known:
    """The signals of the tokens of every picture."""
    prompts = {name: prompt.visual.embeds for name, prompt in zip(task.pictures, task.prompts, strict=True)}
    found: Known = {}
    for number, embeds in enumerate(prompts.values()):
        rows = evidence.image == number
        found[key(embeds)] = {signal: values[rows] for signal, values in evidence.signals.items()}
    return found


def _silence(evidence: Evidence, probed: Evidence) -> dict[str, Any]:
    """The share of tokens that say nothing, among training pictures and those of the split."""
    found: dict[str, Any] = {}
    for name, one in (("training", evidence), ("split", probed)):
        says = one.signals["blind_divergence"]
        deciles = says.quantile(torch.linspace(0.1, 0.9, 9)).tolist()
        found[name] = {"silent": float(one.says_nothing.float().mean()), "deciles": deciles}
    return {"blind_divergence": found}


def _aurocs(
    task: PreparedTask, evidence: Evidence, books: dict[str, Codebook], learned: Learned
) -> dict[str, dict[str, float]]:
    """How well tokens that say little are told from others, over all of the probed pictures: the silent ones,
    if there are any, and the half that says least.
    """
    says, embeds = evidence.signals["blind_divergence"], evidence.embeds[:]
    attention = {
        name: prompt.visual.signals["cls_attention"]
        for name, prompt in zip(task.pictures, task.prompts, strict=True)
    }
    signs = {name: book.redundancy(embeds) for name, book in books.items()}
    signs |= {"scorer": -learned.fitted.predict(embeds), "[CLS] attention": -torch.cat([*attention.values()])}
    return {
        kind: {name: auroc(values[says < most], values[says >= most]) for name, values in signs.items()}
        for kind, most in (("silent", NOISE_FLOOR), ("lower half", float(says.median())))
        if 0 < int((says < most).sum()) < len(says)
    }


def measure_criteria(bench: Bench, _: dict[str, str]) -> Found:
    """A plain book of every criterion, all as large, against as many random tokens of the same pictures."""
    paths = bench.subject.pictures("train", bench.sizes.whole)
    evidence = collect_evidence(bench.vlm, paths, bench.folder / f"evidence-whole-{len(paths)}")
    count, methods, found = bench.sizes.small, dict[str, Method](), {}
    for name, condition in CRITERIA.items():
        found[name] = int(condition.holds(evidence.signals).sum())
        if found[name]:
            methods[f"criterion: {name}"] = of_book(plain_book(evidence, condition, count))
    methods["criterion: none"] = of_book(random_codebook(evidence, count, 1))
    task = bench.task(bench.sizes.few)
    return bench.run(task, methods), {"redundant": found, "tokens": len(evidence)}


def measure_pruners(bench: Bench, chosen: dict[str, str]) -> Found:
    """Every row of the table of pruners, with books of this model; of names, whole ones, too."""
    evidence = main_evidence(bench)
    book = plain_book(evidence, condition_of(chosen), bench.sizes.book)
    control = random_codebook(evidence, len(book.prototypes), 1)
    methods, signals, left_out = dict[str, Method](), frozenset[str](), dict[str, str]()
    for name in ROWS:
        try:
            pruner = _made(name, book, control, evidence)
            pruner.check(bench.vlm)
        except UsageError as error:
            left_out[name] = str(error)
            continue
        signals |= pruner.required_signals
        methods[f"pruner: {row_label(name)}"] = of_pruner(pruner)
    task = bench.task(bench.sizes.few, signals)
    scores = bench.run(task, methods)
    if isinstance(task.task, Names):
        whole = WholeNames(photos=task.task.photos, spell=str)
        exact = PreparedTask(bench.vlm, whole, list(whole.examples()), task.prompts)
        scores["whole name: all visual tokens"] = exact.whole
    return scores, {"left_out": left_out}


def _made(name: str, book: Codebook, control: Codebook, evidence: Evidence) -> Pruner:
    """The pruner of a row. Raises UsageError where it needs what only a user has."""
    pruner = pruners.make(name.removesuffix(CONTROL))
    if isinstance(pruner, BookPruner):
        return replace(pruner, codebook=control if name.endswith(CONTROL) else book)
    return replace(pruner, scorer=fitted_to(evidence)) if isinstance(pruner, ScorerPruner) else pruner


def measure_sizes(bench: Bench, chosen: dict[str, str]) -> Found:
    """Books of several sizes from few and many pictures, each with its control."""
    methods, condition, sizes = dict[str, Method](), condition_of(chosen), bench.sizes
    for pictures, tokens in ((sizes.fewest, None), (sizes.pictures, None), (sizes.many, sizes.sparse)):
        evidence = bench.evidence("train", pictures, tokens)
        most = int(condition.holds(evidence.signals).sum())
        for count in [count for count in SIZES if count <= most]:
            methods[f"size {count} of {pictures}: book"] = of_book(plain_book(evidence, condition, count))
            methods[f"size {count} of {pictures}: control"] = of_book(random_codebook(evidence, count, 1))
    return bench.run(bench.task(sizes.few), methods, [MIDDLE]), {}


def measure_kinds(bench: Bench, chosen: dict[str, str]) -> Found:
    """Kinds of scenes, each with a book and a control of its own training scenes."""
    scores, record = dict[str, Scores](), dict[str, Any]()
    for kind in KINDS:
        found, record[kind] = _measure_kind(bench.of_kind(kind), chosen)
        scores |= {f"{kind}: {name}": each for name, each in found.items()}
    return scores, {"silent": record}


def _measure_kind(bench: Bench, chosen: dict[str, str]) -> tuple[dict[str, Scores], float]:
    """Of one kind, and the share of its training tokens that say nothing."""
    evidence = main_evidence(bench)
    book = plain_book(evidence, condition_of(chosen), bench.sizes.book)
    methods: dict[str, Method] = {
        "random": lambda keep: OneDraw(keep=keep),
        "book": of_book(book),
        "control": of_book(random_codebook(evidence, len(book.prototypes), 1)),
    }
    task = bench.task(bench.sizes.few)
    found = {"all visual tokens": bench.score(task, "all visual tokens", lambda: task.whole)}
    return found | bench.run(task, methods), float(evidence.says_nothing.float().mean())


def measure_oracle(bench: Bench, _: dict[str, str]) -> Found:
    """Books of tokens that truly cost nothing, of others, and of random ones of the same pictures."""
    evidence, free = bench.left_out(bench.sizes.tried)
    count = min(bench.sizes.book, int(free.sum()), int((~free).sum()))
    parts = {"free": _only(evidence, free), "needed": _only(evidence, ~free), "random": evidence}
    methods = {
        f"oracle: {name}": of_book(random_codebook(part, count, 1)) for name, part in parts.items() if count
    }
    scores = bench.run(bench.task(bench.sizes.few), methods)
    return scores, {"tokens": len(evidence), "free": int(free.sum()), "book": count}


LABELS_BEGIN: dict[
    str, str | tuple[str, ...]
] = {  # of labels of what a part measures; all others are of main
    "criteria": "criterion: ",
    "pruners": ("pruner: ", "whole name: "),
    "sizes": "size ",
    "kinds": KINDS,
    "oracle": "oracle: ",
}
PARTS: dict[str, Callable[[Bench, dict[str, str]], Found]] = {
    "main": measure_main,
    "criteria": measure_criteria,
    "pruners": measure_pruners,
    "sizes": measure_sizes,
    "kinds": measure_kinds,
    "oracle": measure_oracle,
}

if __name__ == "__main__":
    typer.run(judge)
