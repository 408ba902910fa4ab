"""wordsight codebook: build, calibrate, import, push, compact, inspect codebooks of redundant prototypes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typing_extensions import TypedDict

from wordsight._utils.numbers import counted
from wordsight.cli.common import (
    SHARE,
    SOURCE,
    Actors,
    AsJson,
    Column,
    EvidenceFolder,
    GpusPerActor,
    Model,
    Pictures,
    Ray,
    as_part,
    as_share,
    evidence_folder,
    load_vlm,
    places,
    print_json,
    print_result,
    print_text,
    ray_workers,
    refuse_part_on_ray,
    say,
    say_replaced,
    say_skipped,
    takes_load_options,
)
from wordsight.errors import UsageError
from wordsight.models.load_options import LoadOptions

if TYPE_CHECKING:
    from wordsight.redundancy.build import Clustering
    from wordsight.redundancy.codebook import Codebook
    from wordsight.redundancy.criteria import Condition, Quantile
    from wordsight.redundancy.presets import Preset

app = typer.Typer(
    help="Build, calibrate, import, push, compact and inspect codebooks of redundant prototypes."
)

Book = Annotated[str, typer.Argument(help="a folder, user/name on the hub, demo or demo-photos")]
Threshold = Annotated[
    str | None, typer.Option(help="another threshold than the criterion's: a value, or q0.5 for a quantile")
]
Largest = Annotated[
    int | None, typer.Option(help="drop an image's clusters of more tokens than this, 12 by default", min=1)
]
MinImages = Annotated[
    int | None, typer.Option(help="keep clusters found in more pictures than this, 16 by default", min=0)
]

Ask = Annotated[
    list[str] | None,
    typer.Option(
        help="a question of your own that every token is asked alone, in place of the usual ones; again for "
        "more"
    ),
]


class PushRecord(TypedDict):
    """Where a codebook was uploaded to."""

    format: int
    repository: str
    revision: Annotated[str | None, "the branch; null is main"]
    commit: Annotated[str, "its address"]


@app.command()
@takes_load_options
def build(
    source: Annotated[str, typer.Argument(help=SOURCE)],
    out: Annotated[Path, typer.Option(help="the folder to write the book to")],
    evidence: EvidenceFolder = None,
    column: Column = None,
    limit: Pictures = None,
    criterion: Annotated[
        str, typer.Option(help="what makes a token redundant; paper is the paper's exact condition")
    ] = "default",
    preset: Annotated[
        str | None,
        typer.Option(
            help="the paper's settings for llava-1.5, llava-next or llava-onevision, pruning included"
        ),
    ] = None,
    ask: Ask = None,
    confidence: Threshold = None,
    divergence: Threshold = None,
    largest: Largest = None,
    min_images: MinImages = None,
    keep_embeddings: Annotated[
        Literal["all", "survivors"],
        typer.Option(help="of all tokens, or only of those that can be prototypes of this criterion"),
    ] = "all",
    global_: Annotated[
        Literal["exact", "approximate"],
        typer.Option(
            "--global", help="approximate takes a fraction of the time, and says how well it ranks tokens"
        ),
    ] = "exact",
    patches: Annotated[
        bool,
        typer.Option(
            "--patches",
            help="keep in the book what each prototype was: 16 x 16 pixels of its picture, and its words; "
            "whoever has the book sees them",
        ),
    ] = False,
    part: Annotated[
        str | None,
        typer.Option(
            help="examine only one part of so many, counted from 0, as 0/4, and build nothing; by default "
            "RANK/WORLD_SIZE, as torchrun sets them"
        ),
    ] = None,
    ray: Ray = None,
    actors: Actors = None,
    num_gpus_per_actor: GpusPerActor = None,
    model: Model = "demo",
    load: LoadOptions | None = None,
    as_json: AsJson = False,
) -> None:
    """Examine every token of the pictures of a source, as the criterion needs it, then build the codebook; a
    stopped run goes on.
    """
    from wordsight.media.sources import open_source
    from wordsight.redundancy.ablation import check_picture_map
    from wordsight.redundancy.codebook import check_destination
    from wordsight.redundancy.collecting import collect_evidence, collect_part
    from wordsight.reports.evidence import part_sentence

    share, chosen = _part(part, ray), _preset(preset, criterion, ask)
    chosen = replace(
        chosen,
        condition=_condition(chosen.condition, confidence, divergence),
        clustering=_clustering(chosen.clustering, largest, min_images),
    )
    plan = replace(
        chosen.plan,
        only_survivors=keep_embeddings == "survivors",
        approximate_global=global_ == "approximate",
    )
    workers = ray_workers(ray, actors, num_gpus_per_actor, load, model)
    if patches and (share or workers):
        raise UsageError(
            "--patches needs the model in this process: leave it out, and run the command with it, without "
            "--part or --ray, when all evidence is there"
        )
    pictures = open_source(source, column).first(limit)
    collected_in = evidence_folder(evidence, out, source)
    check_destination(out, apart=[*places(source), collected_in])
    chosen.clustering.check_readable(pictures)
    if share:
        record = collect_part(load_vlm(model, load), pictures, collected_in, plan, part=share)
        print_result(record, lambda record: [part_sentence(record, collected_in)], as_json=as_json)
        return
    say_replaced(out)
    if workers:
        from wordsight.integrations.ray import collect_evidence_on_ray

        collected = collect_evidence_on_ray(workers, list(pictures), collected_in, plan)
        say_skipped(collected.skipped)
        _save(chosen.build(collected), out, as_json)
        return
    vlm = load_vlm(model, load)
    if patches:
        check_picture_map(vlm)
    collected = collect_evidence(vlm, pictures, collected_in, plan)
    say_skipped(collected.skipped)
    book = chosen.build(collected)
    _save(book.with_origins(vlm, list(pictures)) if patches else book, out, as_json)


@app.command()
@takes_load_options
def calibrate(
    images: Annotated[str, typer.Option(help=f"a few hundred pictures: {SOURCE}")],
    out: Annotated[Path, typer.Option(help="the folder to write the best book to, if one pays")],
    task: Annotated[
        str, typer.Option(help="the task, or questions.jsonl, whose validation split decides")
    ] = "scenes",
    questions: Annotated[
        int, typer.Option(help="validation questions: half choose the book, half test it", min=20)
    ] = 600,
    evidence: EvidenceFolder = None,
    column: Column = None,
    limit: Pictures = None,
    ask: Ask = None,
    largest: Largest = None,
    min_images: MinImages = None,
    ray: Ray = None,
    actors: Actors = None,
    num_gpus_per_actor: GpusPerActor = None,
    model: Model = "demo",
    load: LoadOptions | None = None,
    as_json: AsJson = False,
) -> None:
    """Try every criterion on a validation split, and say whether the best book beats its controls, alone and
    beside diversity (`codebook_mmr`, against `divprune`).

    What is finished is kept in OUT.cells and in the evidence until all of it is: a stopped run goes on.
    """
    from wordsight import tasks
    from wordsight.evaluation.calibration import CalibrationPlan
    from wordsight.evaluation.result_cache import cache_beside, cache_folder
    from wordsight.evaluation.statistics import FEWEST_PICTURES
    from wordsight.media.sources import open_source
    from wordsight.redundancy.build import Clustering
    from wordsight.redundancy.codebook import check_destination
    from wordsight.redundancy.collecting import collect_evidence
    from wordsight.redundancy.evidence import Evidence
    from wordsight.reports.calibration import calibration_tables

    validation = replace(tasks.make(task), split="validation")
    clustering = _clustering(Clustering(), largest, min_images)
    workers = ray_workers(ray, actors, num_gpus_per_actor, load, model)
    pictures = open_source(images, column).first(limit)
    collected_in = evidence_folder(evidence, out, images)
    check_destination(out, apart=[*places(images), collected_in, *validation.files])
    clustering.check_readable(pictures)
    plan = CalibrationPlan(
        task=validation,
        questions=questions,
        clustering=clustering,
        asked_alone=_asked_alone(ask),
        cache=cache_folder(out),
    )
    choosing, testing = ({example.picture_id for example in half} for half in plan.halves)
    if (count := len(testing)) < FEWEST_PICTURES:
        asked = len(choosing) + count
        has_more = len({example.picture_id for example in validation.first(None, asked + 1)}) > asked
        remedy = (
            "more --questions are about more pictures"
            if has_more
            else "give a task about more pictures: of those in its validation split, half test the book"
        )
        say(
            f"note: {counted(count, 'picture')} will test the book, and none pays on fewer than "
            f"{FEWEST_PICTURES}; {remedy}"
        )
    say_replaced(out)
    with cache_beside(out):
        if workers:
            from wordsight.integrations.ray import calibrate_on_ray

            calibration = calibrate_on_ray(workers, list(pictures), collected_in, plan)
            say_skipped(Evidence.load(collected_in).skipped)
        else:
            vlm = load_vlm(model, load)
            plan.check(vlm)  # before the work
            collected = collect_evidence(vlm, pictures, collected_in, plan.evidence_plan)
            say_skipped(collected.skipped)
            calibration = plan.results(vlm, collected)
        if calibration.record["pays"] or calibration.record["beside_diversity"]["pays"]:
            calibration.book.save_pretrained(out)
            say(f"{counted(len(calibration.book.prototypes), 'prototype')} in {out}")
        elif calibration.record["enough_pictures"]:
            say("no codebook written: the best of these does not pay on this model and task")
        else:
            say("no codebook written: too few pictures tested the best of these")
        print_result(calibration.record, calibration_tables, as_json=as_json)


@app.command("import")
def import_book(
    file: Annotated[Path, typer.Argument(help="a .pt file the paper's authors released")],
    out: Annotated[Path, typer.Option(help="the folder to write the book to")],
    model: Annotated[str, typer.Option(help="the model the book is for")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="take along the rule of llava-1.5, llava-next or llava-onevision; by default by shape"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Convert a codebook that the paper's authors released, with the rule that they prune by with it."""
    from wordsight.models.loading import embedding_width
    from wordsight.redundancy.codebook import check_destination, import_released
    from wordsight.redundancy.presets import preset as find_preset
    from wordsight.redundancy.presets import with_released_pruning

    if preset is not None:
        find_preset(preset)
    width = embedding_width(model)
    check_destination(out, apart=[file])
    imported = with_released_pruning(import_released(file, model), preset)
    if width not in (None, imported.info["width"]):
        raise UsageError(
            f"{file} holds prototypes of D={imported.info['width']}, and {model} has D={width}: name the "
            "model that the book was released for"
        )
    say_replaced(out)
    if width is None:
        say(f"note: {model} is not here, so that it was not checked to be this book's model")
    if "pruning" not in imported.config:
        say(f"note: no released book has the shape of {file}, so that no rule is taken along; see --preset")
    _save(imported, out, as_json)


