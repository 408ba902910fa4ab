"""The verdict on real photos, for one model: docs/findings.md says what is measured, on how much, and why.

Run it for every model on the validation split, which makes the choices, then on the test split, then
photos_pool.py. What is measured is kept photo by photo and method by method, so that a stopped run goes on.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import typer
from safetensors.numpy import save_file
from safetensors.torch import load_file, save
from torch import Tensor

from causes import auroc
from photos import Photo, read_photos
from recipes import RECIPES
from verdict import Direct, Known, Method, book_method, direct_method, key
from vision import TOKENS, restrict_attention
from wordsight import VLM, Clustering, Codebook, Evidence, Learned, Pruner, UsageError, pruners
from wordsight import fit_scorer as fitted_to
from wordsight._utils.files import replacing
from wordsight._utils.progress import track
from wordsight.evaluation.calibration import KEEPS, SHARES
from wordsight.evaluation.environment import environment
from wordsight.evaluation.prepared_task import PreparedTask
from wordsight.evaluation.statistics import Scores
from wordsight.models.prompt import Prompt
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.base import ScorePruner
from wordsight.pruners.book import BookPruner
from wordsight.pruners.cls_topk import ClsTopK
from wordsight.pruners.divprune import DivPrune
from wordsight.pruners.random import Random
from wordsight.pruners.uniform import Uniform
from wordsight.redundancy.build import build_codebook, random_codebook
from wordsight.redundancy.collecting import collect_evidence
from wordsight.redundancy.criteria import CRITERIA, Condition
from wordsight.redundancy.experiments import SIGNALS, WORDS
from wordsight.redundancy.measured_with import measured_with
from wordsight.redundancy.probe import NOISE_FLOOR, QUESTION, probe_tokens
from wordsight.tasks.base import Example, Task

HERE = Path(__file__).parent
KEPT = HERE.parent / "build" / "photos-verdict"
ALONE = ("confidence", "certainty", "blind_divergence")  # criteria that one question about one token decides
MIDDLE = KEEPS[1]  # choices are made at it
CLUSTERINGS = [Clustering(largest=most, images=images) for most in (2, 4, 8, 24) for images in (4, 8)]
Split = Literal["validation", "test"]


@dataclass(frozen=True)
class Sizes:
    """How many photos, and how many tokens of them."""

    asked: int = 300  # photos of the split
    choosing: int = 120  # of those on validation
    probed: int = 64  # of those asked, whose every token is probed
    few: int = 150  # of those asked, for criteria and pruners
    pictures: int = 100  # training photos of a book
    examined: int = 24  # tokens of each
    book: int = 512  # tokens of a book
    whole: int = 24  # training photos with all questions and both context experiments
    small: int = 256  # tokens of a book of those
    fewest: int = 12  # training photos of the smallest books
    many: int = 1000  # training photos of the largest books
    sparse: int = 17  # tokens of each

    def at(self, share: float) -> Sizes:
        """The same with a share of the photos, to try it out."""
        counts = {each.name: getattr(self, each.name) for each in fields(self)}
        tokens = ("examined", "sparse")
        return Sizes(**{name: n if name in tokens else math.ceil(share * n) for name, n in counts.items()})


@dataclass(kw_only=True)
class Names(Task):
    """What a photo shows, by the first token of its name, which is a whole word for almost all."""

    max_new_tokens: ClassVar[int] = 1
    photos: Sequence[Photo] = field(repr=False)
    spell: Callable[[str], str] = field(repr=False)

    def examples(self) -> Iterator[Example]:
        for photo in self.photos:
            assert photo.name is not None, "known photos have names"
            yield Example(photo.path, photo.path, QUESTION, self.spell(photo.name), "names")


class WholeNames(Names):
    """The same by the whole name."""

    max_new_tokens: ClassVar[int] = 8


class FirstWords(PreparedTask):
    """Only the first token is read of every answer: what all prompts begin with is computed once."""

    def _answers(self, prompts: list[Prompt]) -> list[str]:
        best = self.vlm.logits(prompts).argmax(-1)
        decoded: list[str] = self.vlm.processor.tokenizer.batch_decode(best[:, None])
        return [text.strip() for text in decoded]

    def first(self, count: int) -> FirstWords:
        """The first so many of the questions."""
        return FirstWords(self.vlm, self.task, self.examples[:count], self.prompts[:count])


@dataclass(kw_only=True)
class OneDraw(ScorePruner):
    """Random tokens of every picture, drawn once: three draws would cost as much as two methods more."""

    def score(self, tokens: VisualTokens) -> Tensor:
        return Random().score(tokens)


@dataclass(kw_only=True)
class Saying(Direct):
    """The probe itself, with a threshold: keeps all tokens that say something, at least one."""

    floor: float = NOISE_FLOOR

    def select(self, tokens: VisualTokens) -> VisualTokens:
        says = self.known[key(tokens.embeds)]["blind_divergence"]
        kept = says >= min(self.floor, float(says.max()))
        return tokens.take(kept.nonzero()[:, 0])


@dataclass(frozen=True)
class Bench:
    """One model, its photos, and where what is measured is kept."""

    name: str
    vlm: VLM
    photos: list[Photo]
    split: Split
    sizes: Sizes
    floor: float

    @property
    def folder(self) -> Path:
        """Of this model alone: another training has another fingerprint."""
        return KEPT / f"{self.name}-{self.vlm.fingerprint}"

    def of(self, split: str, count: int) -> list[Photo]:
        """The first known photos of a split; they are in random order."""
        return [photo for photo in self.photos if photo.known and photo.split == split][:count]

    def task(self, count: int, signals: frozenset[str]) -> FirstWords:
        """The naming of so many photos of the split."""
        tokenizer = self.vlm.processor.tokenizer

        def first(name: str) -> str:
            ids = tokenizer(f" {name}", add_special_tokens=False)["input_ids"][:1]
            return str(tokenizer.decode(ids)).strip()

        names = Names(photos=self.of(self.split, count), spell=first)
        return FirstWords.of(self.vlm, names, list(names.examples()), signals=signals)  # type: ignore[return-value]

    def score(self, task: FirstWords, label: str, pruner: Pruner) -> Scores:
        """The score of every photo, computed once."""
        plain = "".join(char if char.isalnum() or char == "." else "-" for char in label)
        path = self.folder / f"{self.split}-{len(task.examples)}" / f"{plain}.npy"
        if not path.exists():
            scores = task.run(pruner)[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as draft, draft.open("wb") as file:
                np.save(file, scores)
        found: Scores = np.load(path)
        return found

    def run(self, task: FirstWords, methods: dict[str, Method], keeps: Sequence[float]) -> dict[str, Scores]:
        """Every method at every keep, by "method | keep"."""
        pairs = [(f"{name} | {keep}", make(keep)) for name, make in methods.items() for keep in keeps]
        return {
            label: self.score(task, label, pruner) for label, pruner in track(pairs, "methods", len(pairs))
        }

    def evidence(self, split: str, count: int, tokens: int) -> Evidence:
        """What some tokens of photos say alone to the paper's question; other experiments are NaN."""
        photos = self.of(split, count)
        folder = self.folder / f"evidence-{split}-{tokens}"
        folder.mkdir(parents=True, exist_ok=True)
        parts = [
            self._examined(photo, number, tokens, folder / f"{number:04}.safetensors")
            for number, photo in enumerate(track(photos, "examining photos", len(photos)))
        ]
        columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        absent = torch.full((len(columns["image"]),), torch.nan)
        signals = {name: columns.pop(name, absent) for name in SIGNALS}
        manifest: Any = {
            "format": 4,
            "model": self.vlm.name,
            "fingerprint": self.vlm.fingerprint,
            "questions": [QUESTION],
            "measured_with": measured_with(self.vlm),
        }
        names = tuple(photo.path for photo in photos)
        digests = (None,) * len(names)
        return Evidence(**columns, signals=signals, pictures=names, manifest=manifest, sha256=digests)

    def _examined(self, photo: Photo, number: int, tokens: int, path: Path) -> dict[str, Tensor]:
        if not path.exists():
            prompt = self.vlm.encode(photo.path, QUESTION)
            drawn = torch.randperm(len(prompt.visual), generator=torch.Generator().manual_seed(number))
            part = prompt.visual.take(drawn[:tokens])
            probe = probe_tokens(self.vlm, replace(prompt, visual=part))
            columns = {
                "embeds": part.embeds.float(),
                "image": torch.full((len(part),), number),
                "cell": part.cell,
                "words": probe.tokens[:, :WORDS].contiguous(),
                "word_probabilities": probe.probabilities[:, :WORDS].contiguous(),
                **{name: getattr(probe, name) for name in ALONE},
            }
            with replacing(path) as draft:
                draft.write_bytes(save({name: column.contiguous() for name, column in columns.items()}))
        return load_file(path)


