"""Merging: evidence that was written into several folders, on several machines, becomes one folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from typing_extensions import TypedDict

from wordsight._utils.artifacts import differences
from wordsight._utils.files import replacing
from wordsight._utils.numbers import counted
from wordsight.errors import FileError
from wordsight.redundancy.evidence_files import (
    CHECKS,
    MANIFEST,
    MANIFESTS,
    EvidenceManifest,
    Shard,
    manifest_differences,
    read_checks,
    read_manifest,
    shards_of,
)
from wordsight.redundancy.experiments import TOKENS, experiments

FORMAT = 1
LAYOUT = ("shard_pictures", "clusters", "survivors", "measured_with")


class MergeRecord(TypedDict):
    """What `wordsight evidence merge` has put into one folder."""

    format: int
    pictures: int
    experiments: list[str]
    files: int


def merge_evidence(folders: Sequence[str | Path], out: str | Path) -> MergeRecord:
    """Put the files of these folders into one, which is then as if one process had written it; what is in
    that folder already counts as well.

    Raises FileError, before anything is written, if the folders are of different runs, a file is in none of
    them, or two of them have different ones of a name.
    """
    target = Path(out)
    roots = [Path(folder) for folder in folders] + ([target] if (target / MANIFEST).is_file() else [])
    manifests = [read_manifest(root) for root in roots]
    for root, manifest in zip(roots, manifests, strict=True):
        if different := _differences(manifests[0], manifest):
            raise FileError(
                f"{root} holds evidence of another run than {roots[0]} (what differs: {different}); expected "
                "parts of one run"
            )
    known = experiments(len(manifests[0]["questions"]))
    names = [name for name in known if name == TOKENS or any((root / name).is_dir() for root in roots)]
    shards = [shard for name in names for shard in shards_of(target, manifests[0], name)]
    _check_complete(shards, roots, parts=len(folders) + 1)
    found = [_found(shard, roots) for shard in shards]
    checks = _found_checks(roots, manifests)
    for path in [*(shard.path for shard in found), *checks]:
        place = target / path.parent.name / path.name
        if not (place.exists() and place.samefile(path)):
            with replacing(place) as draft:
                shutil.copyfile(path, draft)
    with replacing(target / MANIFEST) as draft:  # last: without it there is no evidence
        draft.write_text(MANIFESTS.text(manifests[0]), "utf-8")
    pictures = manifests[0]["pictures"]
    return {"format": FORMAT, "pictures": pictures, "experiments": names, "files": len(found)}


def _differences(one: EvidenceManifest, other: EvidenceManifest) -> str:
    layout = differences(one, {name: value for name, value in other.items() if name in LAYOUT})
    return "; ".join(filter(None, [manifest_differences(one, other), layout]))


def _found_checks(roots: Sequence[Path], manifests: Sequence[EvidenceManifest]) -> list[Path]:
    """The checks of every experiment that has some, in the last of the folders that have them. Raises
    FileError if one folder is of the approximate computation and another is not.
    """
    last = dict[str, Path]()
    approximate = dict[bool, Path]()
    for root, manifest in zip(roots, manifests, strict=True):
        checks = read_checks(root, manifest)
        last |= {name: root / name / CHECKS for name in checks}
        if "global" in checks:
            approximate[checks["global"]["approximate"]] = root
    if len(approximate) > 1:
        raise FileError(
            f"global is approximate in {approximate[True]} and exact in {approximate[False]}; expected parts "
            "of one run"
        )
    return [*last.values()]


def _check_complete(shards: Sequence[Shard], roots: Sequence[Path], *, parts: int) -> None:
    """Raises FileError if shards are in none of the folders; it names the part if they are one of so many."""
    missing = [shard for shard in shards if not _copies(shard, roots)]
    if not missing:
        return
    numbers = sorted({shard.number for shard in missing})
    part = [shard for shard in shards if shard.number % parts == numbers[0]]
    what = f"--part {numbers[0]}/{parts}" if missing == part else "a part, or the rest of one"
    raise FileError(
        f"{len(missing)} of {counted(len(shards), 'file')} are in none of {', '.join(map(str, roots))}, "
        f"{_name(missing[0])} first: is {what} missing? collect it first"
    )


def _copies(shard: Shard, roots: Sequence[Path]) -> list[Shard]:
    """The same shard in those of the folders that have it."""
    return [each for root in roots if (each := replace(shard, root=root)).path.is_file()]


def _name(shard: Shard) -> str:
    return f"{shard.experiment}/{shard.path.name}"


def _found(shard: Shard, roots: Sequence[Path]) -> Shard:
    """The same shard in the last of the folders that have it."""
    there = _copies(shard, roots)
    for each in there:
        if each.record != there[0].record:
            raise FileError(
                f"{_name(shard)} is another one in {each.root} than in {there[0].root}: delete one of them, "
                "or collect it again"
            )
    return there[-1]
