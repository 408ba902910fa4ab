"""Parsers: everything in wordsight that reads what others wrote, with good input for each to be damaged."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import av
import numpy as np
import torch
from PIL import Image
from starlette.requests import Request

from mutations import NUMBERS, mutate_bytes, mutate_json, mutate_text
from wordsight import VLM, Codebook, pruners, tasks
from wordsight.cli import main
from wordsight.evaluation.result_cache import ResultCache
from wordsight.evaluation.results import Results
from wordsight.media.inputs import MediaInput
from wordsight.redundancy.codebook import import_released
from wordsight.redundancy.collecting import collect_evidence
from wordsight.redundancy.evidence import Evidence
from wordsight.synthetic.scenes import render
from wordsight.viewer.uploads import open_uploads, receive_form

ROOT = Path(__file__).resolve().parents[1]
Files = dict[str, bytes]
TEXT = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".jinja")


@dataclass(frozen=True)
class Parser:
    """What reads a folder of files, and folders that are good.

    count   inputs in a full run.
    damage  the files that may be damaged; all, if none is named.
    exact   whether what is read from a damaged file must be what a good one holds, or nothing at all.
    """

    name: str
    count: int
    good: list[Files]
    read: Callable[[Path], Any]
    damage: tuple[str, ...] = ()
    exact: bool = False
    expected: set[str] = field(default_factory=set)

    def mutate(self, random: Random) -> Files:
        """A good folder in which one file is damaged."""
        files = dict(random.choice(self.good))
        name = random.choice([name for name in files if not self.damage or name in self.damage])
        return files | {name: _damaged(name, files[name], random)}

    def judge(self, read: Any) -> str:
        """What is wrong with what was read; nothing if it may be believed."""
        return "" if not self.exact or _digest(read) in self.expected else "reads something else, in silence"


def _damaged(name: str, data: bytes, random: Random) -> bytes:
    if Path(name).suffix not in TEXT or random.random() < 0.2:
        return mutate_bytes(data, random)
    text = data.decode()
    if name.endswith(".jsonl") and random.random() < 0.8:
        lines = text.splitlines()
        place = random.randrange(len(lines))
        lines[place] = mutate_json(json.loads(lines[place]), random)
        text = "\n".join(lines)
    elif name.endswith(".json") and random.random() < 0.8:
        text = mutate_json(json.loads(text), random)
    else:
        text = mutate_text(text, random)
    return text.encode("utf-8", "surrogatepass")


def make(folder: Path) -> list[Parser]:
    """All parsers; what is good is made in the folder."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    vlm = VLM.from_pretrained("demo")
    pictures = _pictures()
    made = [
        Parser("picture", 2500, [{f"x{end}": data} for end, data in pictures], _media),
        Parser("film", 600, _films(folder), _media),
        Parser("questions", 2200, _questions(pictures[0][1]), _examples, damage=_question_names()),
        Parser("codebook", 900, [_book(folder)], _codebook, exact=True),
        Parser("released codebook", 400, [_released(folder)], _released_book),
        Parser("evidence", 700, [_evidence(vlm, folder)], _evidence_rows, exact=True),
        Parser("cell", 700, [_cell(folder)], _cell_result, exact=True),
        Parser("results", 500, [_results()], _result_rows),
        Parser("pruner", 600, [{"spec.txt": text.encode()} for text in PRUNERS], _pruner),
        Parser("task", 200, [{"spec.txt": text.encode()} for text in TASKS], _task),
        Parser("command line", 500, [{"arguments.txt": text.encode()} for text in COMMANDS], _command),
        Parser("upload", 500, [{"body": _form(data)} for _, data in pictures[:2]], _upload),
        Parser("checkpoint", 300, _checkpoints(folder), _checkpoint),
    ]
    for parser in made:
        if parser.exact:
            for number, files in enumerate(parser.good):
                place = folder / f"{parser.name} {number}"
                write(files, place)
                parser.expected.add(_digest(parser.read(place)))
    return made


def write(files: Files, folder: Path) -> None:
    """The files in a new folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def files(folder: Path) -> Files:
    """The files in a folder, by their path in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _digest(read: Any) -> str:
    return sha256(repr(read).encode()).hexdigest()


def _media(folder: Path) -> Any:
    (path,) = folder.iterdir()
    return MediaInput.of(path)


