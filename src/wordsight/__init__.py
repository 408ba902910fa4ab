"""Ask every visual token of a multimodal language model what it says, and drop the ones that say nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what `_MODULES` says again, for editors and type checkers: importing stays light
    from wordsight._utils.progress import Progress as Progress
    from wordsight._utils.progress import report_progress as report_progress
    from wordsight.analysis.intermediate_states import analyze as analyze
    from wordsight.analysis.model_info import describe_model as describe_model
    from wordsight.analysis.prototypes import inspect_codebook as inspect_codebook
    from wordsight.errors import UsageError as UsageError
    from wordsight.errors import WordsightError as WordsightError
    from wordsight.evaluation.calibration import Calibration as Calibration
    from wordsight.evaluation.calibration import CalibrationPlan as CalibrationPlan
    from wordsight.evaluation.calibration import calibrate as calibrate
    from wordsight.evaluation.comparison import Comparison as Comparison
    from wordsight.evaluation.comparison import Settings as Settings
    from wordsight.evaluation.comparison import compare as compare
    from wordsight.evaluation.latency import Timing as Timing
    from wordsight.evaluation.recommendation import Requirements as Requirements
    from wordsight.evaluation.recommendation import recommend as recommend
    from wordsight.evaluation.results import Results as Results
    from wordsight.explain.record import ExplainRequest as ExplainRequest
    from wordsight.explain.record import explain_tokens as explain_tokens
    from wordsight.integrations.ray import RayWorkers as RayWorkers
    from wordsight.integrations.ray import calibrate_on_ray as calibrate_on_ray
    from wordsight.integrations.ray import collect_evidence_on_ray as collect_evidence_on_ray
    from wordsight.integrations.ray import compare_on_ray as compare_on_ray
    from wordsight.media.images import picture_digest as picture_digest
    from wordsight.media.inputs import MediaInput as MediaInput
    from wordsight.media.sources import open_source as open_source
    from wordsight.media.video import Video as Video
    from wordsight.models.attach import Attached as Attached
    from wordsight.models.attach import attach as attach
    from wordsight.models.chat import Answer as Answer
    from wordsight.models.chat import Chat as Chat
    from wordsight.models.families.base import Family as Family
    from wordsight.models.load_options import GenerationOptions as GenerationOptions
    from wordsight.models.load_options import LoadOptions as LoadOptions
    from wordsight.models.prompt import Prompt as Prompt
    from wordsight.models.prompt import collate as collate
    from wordsight.models.tokens import VisualTokens as VisualTokens
    from wordsight.models.vlm import VLM as VLM
    from wordsight.pruners.base import MergePruner as MergePruner
    from wordsight.pruners.base import Pruner as Pruner
    from wordsight.pruners.base import ScorePruner as ScorePruner
    from wordsight.pruners.book import BookPruner as BookPruner
    from wordsight.pruners.cdpruner import CDPruner as CDPruner
    from wordsight.pruners.cenprune import CenPrune as CenPrune
    from wordsight.pruners.cls_similarity import ClsSimilarity as ClsSimilarity
    from wordsight.pruners.cls_topk import ClsTopK as ClsTopK
    from wordsight.pruners.codebook import CodebookPruner as CodebookPruner
    from wordsight.pruners.codebook_coverage import CodebookCoverage as CodebookCoverage
    from wordsight.pruners.codebook_dpp import CodebookDPP as CodebookDPP
    from wordsight.pruners.codebook_mmr import CodebookMMR as CodebookMMR
    from wordsight.pruners.codebook_scope import CodebookScope as CodebookScope
    from wordsight.pruners.dart import DART as DART
    from wordsight.pruners.divprune import DivPrune as DivPrune
    from wordsight.pruners.dycoke import DyCoke as DyCoke
    from wordsight.pruners.embedlens import EmbedLens as EmbedLens
    from wordsight.pruners.evs import EVS as EVS
    from wordsight.pruners.fastv import FastV as FastV
    from wordsight.pruners.fastvid import FastVID as FastVID
    from wordsight.pruners.flowcut import FlowCut as FlowCut
    from wordsight.pruners.hiprune import HiPrune as HiPrune
    from wordsight.pruners.hired import HiRED as HiRED
    from wordsight.pruners.holitom import HoliTom as HoliTom
    from wordsight.pruners.holov import HoloV as HoloV
    from wordsight.pruners.layerwise import LayerPruner as LayerPruner
    from wordsight.pruners.learned import Learned as Learned
    from wordsight.pruners.learned_mmr import LearnedMMR as LearnedMMR
    from wordsight.pruners.mmtok import MMTok as MMTok
    from wordsight.pruners.pool import Pool as Pool
    from wordsight.pruners.prumerge import PruMerge as PruMerge
    from wordsight.pruners.prunesid import PruneSID as PruneSID
    from wordsight.pruners.prunevid import PruneVid as PruneVid
    from wordsight.pruners.pyramiddrop import PyramidDrop as PyramidDrop
    from wordsight.pruners.random import Random as Random
    from wordsight.pruners.scissor import Scissor as Scissor
    from wordsight.pruners.scope import Scope as Scope
    from wordsight.pruners.scores import Scores as Scores
    from wordsight.pruners.sparsevlm import SparseVLM as SparseVLM
    from wordsight.pruners.tome import ToMe as ToMe
    from wordsight.pruners.tops import TOPS as TOPS
    from wordsight.pruners.uniform import Uniform as Uniform
    from wordsight.pruners.vidcom2 import VidCom2 as VidCom2
    from wordsight.pruners.visionzip import VisionZip as VisionZip
    from wordsight.pruners.vispruner import VisPruner as VisPruner
    from wordsight.pruners.vscan import VScan as VScan
    from wordsight.redundancy.build import Clustering as Clustering
    from wordsight.redundancy.build import build_codebook as build_codebook
    from wordsight.redundancy.build import random_codebook as random_codebook
    from wordsight.redundancy.codebook import Codebook as Codebook
    from wordsight.redundancy.collecting import EvidencePlan as EvidencePlan
    from wordsight.redundancy.collecting import collect_evidence as collect_evidence
    from wordsight.redundancy.collecting import collect_part as collect_part
    from wordsight.redundancy.criteria import Condition as Condition
    from wordsight.redundancy.criteria import Quantile as Quantile
    from wordsight.redundancy.evidence import Evidence as Evidence
    from wordsight.redundancy.experiments import measure_tokens as measure_tokens
    from wordsight.redundancy.merging import merge_evidence as merge_evidence
    from wordsight.redundancy.presets import Preset as Preset
    from wordsight.redundancy.presets import preset as preset
    from wordsight.redundancy.probe import TokenProbe as TokenProbe
    from wordsight.redundancy.probe import probe_tokens as probe_tokens
    from wordsight.redundancy.scorer import Fitting as Fitting
    from wordsight.redundancy.scorer import Scorer as Scorer
    from wordsight.redundancy.scorer import fit_scorer as fit_scorer
    from wordsight.tasks.base import Example as Example
    from wordsight.tasks.base import Task as Task

__version__ = "0.2.0.dev0"

_MODULES = {
    "Answer": "wordsight.models.chat",
    "Attached": "wordsight.models.attach",
    "BookPruner": "wordsight.pruners.book",
    "CDPruner": "wordsight.pruners.cdpruner",
    "Calibration": "wordsight.evaluation.calibration",
    "CalibrationPlan": "wordsight.evaluation.calibration",
    "CenPrune": "wordsight.pruners.cenprune",
    "Chat": "wordsight.models.chat",
    "ClsSimilarity": "wordsight.pruners.cls_similarity",
    "ClsTopK": "wordsight.pruners.cls_topk",
    "Clustering": "wordsight.redundancy.build",
    "Codebook": "wordsight.redundancy.codebook",
    "CodebookCoverage": "wordsight.pruners.codebook_coverage",
    "CodebookDPP": "wordsight.pruners.codebook_dpp",
    "CodebookMMR": "wordsight.pruners.codebook_mmr",
    "CodebookScope": "wordsight.pruners.codebook_scope",
    "CodebookPruner": "wordsight.pruners.codebook",
    "Comparison": "wordsight.evaluation.comparison",
    "Condition": "wordsight.redundancy.criteria",
    "DART": "wordsight.pruners.dart",
    "DivPrune": "wordsight.pruners.divprune",
    "DyCoke": "wordsight.pruners.dycoke",
    "EVS": "wordsight.pruners.evs",
    "EmbedLens": "wordsight.pruners.embedlens",
    "Evidence": "wordsight.redundancy.evidence",
    "EvidencePlan": "wordsight.redundancy.collecting",
    "Example": "wordsight.tasks.base",
    "ExplainRequest": "wordsight.explain.record",
    "Family": "wordsight.models.families.base",
    "FastV": "wordsight.pruners.fastv",
    "FastVID": "wordsight.pruners.fastvid",
    "Fitting": "wordsight.redundancy.scorer",
    "FlowCut": "wordsight.pruners.flowcut",
    "GenerationOptions": "wordsight.models.load_options",
    "HiPrune": "wordsight.pruners.hiprune",
    "HiRED": "wordsight.pruners.hired",
    "HoliTom": "wordsight.pruners.holitom",
    "HoloV": "wordsight.pruners.holov",
    "LayerPruner": "wordsight.pruners.layerwise",
    "Learned": "wordsight.pruners.learned",
    "LearnedMMR": "wordsight.pruners.learned_mmr",
    "LoadOptions": "wordsight.models.load_options",
    "MMTok": "wordsight.pruners.mmtok",
    "MediaInput": "wordsight.media.inputs",
    "MergePruner": "wordsight.pruners.base",
    "Pool": "wordsight.pruners.pool",
    "Preset": "wordsight.redundancy.presets",
    "Progress": "wordsight._utils.progress",
    "Prompt": "wordsight.models.prompt",
    "PruMerge": "wordsight.pruners.prumerge",
    "PruneSID": "wordsight.pruners.prunesid",
    "PruneVid": "wordsight.pruners.prunevid",
    "Pruner": "wordsight.pruners.base",
    "PyramidDrop": "wordsight.pruners.pyramiddrop",
    "Quantile": "wordsight.redundancy.criteria",
    "Random": "wordsight.pruners.random",
    "RayWorkers": "wordsight.integrations.ray",
    "Requirements": "wordsight.evaluation.recommendation",
    "Results": "wordsight.evaluation.results",
    "Scissor": "wordsight.pruners.scissor",
    "Scope": "wordsight.pruners.scope",
    "ScorePruner": "wordsight.pruners.base",
    "Scorer": "wordsight.redundancy.scorer",
    "Scores": "wordsight.pruners.scores",
    "Settings": "wordsight.evaluation.comparison",
    "SparseVLM": "wordsight.pruners.sparsevlm",
    "TOPS": "wordsight.pruners.tops",
    "Task": "wordsight.tasks.base",
    "Timing": "wordsight.evaluation.latency",
    "ToMe": "wordsight.pruners.tome",
    "TokenProbe": "wordsight.redundancy.probe",
    "Uniform": "wordsight.pruners.uniform",
    "UsageError": "wordsight.errors",
    "VLM": "wordsight.models.vlm",
    "VScan": "wordsight.pruners.vscan",
    "VidCom2": "wordsight.pruners.vidcom2",
    "Video": "wordsight.media.video",
    "VisPruner": "wordsight.pruners.vispruner",
    "VisionZip": "wordsight.pruners.visionzip",
    "VisualTokens": "wordsight.models.tokens",
    "WordsightError": "wordsight.errors",
    "analyze": "wordsight.analysis.intermediate_states",
    "attach": "wordsight.models.attach",
    "build_codebook": "wordsight.redundancy.build",
    "calibrate": "wordsight.evaluation.calibration",
    "calibrate_on_ray": "wordsight.integrations.ray",
    "collate": "wordsight.models.prompt",
    "collect_evidence": "wordsight.redundancy.collecting",
    "collect_evidence_on_ray": "wordsight.integrations.ray",
    "collect_part": "wordsight.redundancy.collecting",
    "compare": "wordsight.evaluation.comparison",
    "compare_on_ray": "wordsight.integrations.ray",
    "describe_model": "wordsight.analysis.model_info",
    "explain_tokens": "wordsight.explain.record",
    "fit_scorer": "wordsight.redundancy.scorer",
    "inspect_codebook": "wordsight.analysis.prototypes",
    "measure_tokens": "wordsight.redundancy.experiments",
    "merge_evidence": "wordsight.redundancy.merging",
    "open_source": "wordsight.media.sources",
    "picture_digest": "wordsight.media.images",
    "preset": "wordsight.redundancy.presets",
    "probe_tokens": "wordsight.redundancy.probe",
    "random_codebook": "wordsight.redundancy.build",
    "recommend": "wordsight.evaluation.recommendation",
    "report_progress": "wordsight._utils.progress",
}
__all__ = sorted(_MODULES)  # one list of names, not two


if not TYPE_CHECKING:  # a module with __getattr__ has every name, to a type checker

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'wordsight' has no attribute {name!r}")
        try:
            return getattr(import_module(_MODULES[name]), name)
        except ImportError as error:
            _raise_known(error)
            raise


def __dir__() -> list[str]:
    return __all__


def _raise_known(error: ImportError) -> None:
    """Raises ModelError for what somebody can do something about: transformers says only what is missing."""
    from wordsight.errors import ModelError
    from wordsight.models.failures import known_reason

    if reason := known_reason(error):
        raise ModelError(reason) from error