def judge(  # noqa: PLR0913  # options of a command
    model: Annotated[Path, typer.Argument(help="a folder of train_photos: model-RECIPE-SEED")],
    photos: Annotated[Path, typer.Argument(help="the folder that it was trained with")],
    split: Annotated[
        Split, typer.Option(help="validation makes the choices; test is read once, at the end")
    ] = "validation",
    part: Annotated[
        list[str] | None,
        typer.Option(help="main, criteria, pruners, sizes; by default what the protocol has of this model"),
    ] = None,
    share: Annotated[float, typer.Option(help="of the photos; less is for trying it out")] = 1.0,
    floor: Annotated[
        float, typer.Option(help="nats of blind divergence; a token below says nothing")
    ] = NOISE_FLOOR,
) -> None:
    """Measure parts of the verdict and write results/photos_RECIPE-SEED_SPLIT.json."""
    if unknown := set(part or ()) - PARTS.keys():
        raise typer.BadParameter(f"expected parts of {', '.join(PARTS)}, got {unknown.pop()}")
    name = model.name.removeprefix("model-")
    vlm = VLM.from_pretrained(str(model), dtype=torch.float32)
    if RECIPES[name[0]].windowed:
        restrict_attention(vlm.model.model.vision_tower)
    bench = Bench(name, vlm, read_photos(photos), split, Sizes().at(share), floor)
    results = (KEPT if share < 1 else HERE) / "results"
    results.mkdir(parents=True, exist_ok=True)
    scores: dict[str, Scores] = {}
    record: dict[str, Any] = {
        "model": name,
        "split": split,
        "sizes": asdict(bench.sizes),
        "floor": floor,
    }
    chosen = _chosen(bench, results)
    for each in part or _of_protocol(name, split):
        found, says = PARTS[each](bench, chosen["chosen"])
        scores |= found
        record[each] = says
    record |= chosen
    record["accuracy"] = {label: float(values.mean()) for label, values in scores.items()}
    record["photos"] = [
        f"{Path(photo.path).parent.name}/{Path(photo.path).name}"
        for photo in bench.of(split, bench.sizes.asked)
    ]
    record["environment"] = {**environment(vlm), "command": " ".join(["python", *sys.argv])}
    with replacing(results / f"photos_{name}_{split}.safetensors") as draft:
        save_file({label: values.astype(np.float32) for label, values in scores.items()}, draft)
    with replacing(results / f"photos_{name}_{split}.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")


