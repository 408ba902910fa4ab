"""What is served: the pruners of a server, what a request may say of them, and the tokens that they keep.

A server keeps a number of tokens that only depends on the size of a picture, as vLLM lays prompts out before
its engine sees one; unless it is adaptive, and pictures are encoded before that. Every picture has a budget
of its own, as it is encoded by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

from wordsight import pruners
from wordsight._utils import registry
from wordsight.errors import ModelError, UsageError, shown, unknown
from wordsight.models.failures import as_model_error
from wordsight.models.families import family
from wordsight.models.families.base import VisionContext
from wordsight.models.families.qwen2_vl import Qwen2VL
from wordsight.models.fingerprints import Fingerprint, Parts, fingerprint_of_files
from wordsight.models.load_options import LoadOptions
from wordsight.models.tokens import VisualTokens, join_tokens
from wordsight.models.vlm import VLM, load_encoder
from wordsight.pruners.base import Pruner
from wordsight.pruners.layerwise import LayerPruner
from wordsight.pruners.scopes import split

NAME = "wordsight"  # of our settings in the config of a model, and in mm_processor_kwargs of a request
REQUEST = ("pruner", "keep", "tokens", "positions")  # what a request may say
NONE = "none"  # the SPEC that prunes nothing


@dataclass(frozen=True)
class Choice:
    """What holds for the pictures of a request.

    number  of the pruner among the server's, -1 for none. keep, tokens: its budget. is_contiguous: whether
            the positions of what it drops are closed.
    """

    number: int
    keep: float
    tokens: int | None
    is_contiguous: bool


@dataclass(frozen=True)
class ServedPruners:
    """The pruners of a server by their SPECs, the first of which is used where a request names none.

    width        of the model's tokens.
    has_gaps     whether there can be gaps between positions. is_mrope: whether these are of several axes.
    is_adaptive  whether pictures are encoded before prompts are laid out.
    """

    specs: tuple[str, ...]
    width: int
    has_gaps: bool
    is_mrope: bool
    is_adaptive: bool = False

    @classmethod
    def of(cls, config: Any) -> ServedPruners:
        """Those in the config of a model, as vLLM has it. Raises UsageError if one cannot be served."""
        settings = getattr(config, NAME, None) or {}
        specs = settings.get("pruners")
        if not specs:
            raise UsageError(
                "the config of the model names no pruners; start vLLM as `wordsight serve MODEL --pruner "
                "SPEC --dry-run` says"
            )
        text = config.get_text_config()
        has_gaps = "mrope_section" in (text.rope_parameters or {})
        is_adaptive = settings.get("adaptive", False)
        return cls(tuple(specs), text.hidden_size, has_gaps, is_mrope(config), is_adaptive)

    def __post_init__(self) -> None:
        for pruner in filter(None, self.pruners):
            self._check_positions(pruner)

    @cached_property
    def pruners(self) -> list[Pruner | None]:
        """The pruners themselves, None for one that prunes nothing."""
        return [servable(spec, self.width, self.is_adaptive) for spec in self.specs]

    @cached_property
    def identity(self) -> list[bool | str]:
        """What tells the tokens that it keeps from those of servers with other pruners, or other codebooks,
        rules to prune by or code in the same places.
        """
        found: list[bool | str] = [self.is_adaptive, *self.specs]
        for pruner in filter(None, self.pruners):
            found += [registry.spec(pruner), pruner.digest or "", pruner.code_digest or ""]
        return found

    def check_books(self, source: str, options: LoadOptions) -> None:
        """Raises UsageError if one of the pruners was made for another model than the one in these files."""
        self._check(Checkpoint(source, self.width, options))

    def encoder(self, source: str, options: LoadOptions) -> VLM:
        """What encodes pictures before vLLM does. Raises UsageError as `check_books`, and if a pruner reads
        what its vision tower does not give.
        """
        encoder = load_encoder(source, options)
        self._check(encoder)
        return encoder

    def _check(self, model: Any) -> None:
        for pruner in filter(None, self.pruners):
            pruner.check(model)

    def choice(self, request: Any) -> Choice:
        """What holds where a request says this. Raises UsageError if it says anything that cannot be had."""
        if not isinstance(request, Mapping):
            raise UsageError(f"{NAME} must be options such as {{'keep': 0.2}}, got {shown(request)}")
        if strange := sorted(map(str, request.keys() - set(REQUEST))):
            raise unknown(f"option of {NAME} in a request", strange[0], REQUEST)
        options = {name: value for name, value in request.items() if name != "pruner"}
        number = self._number(request["pruner"]) if "pruner" in request else 0
        pruner = None if number < 0 else self.pruners[number]
        if pruner is None:
            if options:
                raise UsageError(
                    f"{min(options)}: {NONE} prunes nothing; name another pruner, or leave it out"
                )
            return Choice(-1, 1.0, None, False)
        if {"keep", "tokens"} <= options.keys():
            raise UsageError("expected keep or tokens, one of the two")
        asked = _changed(pruner, ({"tokens": None} if "keep" in options else {}) | options)
        self._check_positions(asked)
        return Choice(number, asked.keep, asked.tokens, asked.positions == "contiguous")

    def _number(self, name: Any) -> int:
        """Of the pruner that a request names, by its SPEC or the name at its beginning."""
        if name == NONE:
            return -1
        if name in self.specs:
            return self.specs.index(name)
        names = [spec.partition(":")[0] for spec in self.specs]
        if names.count(name) != 1:
            raise unknown("pruner of this server", str(name), [*self.specs, NONE])
        return names.index(name)

    def pruner(self, choice: Choice) -> Pruner | None:
        """The pruner of a choice, with its budget."""
        chosen = None if choice.number < 0 else self.pruners[choice.number]
        return chosen and _changed(chosen, {"keep": choice.keep, "tokens": choice.tokens})

    def _check_positions(self, pruner: Pruner) -> None:
        if pruner.positions == "contiguous" and self.is_mrope:
            raise UsageError(
                "positions=contiguous: this model tells places by positions of several axes (M-RoPE), which "
                "have no gaps to close; leave it out"
            )
        if pruner.positions == "original" and not self.has_gaps:
            raise UsageError(
                f"{type(pruner).__name__} leaves tokens where they were, which vLLM cannot do with the "
                "rotary embedding of this model; say positions=contiguous, which closes the gaps"
            )


def load_options(model: Any, **options: Any) -> LoadOptions:
    """How a model is loaded that vLLM serves by this ModelConfig. Its token may be True, for that of a login.
    Where weights are is in our settings, as vLLM does not tell it to what prepares prompts.
    """
    token = model.hf_token if isinstance(model.hf_token, str) else None
    cache_dir = getattr(model.hf_config, NAME).get("cache_dir")
    return LoadOptions(revision=model.revision, cache_dir=cache_dir, token=token, **options)


def _changed(pruner: Pruner, options: Mapping[str, Any]) -> Pruner:
    """The pruner with these options; itself where it has them, as another one reads its codebook again."""
    has_them = all(getattr(pruner, name) == value for name, value in options.items())
    return pruner if has_them else replace(pruner, **options)


@cache
def servable(spec: str, width: int, is_adaptive: bool = False) -> Pruner | None:
    """The pruner of a SPEC, None if it prunes nothing. Raises UsageError if it cannot be served to a model
    whose tokens have this width.
    """
    if spec == NONE:
        return None
    pruner = pruners.make(spec)
    if reason := _why_not(pruner, width, is_adaptive):
        names = ", ".join(servable_names(width))
        hint = "" if _why_not(pruner, width, True) else ", and with --adaptive this one, too"
        raise UsageError(f"{spec} cannot be served: {reason}; {names} can{hint}")
    return pruner


def servable_names(width: int) -> list[str]:
    """The pruners that every server can have, with their defaults."""
    return [name for name in pruners.names() if _is_servable(name, width)]


def _is_servable(name: str, width: int) -> bool:
    try:
        return not _why_not(pruners.make(name), width, False)
    except UsageError:  # it needs options, or a book of this width
        return False


def _why_not(pruner: Pruner, width: int, is_adaptive: bool) -> str:
    """Why vLLM cannot prune by this method, "" if it can."""
    name = type(pruner).__name__
    if isinstance(pruner, LayerPruner):
        return f"{name} drops tokens between layers of the language model, which vLLM does not show"
    if pruner.reads_question:
        return f"{name} reads the question, and vLLM encodes a picture once for all questions"
    if is_adaptive:
        return ""
    if pruner.required_signals:
        signals = ", ".join(sorted(pruner.required_signals))
        return f"{name} reads {signals}, which vLLM's vision tower does not give"
    if not pruner.has_fixed_budget:
        return f"how many tokens {name} keeps depends on the picture, and vLLM has to know before"
    cell = torch.cartesian_prod(*map(torch.arange, (1, 1, 12, 12)))
    random = torch.randn(len(cell), width, generator=torch.Generator().manual_seed(0))
    kept, expected = len(choose(pruner, tokens_of(random, cell))), kept_count(pruner, cell)
    if kept != expected:
        return f"of {len(cell)} tokens {name} counts {expected} and keeps {kept}, and vLLM has to know before"
    return ""


def is_mrope(config: Any) -> bool:
    """Whether positions of a model are of time, row and column by itself."""
    return isinstance(family(config.model_type), Qwen2VL)


def tokens_of(embeds: Tensor, cell: Tensor, deep: Sequence[Tensor] = ()) -> VisualTokens:
    """The tokens of one picture."""
    return VisualTokens(
        embeds, torch.arange(len(embeds), device=embeds.device), cell.to(embeds.device), tuple(deep)
    )


def cells_of(context: VisionContext) -> Tensor:
    """(N, 4) the cells of one picture's tokens, see `VisualTokens`."""
    grids = family(context.config.model_type).grids(context)
    return torch.tensor([cell for grid in grids for cell in grid.cells()])


