"""What the commands share: loading, saving, and what is shown where."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from inspect import signature
from pathlib import Path
from shutil import get_terminal_size, which
from textwrap import fill
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from wordsight._utils.records import json_text
from wordsight.errors import UsageError, WordsightError, shown
from wordsight.models.load_options import (
    NEW_TOKENS,
    Dtype,
    GenerationOptions,
    LoadOptions,
    Quantization,
    named_values,
)

if TYPE_CHECKING:
    from wordsight.integrations.ray import RayWorkers
    from wordsight.media.inputs import MediaInput
    from wordsight.pruners.base import Pruner

MODEL = "a Hugging Face folder or hub name, demo (the embedded model) or demo-photos (extra: photos)"
Model = Annotated[str, typer.Option(help=MODEL)]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
Show = Annotated[
    Literal["wrong", "all"] | None, typer.Option(help="list what was said, all of it or what is wrong")
]
EvidenceFolder = Annotated[
    Path | None, typer.Option(help="where to keep the evidence; OUT.evidence by default")
]
Pictures = Annotated[
    int | None, typer.Option("--pictures", "--limit", help="use only the first so many pictures", min=1)
]
Column = Annotated[
    str | None, typer.Option(help="the column of a table, or field of a .jsonl, that has the pictures")
]
Questions = Annotated[
    int | None,
    typer.Option(help="ask only so many questions of a task, about as many pictures as possible", min=1),
]
QuestionPictures = Annotated[
    int | None, typer.Option(help="ask only about the first so many pictures", min=1)
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="do the work on Ray: local starts it on this machine, auto is the cluster that this machine is "
        "in, or HOST:PORT (extra: ray)",
    ),
]
Actors = Annotated[int | None, typer.Option(help="models that Ray loads; as many as fit by default", min=1)]
GpusPerActor = Annotated[
    float | None, typer.Option(help="0.5 where two share one; by default 1, if there is any", min=0)
]
Frames = Annotated[int | None, typer.Option(help="of a video, evenly spread; 8 by default", min=1)]
Fps = Annotated[float | None, typer.Option(help="or so many frames a second")]
PANEL = "How the model is loaded"
Kind = TypeVar("Kind", bound=Mapping[str, Any])  # of a record
SOURCE = (
    "a folder of pictures, a list (.txt, .jsonl), .parquet or .tar files, a saved data set, or one of these "
    "at an address such as s3:// or hf://"
)
SHARE = "share of the visual tokens to keep, in (0, 1]"
TOKENS = "or a number of tokens to keep"
SPEC = (
    "name or name:option=value,option=value, or module:Class of your own; name@published is as its authors "
    "have it; choice.json is what recommend --export wrote; none prunes nothing"
)


def places(source: str) -> list[Path]:
    """The path of a source, if it is on this machine: what nothing may be written into."""
    from wordsight.media.addresses import is_remote
    from wordsight.media.images import without_scheme

    return [] if is_remote(source) else [Path(without_scheme(source))]


def as_part(text: str) -> tuple[int, int]:
    """The number of a part, the first being 0, and of how many, as in "0/4". Raises UsageError."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not int(found[1]) < int(found[2]):
        raise UsageError(f"--part {text}: expected its number and how many there are, from 0/4 to 3/4")
    return int(found[1]), int(found[2])


def refuse_part_on_ray(part: str | None, ray: object) -> None:
    """Raises UsageError if both share the work."""
    if part and ray:
        raise UsageError("--part is for processes that share the work without Ray; leave it or --ray out")


def ray_workers(
    address: str | None,
    actors: int | None,
    gpus: float | None,
    options: LoadOptions | None,
    model: str = "demo",
) -> RayWorkers | None:
    """What --ray asks for. Raises UsageError if there is only a part of it."""
    from wordsight.integrations.ray import RayWorkers

    if address is not None:
        return RayWorkers(model=model, options=options, address=address, actors=actors, gpus=gpus)
    if actors is not None or gpus is not None:
        raise UsageError("--actors and --num-gpus-per-actor are of --ray, which is missing")
    return None


def evidence_folder(evidence: Path | None, out: Path, source: str) -> Path:
    """The folder that --evidence names, else the one beside --out. Raises FileError if nothing can be written
    into it, or it is not apart from the pictures.
    """
    from wordsight._utils.files import check_file

    folder = evidence or Path(f"{out}.evidence")
    check_file(folder / "manifest.json", apart=places(source))
    return folder


def say_replaced(out: Path) -> None:
    """A line on stderr, before the work, if something older is to be replaced. Raises UsageError if it would
    go to stdout together with the record that --json prints.
    """
    from wordsight._utils.files import is_stdout, is_stream

    if "--json" in sys.argv and is_stdout(out):
        raise UsageError(f"{out} is stdout, where --json prints its record; name a file, or leave --json out")
    if os.path.exists(out) and not is_stream(out):
        say(f"{out} is there already; it is replaced once this is finished")


