"""The command line: each command parses, calls the library, and shows the result."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wordsight.errors import UsageError, WordsightError

if TYPE_CHECKING:
    from wordsight.codebook import Quantile
    from wordsight.pruners.base import Pruner

app = typer.Typer(
    help="Ask every visual token of a multimodal language model what it says; drop those that say nothing.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
codebook_app = typer.Typer(help="Build, import and inspect codebooks of redundant prototypes.")
app.add_typer(codebook_app, name="codebook")

Model = Annotated[str, typer.Option(help="a Hugging Face folder or hub name; demo is the embedded model")]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
SHARE = "share of the visual tokens to keep, in (0, 1]"
INTERRUPTED = 130  # what typer returns after Ctrl-C
SPEC = "name or name:option=value,option=value; none prunes nothing"


@app.command()
def ask(
    image: Path,
    question: str,
    model: Model = "demo",
    pruner: Annotated[str, typer.Option(help=SPEC)] = "none",
    keep: Annotated[str | None, typer.Option(help=SHARE)] = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question about a picture, with all of its visual tokens or fewer."""
    from dataclasses import asdict

    from wordsight.pictures import load_picture
    from wordsight.plugins import spec

    method, picture = _pruner(pruner, keep), load_picture(image)
    if method is None and keep is not None:
        raise UsageError(f"--keep {keep} needs a pruner, got none; add one, as --pruner divprune")
    answer = _vlm(model).answer(picture, question, pruner=method)
    record = {
        "answer": answer.text,
        **asdict(answer),
        "pruner": spec(method) if method else "none",
        "model": model,
    }
    del record["text"]
    _show(record, as_json, f"{answer.text}\n")
    if not as_json:
        _say(f"{answer.tokens_kept} of {answer.tokens_total} visual tokens read")


@app.command()
def probe(
    image: Path,
    leave_one_out: Annotated[bool, typer.Option(help="also what each token's absence changes")] = False,
    out: Annotated[Path | None, typer.Option(help="draw the words on the picture, into this PNG")] = None,
    question: Annotated[
        str | None, typer.Option(help="ask this instead of the paper's probe question")
    ] = None,
    model: Model = "demo",
    as_json: AsJson = False,
) -> None:
    """Show what every visual token says when the model sees it alone."""
    from wordsight.explain import drawing
    from wordsight.explain.table import token_rows
    from wordsight.pictures import load_picture
    from wordsight.probe import QUESTION

    picture, vlm = load_picture(image), _vlm(model)
    prompt = vlm.encode(picture, question or QUESTION)
    rows = token_rows(vlm, prompt, with_context=leave_one_out)
    said = [(row["words"][0][0], row["confidence"]) for row in rows]
    if out:
        large = drawing.enlarged(vlm, picture, prompt.visual)
        _save_picture(drawing.draw_words(large, drawing.boxes(vlm, large, prompt.visual), said), out)
    if as_json:
        _show({"image": str(image), "model": model, "tokens": rows}, True, "")
        return
    _print(drawing.terminal_grid(prompt.visual, said))
    for row in rows if leave_one_out else []:
        words = ", ".join(f"{word} {chance:.2f}" for word, chance in row["words"][:3])
        print(f"{row['cell']}  {words}  regional {row['regional']:.2e}  global {row['global']:.2e}")


@codebook_app.command()
def build(
    photos: Annotated[Path, typer.Argument(help="a folder of pictures")],
    out: Annotated[Path, typer.Option(help="the folder to write the book to")],
    evidence: Annotated[
        Path | None, typer.Option(help="where to keep the evidence; OUT.evidence by default")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="use only the first so many pictures", min=1)] = None,
    confidence: Annotated[str, typer.Option(help="threshold: a value, or q0.5 for a quantile")] = "q0.5",
    divergence: Annotated[str, typer.Option(help="threshold: a value, or q0.5 for a quantile")] = "q0.5",
    measure: Annotated[str, typer.Option(help="jensen_shannon or released_divergence")] = "jensen_shannon",
    largest: Annotated[
        int, typer.Option(help="drop an image's clusters of more tokens than this", min=1)
    ] = 12,
    images: Annotated[int, typer.Option(help="keep clusters found in more pictures than this", min=0)] = 16,
    model: Model = "demo",
    as_json: AsJson = False,
) -> None:
    """Examine every token of a folder of pictures, then build the codebook; a stopped run goes on."""
    from wordsight.codebook import Clustering, Codebook, Condition, check_place
    from wordsight.evidence import collect
    from wordsight.pictures import find_pictures

    condition = Condition(
        confidence=_threshold(confidence), divergence=_threshold(divergence), measure=measure
    )
    pictures = find_pictures(photos)[:limit]
    check_place(out)
    folder = evidence or Path(f"{out}.evidence")
    found = collect(_vlm(model), pictures, folder)
    for name, reason in found.set_aside(folder).items():
        _say(f"set aside {name}: {reason}")
    book = Codebook.build(found, condition, Clustering(largest=largest, images=images))
    book.save_pretrained(out)
    _show(_described(book), as_json, f"{len(book.prototypes)} prototypes in {out}\n")