def places_of(context: VisionContext, cell: Tensor) -> Tensor:
    """(N, 4) where the tokens of a picture or film stand, counted from its beginning: time, row and column of
    M-RoPE; else its beginning, the token itself, and its end. The last is its end always.
    """
    if not is_mrope(context.config):
        return line(len(cell))
    seconds = float(context.inputs.get("second_per_grid_ts", [0])[0])  # from one frame to the next
    pace = seconds * getattr(context.config.vision_config, "tokens_per_second", 1)
    place = torch.stack([(cell[:, 0].double() * pace).long(), cell[:, 2], cell[:, 3]], 1)
    return torch.cat([place, place.max().expand(len(cell), 1)], 1)


def line(count: int) -> Tensor:
    """(N, 4) where so many tokens stand one after another."""
    every = torch.arange(count)
    end = every * 0 + count - 1
    return torch.stack([every * 0, every, end, end], 1)


def kept_count(pruner: Pruner | None, cell: Tensor) -> int:
    """How many of the tokens at these cells are kept; all line breaks are, so that it is known before."""
    if pruner is None:
        return len(cell)
    tokens = tokens_of(torch.empty(len(cell), 0), cell)
    scopes = split(tokens.without_breaks(), pruner.budget)
    return sum(pruner.count(scope) for scope in scopes) + int(tokens.is_break.sum())


