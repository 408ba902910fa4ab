"""Evidence: what every visual token of many pictures says and does, collected once and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor
from typing_extensions import TypedDict

from wordsight._utils.drafts import sweep
from wordsight._utils.files import replacing
from wordsight._utils.progress import subtask, subtasks, track
from wordsight._utils.records import checked, read_json, renamed
from wordsight.algorithms.divergence import MEASURES
from wordsight.errors import FileError, MediaError, UsageError
from wordsight.media.images import load_picture
from wordsight.media.inputs import Media, MediaInput
from wordsight.models.vlm import VLM
from wordsight.redundancy import ablation, probe
from wordsight.redundancy.criteria import TOKEN_SIGNALS

SHARD = 4  # pictures in a file: what a killed run has to do again
WORDS = 5  # words kept of every token
FORMAT = 2
MANIFEST = "manifest.json"
SIGNALS = (
    *TOKEN_SIGNALS,
    *(f"{scope}/{measure}" for scope in ("regional", "global") for measure in MEASURES),
)
T = TypeVar("T")


class EvidencePicture(TypedDict):
    """A picture whose tokens are examined."""

    name: str
    sha256: Annotated[str, "of the file"]


class EvidenceManifest(TypedDict):
    """What the evidence in a folder is of."""

    format: int
    model: str
    fingerprint: Annotated[str, "of the model's weights"]
    questions: Annotated[list[str], "that every token is asked"]
    pictures: list[EvidencePicture]


@dataclass(frozen=True)
class Evidence:
    """One row per visual token of all pictures.

    embeds (T, D); image (T,) index into `pictures`; cell (T, 4); words and word_probabilities (T, 5), the
    answers to the first question; signals (T,) each, see `measure_tokens`.
    """

    embeds: Tensor
    image: Tensor
    cell: Tensor
    words: Tensor
    word_probabilities: Tensor
    signals: dict[str, Tensor]
    pictures: tuple[str, ...]
    manifest: EvidenceManifest

    def __len__(self) -> int:
        return len(self.embeds)

    @classmethod
    def load(cls, folder: str | Path) -> Evidence:
        """The evidence in a folder. Raises FileError if there is none or a file of it is missing."""
        root = Path(folder)
        data = _read_manifest(root)
        if data.get("format") != FORMAT:
            raise FileError(
                f"evidence in {root} has format {data.get('format')}, expected {FORMAT}: "
                "collect it again in another folder"
            )
        manifest = checked(EvidenceManifest, data, root / MANIFEST)
        names = [_shard_name(i) for i in range(len(_shards(manifest["pictures"])))]
        if missing := [name for name in names if not (root / name).is_file()]:
            raise FileError(
                f"evidence in {root} is unfinished, {missing[0]} is missing: run the same command again"
            )
        shards = [_load_shard(root / name) for name in names]
        columns = {key: torch.cat([shard[key] for shard in shards]) for key in shards[0]}
        signals = {key: columns.pop(key) for key in SIGNALS}
        pictures = tuple(entry["name"] for entry in manifest["pictures"])
        return cls(**columns, signals=signals, pictures=pictures, manifest=manifest)

    def skipped(self, folder: str | Path) -> dict[str, str]:
        """The pictures that could not be read, with the reason."""
        reasons: dict[str, str] = {}
        for i in range(len(_shards(self.manifest["pictures"]))):
            with safe_open(Path(folder) / _shard_name(i), "pt") as shard:
                metadata = renamed(shard.metadata(), {"set_aside": "skipped"})
                reasons |= json.loads(metadata["skipped"])
        return reasons


def measure_tokens(
    vlm: VLM, media: Media | Sequence[Media] | MediaInput, questions: Sequence[str] = probe.QUESTIONS
) -> dict[str, Tensor]:
    """All experiments on every visual token of a prompt but its line breaks: the columns of Evidence, without
    `image`. For Evidence, a prompt is one picture.

    Signals, high where a token says or changes something: "confidence", "certainty" and "blind_divergence" of
    the probe with the first question; "questions" and "questions_divergence", the highest confidence and
    blind divergence over all questions; "regional/MEASURE" and "global/MEASURE", the divergences of leaving
    out.
    """
    whole = [vlm.encode(media, questions[0])]
    whole += [vlm.encode(media, question, visual=whole[0].visual) for question in questions[1:]]
    is_content = ~whole[0].visual.is_break
    content = whole[0].visual.take(is_content.nonzero()[:, 0])
    prompts = [replace(prompt, visual=content) for prompt in whole]
    with subtask(0, 3):
        probes = [probe.probe_tokens(vlm, prompt) for prompt in subtasks(prompts, len(prompts))]
    with subtask(1, 3):
        alone = ablation.ablate_regional(vlm, prompts[0])
    with subtask(2, 3):
        among = ablation.ablate_global(vlm, whole[0])
    first = probes[0]
    columns = {
        "embeds": content.embeds.float(),
        "cell": content.cell,
        "words": first.tokens[:, :WORDS].contiguous(),
        "word_probabilities": first.probabilities[:, :WORDS].contiguous(),
        "confidence": first.confidence,
        "certainty": first.certainty,
        "blind_divergence": first.blind_divergence,
        "questions": torch.stack([each.confidence for each in probes]).amax(0),
        "questions_divergence": torch.stack([each.blind_divergence for each in probes]).amax(0),
    }
    for name, measure in MEASURES.items():
        columns[f"regional/{name}"] = alone.divergence(measure).float()
        columns[f"global/{name}"] = among.divergence(measure)[is_content].float()
    return {name: column.cpu() for name, column in columns.items()}


def collect_evidence(
    vlm: VLM,
    pictures: Sequence[Path],
    folder: str | Path,
    *,
    questions: Sequence[str] = probe.QUESTIONS,
    map: Callable[..., Iterable[Any]] = map,
) -> Evidence:
    """Examine every token of the pictures, one file for every few of them, and load the result.

    A run that was stopped goes on where it was; a picture that cannot be read is skipped and named. `map`
    may be any parallel map (function, jobs): each job writes its own file.
    """
    root = Path(folder)
    manifest: EvidenceManifest = {
        "format": FORMAT,
        "model": vlm.name,
        "fingerprint": vlm.fingerprint,
        "questions": list(questions),
        "pictures": [{"name": path.name, "sha256": file_digest(path)} for path in pictures],
    }
    _claim(root, manifest)
    shards = _shards(list(pictures))
    jobs = [(i, shard) for i, shard in enumerate(shards) if not (root / _shard_name(i)).is_file()]
    work = map(partial(_write_shard, vlm, root, questions), jobs)
    for _ in track(work, "examining pictures", len(jobs)):
        pass
    return Evidence.load(root)


def _write_shard(vlm: VLM, root: Path, questions: Sequence[str], job: tuple[int, list[Path]]) -> None:
    number, pictures = job
    parts: list[dict[str, Tensor]] = []
    skipped: dict[str, str] = {}
    for offset, path in enumerate(pictures):
        try:
            picture = load_picture(path)
        except UsageError as error:
            skipped[str(path)] = str(error)
            continue
        columns = measure_tokens(vlm, picture, questions)
        image = torch.full((len(columns["embeds"]),), number * SHARD + offset)
        parts.append(columns | {"image": image})
    if not parts:
        parts = [_no_rows(vlm)]
    shard = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    with replacing(root / _shard_name(number)) as draft:
        draft.write_bytes(save(shard, {"skipped": json.dumps(skipped)}))


def _no_rows(vlm: VLM) -> dict[str, Tensor]:
    """The columns of a shard all of whose pictures were skipped."""
    width = len(vlm.pad_embedding)
    return {
        "embeds": torch.zeros(0, width),
        "cell": torch.zeros(0, 4, dtype=torch.long),
        "words": torch.zeros(0, WORDS, dtype=torch.long),
        "word_probabilities": torch.zeros(0, WORDS),
        "image": torch.zeros(0, dtype=torch.long),
        **{name: torch.zeros(0) for name in SIGNALS},
    }


def _load_shard(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise FileError(f"{path} is damaged ({error}); delete it and run the same command again") from error


def _shards(pictures: list[T]) -> list[list[T]]:
    return [pictures[start : start + SHARD] for start in range(0, len(pictures), SHARD)]


def _shard_name(number: int) -> str:
    return f"{number:06d}.safetensors"


def file_digest(path: Path) -> str:
    """What tells the content of a picture's file from that of others. Raises MediaError if it is gone."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise MediaError(f"cannot read {path}: {error.strerror}; has it been moved or renamed?") from error


def _claim(root: Path, manifest: EvidenceManifest) -> None:
    """Write the manifest, or check that the one that is there says the same."""
    sweep(root)
    if not (root / MANIFEST).is_file():
        with replacing(root / MANIFEST) as draft:
            draft.write_text(json.dumps(manifest, indent=1))
        return
    there = _read_manifest(root)
    if different := [key for key, value in manifest.items() if there.get(key) != value]:
        raise FileError(
            f"{root} holds evidence of another run (what differs: {', '.join(different)}); "
            "expected the same run to go on: choose another folder, or delete this one"
        )


def _read_manifest(root: Path) -> dict[str, Any]:
    """What the manifest holds, whatever its format."""
    try:
        data = read_json(root / MANIFEST, "the manifest of evidence")
    except FileError as error:
        raise FileError(f"no evidence in {root}: {error}") from error
    if not isinstance(data, dict):
        raise FileError(f"no evidence in {root}: {MANIFEST} is not one")
    return data