def takes_load_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of `load_options` in the place of its parameter `load`, which is what they
    say together.
    """
    own, shared = (signature(function, eval_str=True) for function in (command, load_options))

    @wraps(command)
    def parsed(**given: Any) -> None:
        load = load_options(**{name: given.pop(name) for name in shared.parameters})
        command(**given, load=load)

    parameters = [
        each
        for parameter in own.parameters.values()
        for each in (shared.parameters.values() if parameter.name == "load" else [parameter])
    ]
    vars(parsed)["__signature__"] = own.replace(parameters=parameters)
    return parsed


def load_options(
    device: Annotated[
        str,
        typer.Option(help="cpu, mps, cuda or cuda:1; auto is a GPU if there is one", rich_help_panel=PANEL),
    ] = "auto",
    device_map: Annotated[
        str | None, typer.Option(help="over several devices instead, as auto", rich_help_panel=PANEL)
    ] = None,
    dtype: Annotated[
        Dtype, typer.Option(help="of the weights; auto is the checkpoint's", rich_help_panel=PANEL)
    ] = "auto",
    quantization: Annotated[
        Quantization | None, typer.Option(help="of the language model", rich_help_panel=PANEL)
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option(
            help="as eager, sdpa or flash_attention_2; transformers chooses by default", rich_help_panel=PANEL
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(help="a branch, tag or commit on the hub; main by default", rich_help_panel=PANEL),
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(help="a folder or hub name of peft, as of a LoRA", rich_help_panel=PANEL)
    ] = None,
    cache_dir: Annotated[
        str | None,
        typer.Option(help="where files of the hub are kept; HF_HUB_CACHE by default", rich_help_panel=PANEL),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="of a pass beside the model, as 4GB; at most 4GiB by default", rich_help_panel=PANEL
        ),
    ] = None,
    processor: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE, as max_pixels=501760; the checkpoint's by default", rich_help_panel=PANEL
        ),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE for the chat template, as enable_thinking=true; false by default",
            rich_help_panel=PANEL,
        ),
    ] = None,
    generation: Annotated[
        list[str] | None,
        typer.Option(
            help=f"NAME=VALUE, as max_new_tokens=200 or temperature=0.7; {NEW_TOKENS} and 0 by default",
            rich_help_panel=PANEL,
        ),
    ] = None,
) -> LoadOptions:
    """What the command line says of how a model is loaded. A token is given as HF_TOKEN: what is in a command
    is seen by others, and goes into results.
    """
    return LoadOptions(
        device=device,
        device_map=device_map,
        dtype=dtype,
        quantization=quantization,
        attention=attention,
        revision=revision,
        adapter=adapter,
        cache_dir=cache_dir,
        memory=memory,
        processor=named_values("--processor", processor or ()),
        template=named_values("--template", template or ()),
        generation=GenerationOptions.parse(generation or ()),
    )


def load_vlm(name: str, options: LoadOptions | None = None) -> Any:
    """The model, with transformers quiet; what takes long shows bars on a terminal."""
    from wordsight.models.vlm import VLM

    quiet(bars=name != "demo")
    return VLM.from_pretrained(name, options)


def quiet(*, bars: bool = False) -> None:
    """Keep transformers' notices off stderr, and its progress bars if they are not asked for, or nobody can
    see them.
    """
    import logging as standard

    from transformers.utils import logging

    logging.set_verbosity_error()
    standard.getLogger("bitsandbytes").setLevel(standard.ERROR)
    if not bars or sys.stderr is None or not sys.stderr.isatty():
        logging.disable_progress_bar()


def make_pruner(spec: str, **budget: Any) -> Pruner | None:
    """The pruner of a SPEC with this budget, `keep` or `tokens`, if one is given; None for "none"."""
    from wordsight import pruners
    from wordsight.pruners.choice import spec_of

    if spec == "none":
        return None
    method = pruners.make(spec)
    for name, value in budget.items():
        note_unused_budget(spec_of(spec), f"--{name} {value} holds")
        if method.own_count:
            say(f"note: --{name} {value} is not used: {spec} keeps {method.own_count}")
    return method.with_budget(**budget) if budget else method


def note_unused_budget(spec: str, instead: str) -> None:
    """Say that what a SPEC says of how much is kept is not what holds."""
    if stated := re.search(r"[:,]((?:keep|tokens)=[^,]*)", spec):
        say(f"note: {stated[1]} of {spec!r} is not used: {instead}")


def budgets(keep: list[str] | None, tokens: list[int] | None) -> list[dict[str, Any]]:
    """What --keep and --tokens ask for, each as options of a pruner. Raises UsageError if one is no share."""
    return [{"keep": as_share(text)} for text in keep or ()] + [{"tokens": count} for count in tokens or ()]


def as_share(text: str) -> float:
    """The share of the tokens that a --keep asks for. Raises UsageError if it is none."""
    from wordsight._utils.options import parse_option
    from wordsight.pruners.base import Pruner

    return float(parse_option(Pruner, "keep", text))


def open_media(
    given: Sequence[str | Path], frames: int | None = None, fps: float | None = None
) -> MediaInput:
    """The pictures or videos at these paths; - is standard input. Raises UsageError if frames are asked of a
    picture.
    """
    from wordsight.media.inputs import MediaInput

    if [str(path) for path in given].count("-") > 1:
        raise UsageError("- is standard input, which can be read only once; give the path of the others")
    return MediaInput.of(
        [_standard_input() if str(path) == "-" else path for path in given], frames=frames, fps=fps
    )


def open_picture(path: str | Path) -> Any:
    """The picture at this path; - is standard input."""
    from wordsight.media.images import load_picture

    return load_picture(_standard_input() if str(path) == "-" else path)


def _standard_input() -> IO[bytes]:
    from wordsight.media.images import kept_bytes

    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(
            "- reads a picture or video from standard input, which is closed or a terminal here; pipe one "
            "into it, or give its path"
        )
    return kept_bytes(sys.stdin.buffer, "standard input")


def check_question(question: str) -> None:
    """Raises UsageError if this is no question but a file, since the question was forgotten, or empty."""
    from wordsight.models.questions import names_media

    if not question.strip():
        raise UsageError("the question is empty; ask something")
    if names_media(question) or os.path.exists(question):
        raise UsageError(
            f"the question is missing: {shown(question)} is a file, or the name of one; add what is asked, "
            "in quotes"
        )


def print_result(record: Kind, tables: Callable[[Kind], Iterable[Any]], *, as_json: bool) -> None:
    """The result on stdout: the record where --json asks for it, else its tables."""
    if as_json:
        print_json(record)
    else:
        print_tables(*tables(record))


def print_json(record: Mapping[str, Any]) -> None:
    """A record on stdout."""
    print_text(json_text(record) + "\n")


def print_text(text: str) -> None:
    """Text on stdout, which ends its last line itself."""
    with writing():
        sys.stdout.write(text)


def print_tables(*renderables: Any) -> None:
    """Tables on stdout, as wide as they need where it is no terminal; a narrow one wraps their lines."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 240
    with writing():
        console.print(*renderables, sep="\n", crop=False)