def _pictures() -> list[tuple[str, bytes]]:
    """Small pictures in every format, by their suffix."""
    image = render(0).image.resize((24, 20))
    deep = Image.fromarray(np.arange(480, dtype=np.uint16).reshape(20, 24) * 100)
    exif = Image.Exif()
    exif[274] = 6
    frames = [image.rotate(angle) for angle in (90, 180)]
    kinds: list[tuple[str, Image.Image, dict[str, Any]]] = [
        (".png", image, {}),
        (".jpg", image, {"exif": exif}),
        (".png", image.convert("P"), {}),
        (".png", image.convert("RGBA"), {}),
        (".png", deep, {}),
        (".tiff", deep, {}),
        (".tiff", image, {"compression": "tiff_lzw"}),
        (".webp", image, {}),
        (".avif", image, {}),
        (".bmp", image, {}),
        (".jp2", image, {}),
        (".ppm", image, {}),
        (".gif", image, {"save_all": True, "append_images": frames}),
        (".webp", image, {"save_all": True, "append_images": frames}),
        (".png", image, {"save_all": True, "append_images": frames}),
    ]
    return [(suffix, _saved(picture, suffix, **options)) for suffix, picture, options in kinds]


def _saved(picture: Image.Image, suffix: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format=Image.registered_extensions()[suffix], **options)
    return file.getvalue()


def _films(folder: Path) -> list[Files]:
    made = []
    for suffix, codec in ((".mp4", "mpeg4"), (".mkv", "mpeg4"), (".avi", "mjpeg"), (".ts", "mpeg2video")):
        path = folder / f"film{suffix}"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height = 48, 32
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for shade in range(0, 250, 10):
                frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), shade, np.uint8))
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        made.append({path.name: path.read_bytes()})
    return made


ROWS = [
    {"image": "p.png", "question": "What is it?", "answer": "a cat"},
    {"image": "p.png", "question": "How many?", "answer": ["2", "two"], "id": 7},
    {"images": ["p.png", "p.png"], "question": "Which?", "answer": "B", "options": ["cat", "dog"]},
]
LLAVA = [
    {
        "id": "1",
        "image": "p.png",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat is it?"},
            {"from": "gpt", "value": "A cat."},
        ],
    }
]


def _question_names() -> tuple[str, ...]:
    return ("q.jsonl", "q.json", "q.csv", "q.tsv")


def _questions(picture: bytes) -> list[Files]:
    """The same questions in every format that is read."""
    table = [row | {"answer": "cat"} for row in ROWS[:1]] * 3
    texts = {"q.jsonl": "\n".join(map(json.dumps, ROWS)), "q.json": json.dumps(ROWS)}
    texts |= {"q.csv": _table(table, ","), "q.tsv": _table(table, "\t")}
    made = [{"p.png": picture, name: text.encode()} for name, text in texts.items()]
    return [*made, {"p.png": picture, "q.json": json.dumps(LLAVA).encode()}]


def _table(rows: list[dict[str, Any]], between: str) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0], delimiter=between)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _examples(folder: Path) -> Any:
    (path,) = (folder / name for name in _question_names() if (folder / name).is_file())
    task = tasks.make(str(path))
    return [task.score(example, "a cat") for example in task.examples()]


def _book(folder: Path) -> Files:
    Codebook.from_pretrained("demo").save_pretrained(folder / "book")
    return files(folder / "book")


def _codebook(folder: Path) -> Any:
    book = Codebook.from_pretrained(folder)
    return book.prototypes.tolist(), book.config


def _released(folder: Path) -> Files:
    torch.save(torch.randn(4, 8), folder / "released.pt")
    return {"released.pt": (folder / "released.pt").read_bytes()}


def _released_book(folder: Path) -> Any:
    return import_released(folder / "released.pt", "owner/name")


def _evidence(vlm: VLM, folder: Path) -> Files:
    (folder / "pictures").mkdir()
    for seed in range(2):
        render(seed).image.save(folder / "pictures" / f"{seed}.png")
    collect_evidence(vlm, sorted((folder / "pictures").iterdir()), folder / "evidence")
    return files(folder / "evidence")


def _evidence_rows(folder: Path) -> Any:
    evidence = Evidence.load(folder)
    columns = [evidence.embeds[:], evidence.image, evidence.words[:], *evidence.signals.values()]
    return [column.tolist() for column in columns], evidence.pictures, evidence.skipped


PLACE: Any = {"model": "demo", "task": "scenes", "pruner": "random", "keep": 0.2, "tokens": None}
MADE: Any = {
    "dtype": "d",
    "device": "cpu",
    "threads": 1,
    "attention": "sdpa",
    "pass_tokens": 1,
    "versions": {},
    "fingerprint": "f",
    "timing": None,
    "questions": "q",
    "count": 3,
    "seeds": 1,
    "max_new_tokens": 12,
    "codebook": None,
    "code": None,
}