def _of_protocol(name: str, split: Split) -> list[str]:
    """The parts that are measured beside the choices."""
    if split == "validation":
        return ["sizes"] if name == "b-0" else []
    return ["main", "criteria", "pruners"] if name in ("a-0", "b-0") else ["main"]


def _chosen(bench: Bench, results: Path) -> dict[str, Any]:
    """What validation chose: made on that split, read on the test split, which may not choose."""
    if bench.split == "test":
        path = results / f"photos_{bench.name}_validation.json"
        if not path.exists():
            raise SystemExit(f"{path} is missing: run the same on the validation split first")
        record = json.loads(path.read_text())
        return {"chosen": record["chosen"], "validation": record["validation"]}
    task = bench.task(bench.sizes.choosing, frozenset())
    evidence = _main_evidence(bench)
    plain = {
        f"{name} q{share}": _plain(evidence, CRITERIA[name].at(share), bench.sizes.book)
        for name in ALONE
        for share in SHARES
    }
    tried = _tried(bench, task, plain)
    chosen = {"plain": max(tried, key=tried.__getitem__)}
    clustered: dict[str, Codebook] = {}
    for clustering in CLUSTERINGS:
        try:
            book = build_codebook(evidence, _condition(chosen["plain"]), clustering)
        except UsageError:
            continue
        clustered[f"largest {clustering.largest}, images {clustering.images}"] = book
    if clustered:
        tried_too = _tried(bench, task, clustered)
        chosen["clustered"] = max(tried_too, key=tried_too.__getitem__)
        tried |= tried_too
    return {"chosen": chosen, "validation": tried}


