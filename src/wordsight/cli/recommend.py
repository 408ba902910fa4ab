"""wordsight recommend: which pruner to take for one's own model and questions."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from wordsight._utils.records import json_text
from wordsight.cli.common import (
    SPEC,
    AsJson,
    Model,
    QuestionPictures,
    Questions,
    load_vlm,
    make_pruner,
    print_result,
    say,
    say_replaced,
    takes_load_options,
)
from wordsight.errors import UsageError
from wordsight.models.load_options import LoadOptions


@takes_load_options
def recommend(
    task: Annotated[
        str, typer.Option(help="a task, such as scenes, or questions of your own, such as questions.jsonl")
    ],
    budget: Annotated[float, typer.Option(help="share of the visual tokens to keep, in (0, 1)")] = 0.2,
    tolerance: Annotated[float, typer.Option(help="share of the unpruned quality that may be lost")] = 0.03,
    latency_ms: Annotated[
        float | None, typer.Option(help="leave out pruners with which a question takes longer, median")
    ] = None,
    pruner: Annotated[
        list[str] | None, typer.Option(help=f"{SPEC}; by default all that can run on the model")
    ] = None,
    limit: Questions = None,
    pictures: QuestionPictures = None,
    out: Annotated[Path | None, typer.Option(help="write the record into this JSON file")] = None,
    export: Annotated[
        Path | None, typer.Option(help="write the choice into this JSON file, which --pruner and serve take")
    ] = None,
    model: Model = "demo",
    load: LoadOptions | None = None,
    as_json: AsJson = False,
) -> None:
    """Say which pruner to take: race them on a validation split, confirm the leader on the test split."""
    from wordsight import tasks
    from wordsight._utils.files import check_file, replacing
    from wordsight._utils.records import check_replaced
    from wordsight.evaluation.recommendation import Requirements, choice
    from wordsight.evaluation.recommendation import recommend as run
    from wordsight.pruners.choice import CHOICES, exact_spec
    from wordsight.reports.recommendation import recommendation_tables

    requirements = Requirements(budget, tolerance, latency_ms, limit, pictures)
    methods = [method for spec in pruner or () if (method := make_pruner(spec, keep=budget))]
    if len(methods) < len(pruner or ()):
        raise UsageError("none is no candidate: every pruner is compared with it; leave out --pruner none")
    test = tasks.make(task)
    validation, test = (replace(test, split=split) for split in ("validation", "test"))
    if out:
        check_file(out, (".json",), apart=test.files)
        check_replaced(out, "terms")
        say_replaced(out)
    if export:
        check_file(export, (".json",), apart=[*test.files, *filter(None, [out])])
        check_replaced(export, "quality_kept")
        say_replaced(export)
        for method in methods:
            exact_spec(method)
    record = run(
        load_vlm(model, load),
        validation=validation,
        test=test,
        requirements=requirements,
        pruners=methods or None,
    )
    record["environment"]["command"] = f"wordsight {' '.join(sys.argv[1:])}"
    if out:
        with replacing(out) as draft:
            draft.write_text(json_text(record) + "\n")
    has_choice = export and record["verdict"] != "nothing to choose"
    if export and has_choice:
        with replacing(export) as draft:
            draft.write_text(CHOICES.text(choice(record)))
    print_result(record, recommendation_tables, as_json=as_json)
    if export and not has_choice:
        older = "; what is in it is an older choice" if export.exists() else ""
        say(f"{export} is not written: there is nothing to choose{older}")
        sys.exit(1)