def _measured() -> Any:
    return {"answers": [["a", "b", "c"]], "tokens_kept": 28.0, "drops_all": 0, "timing": None}


def _cell(folder: Path) -> Files:
    ResultCache(folder / "cells").get(PLACE, MADE, _measured)
    return files(folder / "cells")


def _cell_result(folder: Path) -> Any:
    return ResultCache(folder).get(PLACE, MADE, _measured)


def _results() -> Files:
    results = Results.load(ROOT / "benchmarks" / "results" / "pruners.json")
    few = replace(results, rows=results.rows[:3], answers=[])
    return {"results.json": json.dumps(few.as_json()).encode()}


def _result_rows(folder: Path) -> Any:
    return Results.load(folder / "results.json")


PRUNERS = [
    "codebook:codebook=demo,keep=0.2",
    "divprune:tokens=20",
    "random:seed=3,keep=0.5",
    "dart:keep=0.1",
    "wordsight.pruners.uniform:Uniform",
    "sparsevlm",
]
TASKS = ["scenes:split=validation", "clips", "easy_vqa", "missing.jsonl", "odd_one_out"]


def _text(folder: Path) -> str:
    return next(folder.iterdir()).read_bytes().decode("utf-8", "replace")


def _pruner(folder: Path) -> Any:
    return pruners.make(_text(folder))


def _task(folder: Path) -> Any:
    return tasks.make(_text(folder))


COMMANDS = [
    "compare\n--task\nmissing.jsonl\n--pruner\nrandom:seed=1\n--keep\n0.2\n--limit\n20\n--json",
    "recommend\n--task\nmissing.jsonl\n--keep\n0.5\n--tokens\n20\n--json",
    "codebook\nbuild\nmissing\n--out\nbook\n--confidence\nq0.5\n--largest\n12\n--json",
    "codebook\ncompact\nmissing\n--out\nbook\n--similarity\n0.9",
    "ask\nmissing.png\nwhat is it?\n--frames\n8\n--json",
    "probe\nmissing.png\n--out\nx.png",
    "explain\nmissing.png\n--out\nx.html\n--keep\n0.2",
    "codebook\ninfo\nmissing\n--json",
    f"ask\nmissing.png\n{NUMBERS[8]}\n--fps\n2.5",
]


def _command(folder: Path) -> Any:
    """Its exit status is 0, 1 or 2; a failure is a sentence, and a record where JSON was asked for."""
    arguments = _text(folder).split("\n")
    out, error = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["wordsight", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
        contextlib.chdir(folder),
    ):
        try:
            main()
            status: Any = 0
        except SystemExit as exit:
            status = exit.code or 0
    if status not in (0, 1, 2):
        raise AssertionError(f"the exit status is {status}")
    if status and "error: " not in error.getvalue():
        raise AssertionError("a failure without a sentence")
    if status and "--json" in arguments:
        json.loads(out.getvalue())


BOUNDARY = b"boundary"


def _form(picture: bytes) -> bytes:
    head = b'Content-Disposition: form-data; name="media"; filename="a.png"\r\nContent-Type: image/png'
    text = b'Content-Disposition: form-data; name="question"'
    parts = [head + b"\r\n\r\n" + picture, text + b"\r\n\r\nWhat is it?"]
    return b"".join(b"--" + BOUNDARY + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + BOUNDARY + b"--"


def _upload(folder: Path) -> Any:
    from starlette.exceptions import HTTPException

    body = next(folder.iterdir()).read_bytes()

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", b"multipart/form-data; boundary=" + BOUNDARY)]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": headers,
        "app": None,
    }
    try:
        files, question = asyncio.run(receive_form(Request(scope, receive), 2**20))
    except HTTPException as error:  # the server answers it as one of ours
        return error.status_code
    return open_uploads(files, question) if files else None


def _checkpoints(folder: Path) -> list[Files]:
    sys.path.insert(0, str(ROOT / "tests" / "families"))
    import checkpoints
    from transformers import AutoModelForImageTextToText

    made = []
    for family in ("llava", "paligemma", "idefics3"):
        config, processor = getattr(checkpoints, family)()
        torch.manual_seed(0)
        AutoModelForImageTextToText.from_config(config).save_pretrained(folder / family)
        processor.save_pretrained(folder / family)
        made.append(files(folder / family))
    return made


def _checkpoint(folder: Path) -> Any:
    return VLM.from_pretrained(str(folder)).fingerprint