def _tried(bench: Bench, task: FirstWords, books: dict[str, Codebook]) -> dict[str, float]:
    found = bench.run(task, {f"try {label}": book_method(book) for label, book in books.items()}, [MIDDLE])
    return {label: float(found[f"try {label} | {MIDDLE}"].mean()) for label in books}


def _main_evidence(bench: Bench) -> Evidence:
    return bench.evidence("train", bench.sizes.pictures, bench.sizes.examined)


def _condition(label: str) -> Condition:
    """The condition of "criterion qSHARE"."""
    name, _, share = label.partition(" q")
    return CRITERIA[name].at(float(share))


def _plain(evidence: Evidence, condition: Condition, count: int) -> Codebook:
    """A random sample of the redundant tokens, without any clustering."""
    redundant = condition.holds(evidence.signals)
    columns = ("embeds", "image", "cell", "words", "word_probabilities")
    rows = {name: getattr(evidence, name)[redundant] for name in columns}
    signals = {name: values[redundant] for name, values in evidence.signals.items()}
    return random_codebook(replace(evidence, **rows, signals=signals), count)


def measure_main(bench: Bench, chosen: dict[str, str]) -> tuple[dict[str, Scores], dict[str, Any]]:
    """Books, their controls, the scorer and the references at all keeps; the probe on the first photos."""
    evidence = _main_evidence(bench)
    book = _plain(evidence, _condition(chosen["plain"]), bench.sizes.book)
    control = random_codebook(evidence, len(book.prototypes), 1)
    scorer = fitted_to(evidence)
    methods: dict[str, Method] = {
        "random": lambda keep: OneDraw(keep=keep),
        "uniform": lambda keep: Uniform(keep=keep),
        "divprune": lambda keep: DivPrune(keep=keep),
        "[CLS] attention": lambda keep: ClsTopK(keep=keep),
        "book": book_method(book),
        "control": book_method(control),
        "scorer": lambda keep: Learned(keep=keep, scorer=scorer),
    }
    books = {"book": book, "control": control}
    if label := chosen.get("clustered"):
        clustering = next(
            one for one in CLUSTERINGS if label == f"largest {one.largest}, images {one.images}"
        )
        clustered = build_codebook(evidence, _condition(chosen["plain"]), clustering)
        books |= {
            "clustered": clustered,
            "clustered control": random_codebook(evidence, len(clustered.prototypes), 1),
        }
        methods |= {name: book_method(books[name]) for name in ("clustered", "clustered control")}
    task = bench.task(bench.sizes.asked, frozenset({"cls_attention"}))
    scores = {"all visual tokens": bench.score(task, "all visual tokens", Uniform(keep=1.0))}
    scores["no visual tokens"] = _blind(task)
    scores |= bench.run(task, methods, KEEPS)
    few = task.first(bench.sizes.probed)
    probed = bench.evidence(bench.split, bench.sizes.probed, TOKENS)
    known = _known(few, probed)
    for name in ("confidence", "blind_divergence"):
        scores |= bench.run(few, {f"probe: {name}": direct_method(CRITERIA[name], known, 1.0)}, KEEPS)
    saying = Saying(keep=1.0, condition=CRITERIA["blind_divergence"], known=known, floor=bench.floor)
    scores["probe: all that say something"] = bench.score(few, f"probe: saying {bench.floor}", saying)
    return scores, {
        "prototypes": {name: len(each.prototypes) for name, each in books.items()},
        **_silence(evidence, probed, bench.floor),
        "auroc": _aurocs(few, probed, books, Learned(scorer=scorer), bench.floor),
    }


def _blind(task: FirstWords) -> Scores:
    """What the model says without any visual token is the same of every photo."""
    said = task.first(1).blind_answers[0]
    return np.array([task.task.score(example, said) for example in task.examples])


def _known(task: FirstWords, evidence: Evidence) -> Known:
    return {
        key(prompt.visual.embeds): {
            name: evidence.signals[name][evidence.image == number] for name in SIGNALS
        }
        for number, prompt in enumerate(task.prompts)
    }


def _silence(evidence: Evidence, probed: Evidence, floor: float) -> dict[str, Any]:
    """The share of tokens that say nothing, among training photos and those of the split."""
    found: dict[str, Any] = {}
    for name, one in (("training", evidence), ("split", probed)):
        says = one.signals["blind_divergence"]
        deciles = says.quantile(torch.linspace(0.1, 0.9, 9)).tolist()
        found[name] = {"silent": float((says < floor).float().mean()), "deciles": deciles}
    return {"blind_divergence": found}


