"""questions: your own, in a file, as in `--task questions.jsonl`; also a .json, .csv, .tsv or .parquet.

    {"image": "street.jpg", "question": "what color is the car?", "answer": ["red", "dark red"]}

image     a path from the folder of the file, or the picture itself: base64, bytes; or a list of them
video     instead, a path or several, with `frames` (how many) or `fps` beside it, 8 frames by default
question  the text
answer    what is right, or a list of all that is
options   if wanted, the texts to choose from, as a list or by their letters, or in columns A, B, C ...: they
          are put below the question, and the answer is a letter or a text
hint      if wanted, a line above the question
scorer    if wanted, how answers are compared; docs/scoring.md says how it is chosen otherwise
type, id  if wanted: questions of a type are counted together; an id is for your own use

Files of others are read as they are: LLaVA's `question_id`, `text`, `category`, `label` and `conversations`,
VLMEvalKit's `index`, `image`, `image_path`, `A` to `Z`. Other fields are left alone.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import io
import math
import os
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from wordsight._utils.notes import listen_to_notes
from wordsight._utils.numbers import counted
from wordsight.errors import MediaError, UsageError, shown, unknown
from wordsight.media.formats import has_video_suffix
from wordsight.media.images import URL, local_path
from wordsight.media.inputs import MediaInput
from wordsight.media.video import Sampling, Video, kind_of
from wordsight.tasks.base import Example, Task
from wordsight.tasks.digest import file_digest
from wordsight.tasks.question_files import Fields, Problems, Row, number_text, read_rows
from wordsight.tasks.scoring import Scorer, chosen, scorer_for, words

NAMES = {  # of fields, by what they hold; the first that is there counts
    "image": ("image", "images", "image_path"),
    "video": ("video", "videos"),
    "question": ("question", "text"),
    "answer": ("answer", "answers", "label"),
    "options": ("options", "choices"),
    "type": ("type", "category"),
    **{name: (name,) for name in ("conversations", "fps", "frames", "hint", "id", "scorer")},
}
KNOWN = {*(each for names in NAMES.values() for each in names), "index", "l2-category", "question_id"}
CHOOSE = "Answer with the option's letter from the given choices directly."
SEED = "wordsight"  # of the split
LONGEST_PATH = 4096
LONGEST_INDEX = 64  # what is longer is a picture itself
PLACEHOLDER = re.compile(r"<(?:image|video)>")


@dataclass(kw_only=True)
class Questions(Task):
    """path: the file. About half of its pictures are the validation split, the others the test split; without
    a split it is all of them. scorer: of questions that name none.

    A hash of its path decides for each picture, so that it stays where it is when lines are added; pictures
    that share a question go together. All rows are checked when the task is made, and whether their files
    are there; `first` opens the pictures that are asked about, before the model sees any of them.
    """

    max_new_tokens: ClassVar[int] = 32
    split: Literal["all", "validation", "test"] = "all"  # type: ignore[assignment]  # one more than others have
    path: str
    scorer: Scorer | None = None
    _lines: list[_Line] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        lines = _read(Path(self.path), self.scorer)
        splits = _splits(lines)
        self._lines = [line for line in lines if self.split in ("all", splits[line.media[0].name])]
        if not self._lines:
            raise UsageError(
                f"{self.path}: its {self.split} split is empty; a hash of their paths splits pictures in "
                f"half, and {counted(len(splits), 'picture')} fell into the other one: ten or more are enough"
            )

    @property
    def files(self) -> tuple[str, ...]:
        return (self.path,)

    def examples(self) -> Iterator[Example]:
        together: dict[str, list[Example]] = {}
        for line in self._lines:
            together.setdefault(line.example.picture_id, []).append(line.example)
        for examples in together.values():
            yield from examples

    def first(self, limit: int | None, pictures: int | None = None) -> list[Example]:
        """Those of every task, whose pictures are opened: all that are damaged are told at once."""
        examples = super().first(limit, pictures)
        problems, opened = Problems(self.path), set[str]()
        for example in examples:
            if example.picture_id not in opened:
                opened.add(example.picture_id)
                with problems.at(example.source.removeprefix(f"{self.path}, ")):
                    _check_decodes(example.images)
        problems.check()
        return examples


@dataclass(frozen=True)
class _File:
    """A picture or video on disk; `name` is how the questions have it, and tells it from others."""

    name: str
    path: str


@dataclass(frozen=True)
class _Embedded:
    """A picture that is in the file of questions itself."""

    content: bytes = field(repr=False)

    @cached_property
    def name(self) -> str:
        return f"picture {sha256(self.content).hexdigest()[:16]}"


_Medium = _File | _Embedded


@dataclass(frozen=True)
class _Line:
    """A question, and what it is about."""

    media: tuple[_Medium, ...]
    example: Example


@dataclass(frozen=True)
class _Films(Sequence[Video]):
    """Videos, decoded when they are looked at."""

    media: tuple[_File, ...]
    sampling: Sampling

    @property
    def digest(self) -> str:
        rate = f"{self.sampling.frames} {self.sampling.fps}"
        return " ".join([*(file_digest(medium.path) for medium in self.media), rate])

    def __len__(self) -> int:
        return len(self.media)

    def __getitem__(self, index: Any) -> Any:
        picked = self.media[index]
        return [self._film(each) for each in picked] if isinstance(index, slice) else self._film(picked)

    def _film(self, medium: _File) -> Video:
        return _decoded(medium.path, self.sampling)


@lru_cache(maxsize=1)  # questions about one video come together
def _decoded(path: str, sampling: Sampling) -> Video:
    return Video.open(path, frames=sampling.frames, fps=sampling.fps)


def _check_decodes(images: Any) -> None:
    with listen_to_notes(lambda _: None):  # they are told when the model is given the pictures
        MediaInput.of(images)


def _read(path: Path, scorer: Scorer | None) -> list[_Line]:
    problems = Problems(path)
    rows = _with_shared_pictures(read_rows(path, problems))
    lines: list[_Line] = []
    for row in rows:
        with problems.at(row.place):
            lines += _questions_of(row, path, scorer)
    problems.found.sort(key=lambda found: int(found[0].rpartition(" ")[2]))
    problems.check()
    return lines


def _with_shared_pictures(rows: list[Row]) -> list[Row]:
    """VLMEvalKit writes a picture once: other rows have the index of that row in its place."""
    pictures = {str(row.fields["index"]): row.fields.get("image") for row in rows if "index" in row.fields}

    def shared(row: Row) -> Row:
        named = row.fields.get("image")
        picture = pictures.get(named) if isinstance(named, str) else None
        is_picture = isinstance(picture, str) and len(picture) > LONGEST_INDEX
        return Row(row.place, row.fields | {"image": picture}) if is_picture else row

    return [shared(row) for row in rows]


def _questions_of(row: Row, path: Path, scorer: Scorer | None) -> Iterator[_Line]:
    """The questions of a row of a file: one, or as many as a conversation has."""
    fields = _fields(row.fields)
    media = _media(fields, path if path.is_dir() else path.parent)
    options = _options(fields, row.fields)
    turns: list[tuple[str, str]] = []
    for question, answer in _asked(fields):
        answers = _accepted(answer, options)
        text = _without_placeholders(question, len(media), is_first=not turns)
        example = Example(
            images=_images(media, fields),
            picture_id=", ".join(medium.name for medium in media) + _rate_text(fields),
            question=_prompt(text, options, fields.get("hint")),
            answer=answers[0],
            others=tuple(answers[1:]),
            type=_answer_text(fields.get("type", "question"), "type"),
            source=f"{path}, {row.place}",
            scorer=_scorer(fields, answers, options) or scorer or scorer_for(answers, options),
            options=tuple(options.items()),
            turns=tuple(turns),
        )
        yield _Line(media, example)
        turns.append((example.question, example.answer))


def _fields(given: Fields) -> Fields:
    """The fields that are understood, by our names for them."""
    if misspelled := [name for name in given if _is_misspelled(name)]:
        raise unknown("field", misspelled[0], NAMES)
    given = {name: value for name, value in given.items() if value is not None}
    found = {ours: given[name] for ours, names in NAMES.items() for name in reversed(names) if name in given}
    needed = ("conversations",) if "conversations" in found else ("question", "answer")
    if missing := [name for name in needed if name not in found]:
        names = NAMES[missing[0]]
        others = f"; so {'are' if len(names) > 2 else 'is'} {' and '.join(map(repr, names[1:]))}"
        raise UsageError(f"field {missing[0]!r} is missing{others if len(names) > 1 else ''}")
    if ("image" in found) == ("video" in found):
        raise UsageError("expected field 'image' or field 'video', one of the two")
    return found


@lru_cache(maxsize=1000)  # rows have the same fields
def _is_misspelled(name: str) -> bool:
    return name not in KNOWN and bool(difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.8))


def _media(fields: Fields, folder: Path) -> tuple[_Medium, ...]:
    kind = "image" if "image" in fields else "video"
    given = fields[kind] if isinstance(fields[kind], list) else [fields[kind]]
    if not given:
        raise UsageError(f"field {kind!r} is an empty list")
    return tuple(_picture(item, folder) if kind == "image" else _film(item, folder) for item in given)


def _picture(given: Any, folder: Path) -> _Medium:
    if isinstance(given, Mapping):  # as `datasets` has it
        given = given.get("bytes") or given.get("path")
    if isinstance(given, bytes):
        return _Embedded(given)
    text = _text({"image": given}, "image")
    if content := _decoded_base64(text):
        return _Embedded(content)
    file = _file(text, folder, "picture")
    if has_video_suffix(file.path):
        raise UsageError(f"{text} is a video; name it in field 'video'")
    return file


def _film(given: Any, folder: Path) -> _File:
    return _file(_text({"video": given}, "video"), folder, "video")


def _decoded_base64(text: str) -> bytes | None:
    """The picture that a text is, None if it is a path."""
    is_url = text.startswith("data:")
    if len(text) <= LONGEST_INDEX and not is_url:
        return None
    try:
        content = base64.b64decode(
            "".join(text.partition(",")[2].split() if is_url else text.split()), validate=True
        )
    except (binascii.Error, ValueError) as error:
        if is_url or len(text) > LONGEST_PATH:
            raise MediaError(f"field 'image' is neither a path nor base64 ({error})") from error
        return None
    is_picture = is_url or len(text) > LONGEST_PATH or kind_of(io.BytesIO(content), "field 'image'") != "film"
    return content if is_picture else None


def _file(text: str, folder: Path, kind: str) -> _File:
    name = Path(os.path.normpath(text)).as_posix()
    path = local_path(text if URL.match(text) else folder / name, kind)
    if not path.is_file():
        raise MediaError(f"{path} is a pipe or device; save the {kind}, and give its path")
    return _File(name, str(path))


def _images(media: tuple[_Medium, ...], fields: Fields) -> Any:
    """As an Example has them: paths and the bytes of pictures, or films that are opened one by one."""
    sampling = _sampling(fields)
    if "video" in fields:
        return _Films(tuple(medium for medium in media if isinstance(medium, _File)), sampling)
    pictures = [medium.path if isinstance(medium, _File) else medium.content for medium in media]
    return pictures if len(pictures) > 1 else pictures[0]


def _sampling(fields: Fields) -> Sampling:
    """Which frames of a video."""
    sampling = Sampling(frames=_number(fields.get("frames")), fps=_number(fields.get("fps")))
    if sampling != Sampling() and "video" not in fields:
        raise UsageError("fields 'frames' and 'fps' are for videos")
    return sampling


def _number(given: Any) -> Any:
    """A number that a cell of a table has as text."""
    for kind in (int, float):
        try:
            return kind(given) if isinstance(given, str) else given
        except ValueError:
            continue
    return given


def _rate_text(fields: Fields) -> str:
    return "".join(f" {key}={fields[key]}" for key in ("frames", "fps") if key in fields)


def _options(fields: Fields, given: Fields) -> dict[str, str]:
    """The texts to choose from, by their letters."""
    options = fields.get("options")
    if options is None:
        columns = {letter: given[letter] for letter in string.ascii_uppercase if letter in given}
        options = columns if "A" in columns else {}
    if isinstance(options, list):
        options = dict(zip(string.ascii_uppercase, options, strict=False)) if len(options) <= 26 else None
    if not isinstance(options, Mapping) or not all(re.fullmatch("[A-Z]", str(key)) for key in options):
        raise UsageError("field 'options' must be a list of up to 26 texts, or texts by the letters A to Z")
    texts = {letter: _answer_text(text, "options") for letter, text in options.items() if text is not None}
    if len(texts) == 1 or (not texts and "options" in fields):
        raise UsageError(f"expected at least two options; got {len(texts)}")
    return texts


def _asked(fields: Fields) -> Iterator[tuple[str, Any]]:
    """Questions and their answers, in turn."""
    if "conversations" not in fields:
        yield _text(fields, "question"), fields["answer"]
        return
    turns = fields["conversations"]
    if not isinstance(turns, list) or not turns or len(turns) % 2:
        raise UsageError("field 'conversations' must be a list of turns of human and gpt")
    for i, turn in enumerate(turns):
        speakers = (("human", "user"), ("gpt", "assistant"))[i % 2]
        if not isinstance(turn, dict) or turn.get("from") not in speakers or "value" not in turn:
            raise UsageError(
                f"turn {i + 1} of field 'conversations' must be {{'from': {speakers[0]!r}, 'value': '...'}}"
            )
    for human, gpt in zip(turns[::2], turns[1::2], strict=True):
        yield _text(human, "value"), gpt["value"]


def _without_placeholders(question: str, count: int, *, is_first: bool) -> str:
    """The question without the `<image>` of each picture before or behind it: where pictures go is the
    model's affair.
    """
    placeholders = PLACEHOLDER.findall(question)
    if not placeholders:
        return question
    text = re.sub(r"^(?:\s*<(?:image|video)>)+\s*|\s*(?:<(?:image|video)>\s*)+$", "", question)
    if PLACEHOLDER.search(text):
        raise UsageError(
            f"{placeholders[0]} stands inside of the question; pictures come before it: say `the first "
            "picture` or the like in its place"
        )
    if len(placeholders) != count or not is_first:
        raise UsageError(f"the question has {len(placeholders)} times {placeholders[0]} for {count} given")
    if not text:
        raise UsageError("the question has no text")
    return text


def _prompt(question: str, options: Mapping[str, str], hint: Any) -> str:
    """The question with its hint and options, where it does not list them itself."""
    lines = [] if hint is None else [_text({"hint": hint}, "hint")]
    lines.append(question)
    listed = (rf"(?<!\w){letter}[.):]\s*{re.escape(text)}" for letter, text in options.items())
    if options and not all(re.search(each, question) for each in listed):
        lines += [*(f"{letter}. {text}" for letter, text in options.items()), CHOOSE]
    return "\n".join(lines)


def _accepted(given: Any, options: Mapping[str, str]) -> list[str]:
    """All right answers; letters, where there are options."""
    listed = given if isinstance(given, list) else [given]
    if not listed:
        raise UsageError("field 'answer' is an empty list")
    answers = list(dict.fromkeys(_answer_text(each, "answer") for each in listed))
    if options and any(isinstance(each, int) for each in listed):  # an index, or a text?
        raise UsageError(f"answer {shown(given)} is a number; expected an option's letter or text, in quotes")
    if silent := [answer for answer in answers if not words(answer)]:
        raise UsageError(f"an answer needs a letter or a digit to be compared by; got {shown(silent[0])}")
    return [_letter(answer, options) for answer in answers] if options else answers


def _letter(answer: str, options: Mapping[str, str]) -> str:
    """The option that an answer is. Raises UsageError if it is none, or one by letter and another by text."""
    by_letter = answer.strip() if answer.strip() in options else None
    letter = chosen(answer, options)
    if letter is None or (by_letter and by_letter != letter):
        raise UsageError(
            f"answer {shown(answer)} is none of the options: expected one of {', '.join(options)}, or a "
            "text that only one of them has"
        )
    return letter


def _scorer(fields: Fields, answers: Sequence[str], options: Mapping[str, str]) -> Scorer | None:
    """The scorer that the row names."""
    name = fields.get("scorer")
    if name is None:
        return None
    if name not in get_args(Scorer):
        raise unknown("scorer", str(name), get_args(Scorer))
    if (name == "choice") != bool(options):
        raise UsageError(
            f"scorer {shown(name)} is for questions {'with' if name == 'choice' else 'without'} options"
        )
    found: Scorer = name
    return found


def _text(fields: Fields, key: str) -> str:
    if not isinstance(fields[key], str) or not fields[key].strip():
        raise UsageError(f"field {key!r} must be text, in quotes; got {shown(fields[key])}")
    return str(fields[key])


def _answer_text(given: Any, key: str) -> str:
    """A text, or a number as one writes it."""
    if isinstance(given, (int, float)) and not isinstance(given, bool) and math.isfinite(given):
        return number_text(given)
    return _text({key: given}, key)


def _splits(lines: list[_Line]) -> dict[str, str]:
    """The split of every picture; those of one line are in the same, and so are those of lines that share
    one.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    for line in lines:
        for medium in line.media:
            first, second = sorted((root(line.media[0].name), root(medium.name)))
            parent[second] = first
    odd = {name: sha256(f"{SEED} {root(name)}".encode()).digest()[0] % 2 for name in parent}
    return {name: "test" if is_odd else "validation" for name, is_odd in odd.items()}