@app.command()
def push(
    book: Book,
    repository: Annotated[str, typer.Argument(help="user/name on the hub; it is made if there is none")],
    license: Annotated[
        str | None, typer.Option(help="that of the pictures, as the hub calls it: cc-by-4.0")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="show it to nobody else")] = False,
    revision: Annotated[str | None, typer.Option(help="a branch; it is made if there is none")] = None,
    no_patches: Annotated[
        bool, typer.Option("--no-patches", help="leave out what the book shows of pictures")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Upload a codebook to the Hugging Face hub, with a card that says what it is; log in before."""
    from wordsight.redundancy.codebook import Codebook

    opened = Codebook.from_pretrained(book)
    opened = opened.without_origins() if no_patches else opened
    commit = opened.push_to_hub(repository, license=license, private=private, revision=revision)
    if as_json:
        record: PushRecord = {
            "format": 1,
            "repository": repository,
            "revision": revision,
            "commit": commit,
        }
        print_json(record)
    else:
        print_text(f"{commit}\n")


@app.command()
def info(book: Book, as_json: AsJson = False) -> None:
    """Show what a codebook was built from, for which model, under which condition."""
    from wordsight.redundancy.book_info import info_lines
    from wordsight.redundancy.codebook import Codebook

    record = Codebook.from_pretrained(book).info
    if as_json:
        print_json(record)
    else:
        print_text("".join(f"{line}\n" for line in info_lines(record)))


@app.command()
@takes_load_options
def compact(
    book: Book,
    out: Annotated[Path, typer.Option(help="the folder to write the compact book to")],
    similarity: Annotated[
        float, typer.Option(help="of prototypes whose cosine is this or more, one stays")
    ] = 0.98,
    images: Annotated[
        Path | None, typer.Option(help="a folder of pictures on which to compare what both books keep")
    ] = None,
    limit: Pictures = None,
    model: Model = "demo",
    load: LoadOptions | None = None,
    as_json: AsJson = False,
) -> None:
    """Write the book without prototypes that repeat another, and compare both books on pictures."""
    from wordsight.analysis.compaction import compare_codebooks, describe_compaction
    from wordsight.media.images import find_pictures, readable
    from wordsight.redundancy.codebook import Codebook, book_folder, check_destination
    from wordsight.reports.compaction import compaction_table
    from wordsight.reports.formats import terminal

    whole = Codebook.from_pretrained(book)
    check_destination(out, apart=[book_folder(book), *filter(None, [images])])
    say_replaced(out)
    smaller = whole.compact(similarity)
    record = describe_compaction(whole, smaller, similarity)
    if images:
        pictures, record["skipped"] = readable(find_pictures(images)[:limit])
        say_skipped(record["skipped"])
        record["on_pictures"] = compare_codebooks(load_vlm(model, load), whole, smaller, pictures)
    smaller.save_pretrained(out)
    say(f"{len(smaller.prototypes)} of {counted(len(whole.prototypes), 'prototype')} in {out}")
    print_result(record, lambda record: [terminal(compaction_table(record))], as_json=as_json)


@app.command()
@takes_load_options
def inspect(
    book: Book,
    images: Annotated[Path, typer.Option(help="a folder of pictures to find example patches in")],
    out: Annotated[Path, typer.Option(help="the folder for a page, a figure and the record")],
    keep: Annotated[str, typer.Option(help=SHARE)] = "0.2",
    sure: Annotated[
        float, typer.Option(help="flag prototypes that say a word with at least this confidence")
    ] = 0.5,
    limit: Pictures = None,
    model: Model = "demo",
    load: LoadOptions | None = None,
    as_json: AsJson = False,
) -> None:
    """Show what the prototypes are: their words, patches and map, which repeat each other, which prune."""
    from wordsight.analysis.prototypes import inspect_codebook as run
    from wordsight.media.images import find_pictures, readable
    from wordsight.redundancy.codebook import Codebook, book_folder
    from wordsight.reports.book import cluster_table
    from wordsight.reports.folder import BOOK_FILES, check_report
    from wordsight.reports.formats import terminal

    share = as_share(keep)
    opened = Codebook.from_pretrained(book)
    check_report(out, BOOK_FILES, apart=[book_folder(book), images])
    say_replaced(out)
    # Only now: what draws is an extra, and the check says so if it is missing.
    from wordsight.reports.book_page import write_book_report

    pictures, skipped = readable(find_pictures(images)[:limit])
    say_skipped(skipped)
    record = run(load_vlm(model, load), opened, pictures, keep=share, sure=sure)
    record["skipped"] = skipped
    write_book_report(record, pictures, out)
    say(f"wrote {out / BOOK_FILES[0]}")
    print_result(record, lambda record: [terminal(cluster_table(record))], as_json=as_json)


def _part(given: str | None, ray: str | None) -> tuple[int, int] | None:
    """The part and the number of parts that --part asks for, or that torchrun has made this process."""
    refuse_part_on_ray(given, ray)
    if given is None and ray is None:
        rank, size = (os.environ.get(name) for name in ("RANK", "WORLD_SIZE"))
        given = f"{rank}/{size}" if rank and size and size != "1" else None
    return None if given is None else as_part(given)


def _save(book: Codebook, out: Path, as_json: bool) -> None:
    """Write a book, and show what it is."""
    book.save_pretrained(out)
    if as_json:
        print_json(book.info)
    else:
        print_text(f"{counted(len(book.prototypes), 'prototype')} in {out}\n")


def _preset(name: str | None, criterion_name: str, ask: list[str] | None) -> Preset:
    """The preset of a name, or else what our own codebooks are built by, with this criterion."""
    from wordsight.redundancy.build import Clustering
    from wordsight.redundancy.criteria import criterion
    from wordsight.redundancy.experiments import OVER_QUESTIONS
    from wordsight.redundancy.presets import Preset, preset

    if name is None:
        condition, questions = criterion(criterion_name), _asked_alone(ask)
        if ask and criterion_name == "default":
            condition = replace(condition, signal="questions_divergence")
        if ask and len(ask) > 1 and condition.signal not in OVER_QUESTIONS:
            raise UsageError(
                f"--criterion {criterion_name} reads the answers to the first question alone: --ask one, or "
                f"take {' or '.join(OVER_QUESTIONS)}, which read all"
            )
        return Preset(condition=condition, clustering=Clustering(), pruning=None, questions=questions)
    if criterion_name != "default":
        raise UsageError(f"expected --preset {name} or --criterion {criterion_name}: a preset has its own")
    if ask:
        raise UsageError(f"expected --preset {name} or --ask {ask[0]!r}: a preset has a question of its own")
    return preset(name)


def _asked_alone(ask: list[str] | None) -> tuple[str, ...]:
    """What every token is asked alone. Raises UsageError if it is nothing."""
    from wordsight.redundancy.probe import QUESTIONS

    if any(not question.strip() for question in ask or ()):
        raise UsageError("--ask is empty: give a question, such as --ask 'is there a crack?'")
    return tuple(ask) if ask else QUESTIONS


def _clustering(usual: Clustering, largest: int | None, min_images: int | None) -> Clustering:
    return replace(
        usual,
        largest=usual.largest if largest is None else largest,
        images=usual.images if min_images is None else min_images,
    )


def _condition(condition: Condition, confidence: str | None, divergence: str | None) -> Condition:
    if confidence is not None:
        condition = replace(condition, confidence=_threshold(confidence))
    if divergence is not None:
        condition = replace(condition, divergence=_threshold(divergence))
    return condition


def _threshold(text: str) -> float | Quantile:
    from wordsight.redundancy.criteria import Quantile

    try:
        value = float(text.removeprefix("q"))
    except ValueError as error:
        raise UsageError(
            f"expected a threshold such as 0.15 or a quantile such as q0.5; got {text!r}"
        ) from error
    return Quantile(value) if text.startswith("q") else value