def _aurocs(
    task: FirstWords, evidence: Evidence, books: dict[str, Codebook], learned: Learned, floor: float
) -> dict[str, dict[str, float]]:
    """How well tokens that say little are told from others, over all tokens of the probed photos: the silent
    ones, if there are any, and the half that says least.
    """
    says = evidence.signals["blind_divergence"]
    attention = torch.cat([prompt.visual.signals["cls_attention"] for prompt in task.prompts])
    signs = {name: book.redundancy(evidence.embeds[:]) for name, book in books.items()}
    signs |= {"scorer": -learned.fitted.predict(evidence.embeds[:]), "[CLS] attention": -attention}
    return {
        kind: {name: auroc(values[says < most], values[says >= most]) for name, values in signs.items()}
        for kind, most in (("silent", floor), ("lower half", float(says.median())))
        if 0 < int((says < most).sum()) < len(says)
    }


def measure_criteria(bench: Bench, _: dict[str, str]) -> tuple[dict[str, Scores], dict[str, Any]]:
    """A plain book of every criterion, all as large, against as many random tokens of the same photos."""
    paths = [Path(photo.path) for photo in bench.of("train", bench.sizes.whole)]
    evidence = collect_evidence(bench.vlm, paths, bench.folder / f"evidence-whole-{len(paths)}")
    task = bench.task(bench.sizes.few, frozenset())
    count, methods, found = bench.sizes.small, dict[str, Method](), {}
    for name, condition in CRITERIA.items():
        found[name] = int(condition.holds(evidence.signals).sum())
        if found[name]:
            methods[f"criterion: {name}"] = book_method(_plain(evidence, condition, count))
    methods["criterion: none"] = book_method(random_codebook(evidence, count, 1))
    return bench.run(task, methods, KEEPS), {"redundant": found, "tokens": len(evidence)}


def measure_pruners(bench: Bench, chosen: dict[str, str]) -> tuple[dict[str, Scores], dict[str, Any]]:
    """Every pruner that there is, at one keep, with its defaults; and whole names."""
    evidence = _main_evidence(bench)
    book = _plain(evidence, _condition(chosen["plain"]), bench.sizes.book)
    methods, signals, left_out = dict[str, Method](), frozenset[str](), {}
    for name in pruners.names():
        pruner = pruners.make(name)
        if isinstance(pruner, BookPruner):
            pruner = replace(pruner, codebook=book)
        if isinstance(pruner, Learned):
            pruner = replace(pruner, scorer=fitted_to(evidence))
        try:
            pruner.check(bench.vlm)
        except UsageError as error:
            left_out[name] = str(error)
            continue
        signals |= pruner.required_signals
        methods[f"pruner: {name}"] = lambda keep, pruner=pruner: replace(pruner, keep=keep)
    task = bench.task(bench.sizes.few, signals)
    scores = bench.run(task, methods, [MIDDLE])
    whole = WholeNames(photos=bench.of(bench.split, bench.sizes.few), spell=str)
    exact = PreparedTask(bench.vlm, whole, list(whole.examples()), task.prompts)
    scores["whole name: all visual tokens"] = exact.whole
    return scores, {"left_out": left_out}


def measure_sizes(bench: Bench, chosen: dict[str, str]) -> tuple[dict[str, Scores], dict[str, Any]]:
    """Books of several sizes from few and many photos, each with its control."""
    task, methods = bench.task(bench.sizes.few, frozenset()), dict[str, Method]()
    condition = _condition(chosen["plain"])
    sizes = bench.sizes
    for photos, tokens in ((sizes.fewest, TOKENS), (sizes.pictures, TOKENS), (sizes.many, sizes.sparse)):
        evidence = bench.evidence("train", photos, tokens)
        most = int(condition.holds(evidence.signals).sum())
        for count in [count for count in (64, 512, 2048, 8192) if count <= most]:
            methods[f"size {count} of {photos}: book"] = book_method(_plain(evidence, condition, count))
            methods[f"size {count} of {photos}: control"] = book_method(random_codebook(evidence, count, 1))
    return bench.run(task, methods, [MIDDLE]), {}


PARTS = {
    "main": measure_main,
    "criteria": measure_criteria,
    "pruners": measure_pruners,
    "sizes": measure_sizes,
}

if __name__ == "__main__":
    typer.run(judge)
