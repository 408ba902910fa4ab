"""Writes docs/records.md: every record that leaves the program, from its type. `python docs/records.py`."""

from __future__ import annotations

import inspect
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from typing_extensions import NotRequired, is_typeddict

from wordsight.analysis.compaction import Compaction
from wordsight.analysis.intermediate_states import Analysis
from wordsight.analysis.model_info import ModelInfo
from wordsight.analysis.prototypes import Inspection
from wordsight.cli.codebook import PushRecord
from wordsight.cli.serve import ServeRecord
from wordsight.cli.tour import DemoRecord
from wordsight.cli.view import ViewRecord
from wordsight.errors import FileError, MediaError, ModelError, UsageError, WordsightError
from wordsight.evaluation.calibration import CalibrationRecord
from wordsight.evaluation.recommendation import Recommendation
from wordsight.evaluation.result_cache import CachedResult, PartRecord
from wordsight.evaluation.results import ResultsRecord
from wordsight.explain.record import ExplainRecord
from wordsight.explain.token_table import ProbeRecord
from wordsight.integrations.lmms_eval.record import LmmsSample
from wordsight.models.domain import DomainRecord
from wordsight.pruners.choice import PrunerChoice
from wordsight.redundancy.codebook_config import CodebookFile, CodebookInfo
from wordsight.redundancy.collecting import EvidencePart
from wordsight.redundancy.evidence_files import EvidenceChecks, EvidenceManifest, EvidenceShard
from wordsight.redundancy.merging import MergeRecord
from wordsight.redundancy.scorer import ScorerFile
from wordsight.reports.answers import AnswersRecord
from wordsight.reports.asking import AskRecord
from wordsight.reports.catalog import CatalogRecord
from wordsight.viewer.early import PlacesRecord
from wordsight.viewer.server import ExamplesRecord, HealthRecord, JobRecord

PAGE = Path(__file__).with_name("records.md")
HEAD = """# Records

What every command prints with `--json`, and what is kept in files, field by field. This page is
generated from the types in the code (`python docs/records.py`). A record carries the number of its
`format`; one of an earlier format is still read, or refused in a sentence. A file that is read again also has
a `digest` of all else in it, and one of tensors is named in a record beside them or in their metadata: what
is damaged or edited is refused.

A command that fails prints `{{"error": {{"message": ..., "kind": ...}}}}` instead, with the same exit code.
After Ctrl-C it is 130.

{kinds}
"""
RECORDS: dict[str, Any] = {  # by what makes or holds them
    "wordsight ask": AskRecord,
    "wordsight probe": ProbeRecord,
    "wordsight explain": ExplainRecord,
    "wordsight view": ViewRecord,
    "wordsight serve": ServeRecord,
    "GET /jobs/ID": JobRecord,
    "GET /jobs/ID/places": PlacesRecord,
    "GET /health": HealthRecord,
    "GET /examples": ExamplesRecord,
    "wordsight compare": ResultsRecord,
    "wordsight compare --part": PartRecord,
    "wordsight answers": AnswersRecord,
    "OUT.cells/*.json": CachedResult,
    "token_counts.wordsight in a log of lmms-eval": LmmsSample,
    "wordsight recommend": Recommendation,
    "wordsight recommend --export": PrunerChoice,
    "domain.json of a model": DomainRecord,
    "wordsight analyze": Analysis,
    "wordsight info": ModelInfo,
    "wordsight demo": DemoRecord,
    "wordsight pruners, tasks and codebook criteria": CatalogRecord,
    "wordsight codebook build, import and info": CodebookInfo,
    "wordsight codebook build --part": EvidencePart,
    "wordsight codebook push": PushRecord,
    "config.json of a codebook": CodebookFile,
    "config.json of a scorer": ScorerFile,
    "wordsight evidence merge": MergeRecord,
    "manifest.json of evidence": EvidenceManifest,
    "the record in a file of evidence": EvidenceShard,
    "checks.json of an experiment": EvidenceChecks,
    "wordsight codebook calibrate": CalibrationRecord,
    "wordsight codebook compact": Compaction,
    "wordsight codebook inspect": Inspection,
}


def page() -> str:
    """The page: a section for every record, and below them one for every part that records share."""
    parts: dict[str, Any] = {}
    sections = [_section(f"`{title}`", kind, parts) for title, kind in RECORDS.items()]
    done: dict[str, str] = {}
    while missing := [name for name in parts if name not in done]:
        for name in missing:
            done[name] = _section(name, parts[name], parts)
    return "\n".join(
        [
            HEAD.format(kinds=_kinds()),
            *sections,
            "## Parts\n",
            *(done[name].replace("## ", "### ", 1) for name in sorted(done)),
        ]
    )


def _kinds() -> str:
    rows = ["| `kind` | exit code | |", "|---|---|---|"]
    for error in (WordsightError, UsageError, MediaError, ModelError, FileError):
        about = " ".join((inspect.getdoc(error) or "").split("\n\n")[0].split())
        rows.append(f"| `{error.kind}` | {error.exit_code} | {about} |")
    return "\n".join(rows)


def _section(title: str, kind: Any, parts: dict[str, Any]) -> str:
    about = " ".join((inspect.getdoc(kind) or "").split())
    rows = []
    for name, hint in get_type_hints(kind, include_extras=True).items():
        hint, note = get_args(hint)[0] if get_origin(hint) is NotRequired else hint, ""
        if get_origin(hint) is Annotated:
            hint, *notes = get_args(hint)
            note = "; ".join(text for text in notes if isinstance(text, str))
        needed = "" if name in kind.__required_keys__ else " (may be missing)"
        rows.append(f"| `{name}` | {_type(hint, parts)}{needed} | {note} |")
    return "\n".join([f"## {title}\n", f"{about}\n", "| field | type | |", "|---|---|---|", *rows, ""])


def _type(hint: Any, parts: dict[str, Any]) -> str:
    """A type as a reader of JSON has it; a record in it becomes a part."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _type(arguments[0], parts)
    if is_typeddict(hint):
        parts[hint.__name__] = hint
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    if origin in (Union, types.UnionType):
        return " or ".join(_type(each, parts) for each in arguments)
    if origin is Literal:
        return " or ".join(f"`{each!r}`" for each in arguments)
    if origin is tuple:
        return f"list of {' and '.join(_type(each, parts) for each in arguments if each is not ...)}"
    if origin in (list,) or getattr(origin, "__name__", "") == "Sequence":
        return f"list of {_type(arguments[0], parts)}"
    if origin is dict or getattr(origin, "__name__", "") == "Mapping":
        return f"object: {_type(arguments[0], parts)} to {_type(arguments[1], parts)}"
    names = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        type(None): "null",
        Any: "any",
    }
    return names.get(hint, getattr(hint, "__name__", str(hint)))


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