@contextmanager
def writing() -> Iterator[None]:
    """Whatever keeps the result from stdout is told now, not when Python ends. Raises WordsightError, and
    BrokenPipeError where nobody reads it any more.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer would fail again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise WordsightError(f"cannot write the result to stdout: {error.strerror}") from error


@contextmanager
def progress_bars() -> Iterator[None]:
    """While open, long work shows a bar for each of its named parts, if stderr is a terminal; only then does
    the hub's client too, which reads its variable when it is imported.

    Bars stop when their part is done: a live display would be drawn over the result that follows.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    from wordsight._utils.progress import Progress, report_progress

    live: list[Bars] = []

    def update(progress: Progress) -> None:
        if not progress.description:
            return
        if not live:
            live.append(Bars(console=Console(stderr=True)))
            live[0].start()
        tasks = {task.description: task.id for task in live[0].tasks}
        task = tasks.get(progress.description)
        if task is None:
            task = live[0].add_task(progress.description, total=1.0)
        live[0].update(task, completed=progress.done)
        if progress.done > 1 - 1e-9:
            live.pop().stop()

    try:
        with report_progress(update):
            yield
    finally:
        for bars in live:
            bars.stop()


def say_skipped(reasons: dict[str, str]) -> None:
    """A line on stderr for every picture that could not be read."""
    for name, reason in reasons.items():
        say(f"skipped {name}: {reason.removeprefix(f'{name} is ')}")


def say(text: str) -> None:
    """A line beside the result, on stderr, if anybody can read it there; for a terminal wrapped at words."""
    if sys.stderr is not None and sys.stderr.isatty():
        text = fill(text, get_terminal_size().columns, break_long_words=False, break_on_hyphens=False)
    say_unwrapped(text)


def say_unwrapped(text: str) -> None:
    """The same as it is, as a command that may be copied from there."""
    if sys.stderr is None:  # print would take stdout instead
        return
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def program() -> str:
    """How the command line of this environment is called from here: by its name where it is on the path."""
    script = Path(sys.executable).with_name("wordsight")
    if not script.exists():
        return f"{shlex.quote(sys.executable)} -m wordsight"
    found = which("wordsight")
    if found and Path(found) == script:
        return "wordsight"
    here = Path.cwd()
    return shlex.quote(str(script.relative_to(here) if script.is_relative_to(here) else script))