@codebook_app.command("import")
def import_book(
    file: Annotated[Path, typer.Argument(help="a .pt file the paper's authors released")],
    out: Annotated[Path, typer.Option(help="the folder to write the book to")],
    model: Annotated[str, typer.Option(help="the model the book is for")],
    as_json: AsJson = False,
) -> None:
    """Convert a codebook that the paper's authors released."""
    from wordsight.codebook import import_released

    book = import_released(file, model)
    book.save_pretrained(out)
    _show(_described(book), as_json, f"{len(book.prototypes)} prototypes in {out}\n")


@codebook_app.command()
def info(book: Annotated[str, typer.Argument(help="a folder, or demo")], as_json: AsJson = False) -> None:
    """Say what a codebook was built from, for which model, under which condition."""
    from wordsight.codebook import Codebook

    described = _described(Codebook.from_pretrained(book))
    _show(described, as_json, json.dumps(described, indent=1) + "\n")


@app.command()
def compare(
    task: Annotated[list[str], typer.Option(help="a task, as easy_vqa or scenes:pictures=50")],
    pruner: Annotated[list[str], typer.Option(help=SPEC)],
    keep: Annotated[list[str], typer.Option(help=SHARE)],
    limit: Annotated[
        int | None, typer.Option(help="ask only the first so many questions of a task", min=1)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="write rows and environment into this JSON file")] = None,
    model: Model = "demo",
    as_json: AsJson = False,
) -> None:
    """Compare pruners on tasks in one run, with 95 % intervals, blind scores and token counts."""
    from wordsight import tasks
    from wordsight.atomic import check_file
    from wordsight.evaluate import compare as run
    from wordsight.report import terminal_table

    methods = [method for spec in pruner for share in keep if (method := _pruner(spec, share))]
    chosen = [tasks.make(spec) for spec in task]
    if out:
        check_file(out)
    results = run(_vlm(model), chosen, methods, limit=limit)
    results.environment["command"] = f"wordsight {' '.join(sys.argv[1:])}"
    if out:
        results.save(out)
    if as_json:
        _show({"rows": results.rows, "environment": results.environment}, True, "")
    else:
        _print(terminal_table(results.rows))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="where to write the pictures and results")] = Path("demo-output"),
    as_json: AsJson = False,
) -> None:
    """Show the main job on the embedded model: ask, probe, prune, compare."""
    from wordsight.demo.tour import tour

    _quiet()
    shown = tour(out, say=_say)
    if as_json:
        _show(shown.record, True, "")
    else:
        _print(*shown.renderables)


def _vlm(name: str) -> Any:
    from wordsight.vlm import VLM

    _quiet()
    return VLM.from_pretrained(name)


def _quiet() -> None:
    """Keep transformers' notices and progress bars off stderr."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _pruner(spec: str, keep: str | None) -> Pruner | None:
    from wordsight import pruners

    share = None if keep is None else _share(keep)
    if spec == "none":
        return None
    method = pruners.make(spec)
    return method if share is None else replace(method, keep=share)


def _share(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) <= 1:
            return float(text)
    raise UsageError(f"keep must be a share of the tokens in (0, 1], as 0.2; got {text!r}")


def _threshold(text: str) -> float | Quantile:
    from wordsight.codebook import Quantile

    try:
        value = float(text.removeprefix("q"))
    except ValueError as error:
        raise UsageError(f"expected a threshold as 0.15, or a quantile as q0.5; got {text!r}") from error
    if text.startswith("q") and not 0 < value <= 1:
        raise UsageError(f"a quantile must be in (0, 1], got {text!r}")
    return Quantile(value) if text.startswith("q") else value


def _described(book: Any) -> dict[str, Any]:
    return {"prototypes": len(book.prototypes), "width": book.prototypes.shape[-1], **book.config}


def _save_picture(picture: Any, path: Path) -> None:
    from wordsight.atomic import replacing

    with replacing(path) as draft:
        picture.save(draft, format="PNG")
    _say(f"drawn in {path}")


def _show(record: dict[str, Any], as_json: bool, text: str) -> None:
    sys.stdout.write(json.dumps(record, indent=1) + "\n" if as_json else text)


def _print(*renderables: Any) -> None:
    """Tables, as wide as they need where stdout is no terminal."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(*renderables, sep="\n")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def main() -> None:
    """Run the command line: 0 is done, 1 a failure, 2 a misuse, each told in one sentence on stderr."""
    try:
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except typer.TyperException as error:
        _say(f"error: {_one_line(error)}; see `wordsight --help`, or --help after a command for its options")
        sys.exit(2)
    except WordsightError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    if code == INTERRUPTED:
        _say("error: stopped; nothing half-written is left, and the same command goes on where a build was")
        sys.exit(1)


def _one_line(error: Exception) -> str:
    format_message = getattr(error, "format_message", lambda: str(error))
    return " ".join(format_message().split()).rstrip(".")