def choose(pruner: Pruner | None, tokens: VisualTokens) -> VisualTokens:
    """The tokens of one picture that are kept, and all its line breaks. What is not finite counts as zero:
    one broken picture must not stop a server.
    """
    if pruner is None:
        return tokens
    breaks = tokens.take(tokens.is_break.nonzero()[:, 0])
    shown_tokens = tokens.without_breaks()
    finite = shown_tokens.embeds.nan_to_num(0, 0, 0)
    return join_tokens(pruner.prune(replace(shown_tokens, embeds=finite)), breaks)


@dataclass(frozen=True)
class Checkpoint:
    """The files of a model that is not loaded, with what a pruner's check of a model asks for."""

    name: str
    width: int
    options: LoadOptions
    signals: frozenset[str] = frozenset()

    @cached_property
    def _found(self) -> Fingerprint:
        saying = f"whether the codebook is one of {self.name} cannot be told"
        with as_model_error(saying):
            found = fingerprint_of_files(self.name, self.options)
        if found is None:
            place = f" --cache-dir {self.options.cache_dir}" if self.options.cache_dir else ""
            raise ModelError(
                f"{saying}: its safetensors are not here; `hf download {self.name}{place}` fetches them"
            )
        return found

    @property
    def fingerprint(self) -> str:
        return self._found.space

    @property
    def parts(self) -> Parts | None:
        return self._found.parts

    @property
    def pad_embedding(self) -> Tensor:
        return torch.ones(self.width)

    def has_token_space(self, fingerprint: str) -> bool:
        return fingerprint == self.fingerprint
