"""What vLLM's classes of a model need so that its pictures are pruned: three mix-ins, for each of its
architectures to put before the class that vLLM has.

A picture or film is encoded whole, then pruned; behind the kept tokens go, as channels, the places where they
stand. vLLM hands these back before the language model reads the tokens (its hook for pruned films of models
with M-RoPE), for positions with gaps. An adaptive server does so with pictures while it prepares a prompt,
and gives vLLM's engine embeddings instead.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.models.interfaces import SupportsMultiModal
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.parse import EmbeddingItems
from vllm.multimodal.processing import BaseMultiModalProcessor, BaseProcessingInfo
from vllm.platforms import current_platform

from wordsight.errors import UsageError
from wordsight.integrations.vllm.served import (
    NAME,
    NONE,
    Choice,
    ServedPruners,
    cells_of,
    choose,
    kept_count,
    line,
    load_options,
    places_of,
    tokens_of,
)
from wordsight.models.families.base import VisionContext
from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner

KINDS = ("image", "video")
TOKENS, CHOICE = f"{NAME}_tokens_", f"{NAME}_choice_"  # what every item has beside its pixels, and its kind
KEPT = f"{NAME}_kept_"  # what a picture has instead of its pixels if it is encoded already
BASE = 256  # of the digits of a place: bfloat16 holds whole numbers so far
AXES = 3
PLACE = AXES + 1  # numbers of a place, the last of which says where its picture ends
AHEAD = -1  # a position that is not known before the picture is encoded
POSITIONS = 4  # times as many as the config says does vLLM's M-RoPE know


class PrunedInfo(BaseProcessingInfo):
    """In the place of what vLLM knows of the model: it takes no more pictures than it has positions for, as
    it ends with an error at a position that it has not, and so many films.
    """

    films = 0

    @cached_property
    def allowed_mm_limits(self) -> Mapping[str, int]:
        limits, room = super().allowed_mm_limits, self.positions // self.get_max_image_tokens()
        is_adaptive = ServedPruners.of(self.get_hf_config()).is_adaptive
        most = {"image": max(1, room), "video": 0 if is_adaptive else self.films}
        return {kind: min(limit, most[kind]) for kind, limit in limits.items()}

    @cached_property
    def positions(self) -> int:
        """How many positions there are for whole pictures beside the longest prompt."""
        config, model = self.get_hf_config(), self.ctx.model_config
        served = ServedPruners.of(config)
        if served.is_mrope or not served.has_gaps:
            return sys.maxsize
        return int(POSITIONS * config.get_text_config().max_position_embeddings - model.max_model_len)


class PrunedProcessor(BaseMultiModalProcessor):
    """Lays prompts out for the tokens that will be left of their pictures.

    To each picture or film it adds, as TOKENS, the cells and places of all its tokens (N, 4 + PLACE), and as
    CHOICE the number of the pruner, its keep, its tokens or 0, whether gaps are closed, how many are kept,
    and how many positions it takes; that of an adaptive server, as KEPT, the tokens themselves.
    """

    def __init__(self, info: Any, dummy_inputs: Any) -> None:
        super().__init__(info, dummy_inputs)
        self.config = info.get_hf_config()
        self.served = ServedPruners.of(self.config)
        kwargs = info.ctx.get_mm_config().mm_processor_kwargs or {}
        if NAME in kwargs:
            raise UsageError(
                f"{NAME} in --mm-processor-kwargs is of requests alone; say what holds for all of them by "
                "`wordsight serve --pruner`"
            )
        if self.served.is_adaptive:
            _refuse_options(kwargs)

    @cached_property
    def encoder(self) -> VLM:
        """Loaded for the first picture: vLLM's engine has a processor, too, which is given none."""
        model = self.info.ctx.model_config
        dtype: Any = str(model.dtype).removeprefix("torch.")
        return self.served.encoder(model.model, load_options(model, dtype=dtype))

    def picture(self, processed: Mapping[str, Any], number: int) -> tuple[Mapping[str, Any], list[int]]:
        """What the processor says of this picture, and how many tokens each of its items will have where
        that does not say.
        """
        sizes = {name: processed[name] for name in ("image_sizes", "image_grid_thw") if name in processed}
        return {name: values[number : number + 1] for name, values in sizes.items()}, []

    def film(self, processed: Mapping[str, Any], number: int) -> tuple[Mapping[str, Any], list[int]]:
        """The same of a film."""
        raise NotImplementedError

    def get_dummy_inputs(self, *args: Any, **options: Any) -> Any:
        """Whole pictures: there has to be room for those of a request that prunes none."""
        return replace(
            super().get_dummy_inputs(*args, **options), hf_processor_mm_kwargs={NAME: {"pruner": NONE}}
        )

    def _get_mm_hashes(self, inputs: Any) -> Any:
        """What pictures are found again by, in stores that servers with other pruners may share, too."""
        named = {**inputs.hf_processor_mm_kwargs, "pruners": self.served.identity}
        return super()._get_mm_hashes(replace(inputs, hf_processor_mm_kwargs=named))

    def _apply_hf_processor_main(self, mm_items: Any, hf_kwargs: Mapping[str, Any]) -> Any:
        if any(isinstance(items, EmbeddingItems) for items in mm_items.values()):
            raise UsageError("this server prunes pictures, which image_embeds are not; send pictures")
        choice, others = self.served.choice(hf_kwargs.get(NAME, {})), _without_ours(hf_kwargs)
        is_encoded = self.served.is_adaptive and choice.number >= 0
        if is_encoded:
            _refuse_options(others)
        processed = super()._apply_hf_processor_main(mm_items, others)
        for kind, items in mm_items.items():
            contexts = [self._context(items, processed, number) for number in range(len(items))]
            made = [self._plan(choice, *one) for one in zip(contexts, items, strict=True)]
            for name in made[0] if made else ():
                processed[name + kind] = [own[name] for own in made]
        for name in [name for name in processed if is_encoded and name.startswith("pixel_values")]:
            del processed[name]
        return processed

    def _context(self, items: Any, processed: Mapping[str, Any], number: int) -> VisionContext:
        """What is known of a picture or film, as the families of this library take it."""
        is_video = items.modality == "video"
        inputs, counts = (self.film if is_video else self.picture)(processed, number)
        features = [torch.empty(count, 0) for count in counts]
        size = None if is_video else items.get_image_size(number)
        sizes = size and [(size.width, size.height)]
        return VisionContext(self.config, self.info.get_hf_processor(), inputs, features, sizes, is_video)

    def _plan(self, choice: Choice, item: VisionContext, picture: Any) -> dict[str, Tensor]:
        """The TOKENS and the CHOICE of a picture or film, and what is KEPT of it if that is encoded now."""
        cell = cells_of(item)
        place = places_of(item, cell)
        pruner, kept = self.served.pruner(choice), {}
        if pruner and self.served.is_adaptive:
            visual = self._encoded(pruner, picture, len(cell))
            kept = {KEPT: with_places(self.served, visual, place, choice.is_contiguous).cpu()}
        count = len(kept[KEPT]) if kept else kept_count(pruner, cell)
        extent = count if choice.is_contiguous else int(place.max()) + 1
        if item.is_video and extent > self.info.positions - self.info.get_max_image_tokens():
            raise UsageError(
                f"a film of {len(cell):,} tokens takes more positions than this model has; send fewer "
                "frames, or close the gaps by positions=contiguous"
            )
        numbers = [choice.number, choice.keep, choice.tokens or 0, choice.is_contiguous, count, extent]
        return {
            TOKENS: torch.cat([cell, place], 1),
            CHOICE: torch.tensor(numbers, dtype=torch.float64),
            **kept,
        }

    def _encoded(self, pruner: Pruner, picture: Any, count: int) -> VisualTokens:
        """What is kept of a picture of so many tokens."""
        visual = self.encoder.encode(picture, "?", signals=pruner.required_signals).visual
        if len(visual) != count:
            raise UsageError(
                f"vLLM counts {count} tokens of a picture, transformers {len(visual)}; is it of two sizes, "
                "before and after it is turned upright?"
            )
        kept = pruner.prune(visual)
        if not len(kept):
            raise UsageError(f"{type(pruner).__name__} keeps no token of a picture; expected at least one")
        return kept

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Mapping[str, Any]) -> Any:
        theirs = super()._get_mm_fields_config(hf_inputs, _without_ours(hf_processor_mm_kwargs))
        own = {kind: MultiModalFieldConfig.batched(kind, keep_on_cpu=True) for kind in KINDS}
        ours = {name + kind: own[kind] for kind in KINDS for name in (TOKENS, CHOICE)}
        return {**theirs, **ours, f"{KEPT}image": MultiModalFieldConfig.batched("image")}

    def _get_mm_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, Any], out_mm_kwargs: Any
    ) -> Any:
        kwargs = _without_ours(hf_processor_mm_kwargs)
        found = super()._get_mm_prompt_updates(mm_items, kwargs, out_mm_kwargs)
        return {
            kind: [
                [self._shortened(update, kind, out_mm_kwargs[kind][number]) for update in updates]
                for number, updates in enumerate(items)
            ]
            for kind, items in found.items()
        }

    def _shortened(self, update: Any, kind: str, item: Any) -> Any:
        """The placeholders of a picture or film without those that nothing will fill."""
        whole, kept = len(item[TOKENS + kind].data), int(item[CHOICE + kind].data[4])
        ids = update.content.full
        placeholder = placeholders(self.config)[kind]
        places = [place for place, token in enumerate(ids) if token == placeholder]
        if len(places) != whole:
            raise UsageError(
                f"vLLM counts {len(places)} tokens of a picture or film, wordsight {whole}; does its "
                "processor have other sizes than its config?"
            )
        unfilled = set(places[kept:])
        left = [token for place, token in enumerate(ids) if place not in unfilled]
        return update.with_content(replace(update.content, full=left))


class PrunedModel(SupportsMultiModal):
    """The model, whose pictures come pruned out of its vision tower."""

    supports_mrope = True
    supports_multimodal_pruning = True

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        if vllm_config.compilation_config.cudagraph_mm_encoder:
            raise UsageError("cudagraph_mm_encoder encodes pictures past the pruner; leave it out")
        model = vllm_config.model_config
        served = ServedPruners.of(model.hf_config)
        if not served.is_adaptive:  # one that is checks them where it encodes
            served.check_books(model.model, load_options(model))
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.served = served
        self.is_multimodal_pruning_enabled = False  # by vLLM itself, in the classes that know it
        if served.has_gaps and current_platform.is_cpu():
            _let_cpus_prune()

    def embed_multimodal(self, **inputs: Any) -> Sequence[Tensor]:
        # All are of one kind.
        if f"{KEPT}image" in inputs:
            return list(inputs[f"{KEPT}image"])
        (tokens,) = (inputs.pop(TOKENS + kind) for kind in KINDS if TOKENS + kind in inputs)
        (choices,) = (inputs.pop(CHOICE + kind) for kind in KINDS if CHOICE + kind in inputs)
        items = super().embed_multimodal(**inputs)
        return [self._pruned(*one) for one in zip(items, tokens, choices, strict=True)]

    def _pruned(self, features: Tensor, cells: Tensor, numbers: Tensor) -> Tensor:
        """(K, C) what is kept of the features (N, C) of a picture or film, see `with_places`."""
        number, keep, budget, is_contiguous, count, _ = numbers.tolist()
        choice = Choice(int(number), keep, int(budget) or None, bool(is_contiguous))
        embeds, *deep = torch.split(features, self.served.width, 1)
        kept = choose(self.served.pruner(choice), tokens_of(embeds, cells[:, :4], deep))
        if len(kept) != count:
            raise RuntimeError(
                f"{self.served.specs[choice.number]} kept {len(kept)} tokens, and its count says {count:g}"
            )
        return with_places(self.served, kept, cells[:, 4:], choice.is_contiguous)

    def get_mrope_input_positions(
        self, input_tokens: Sequence[int], mm_features: Sequence[Any]
    ) -> tuple[Tensor, int]:
        """(3, L) positions, those of a picture's tokens where it begins, then AHEAD, and how many more there
        are than tokens.
        """
        steps = torch.ones(len(input_tokens), dtype=torch.long)
        columns = [list(_columns(feature.mm_position)) for feature in mm_features]
        for feature, own in zip(mm_features, columns, strict=True):
            steps[own] = 0
            steps[own[-1]] = int(feature.data[CHOICE + feature.modality].data[5])
        ends = steps.cumsum(0)
        positions = (ends - steps).expand(AXES, -1).clone()
        for own in columns:
            positions[1:, own] = AHEAD
        return positions, int(ends[-1]) - len(steps)

    def recompute_mrope_positions(
        self,
        input_ids: Any,
        multimodal_embeddings: Sequence[Tensor],
        mrope_positions: Tensor,
        num_computed_tokens: int,
    ) -> tuple[Sequence[Tensor], Tensor, int]:
        """The features without their channels, the positions with what these say, and how many more there
        are than tokens. Called again for the same tokens it says the same.
        """
        positions, last = mrope_positions.clone(), -1
        if multimodal_embeddings:
            digits = torch.cat([features[:, -2 * PLACE :] for features in multimodal_embeddings]).long()
            place = (digits[:, :PLACE] * BASE + digits[:, PLACE:]).to(positions)
            ids = torch.as_tensor(input_ids, device=positions.device)
            columns = torch.isin(ids, ids.new_tensor([*placeholders(self.config).values()])).nonzero()[:, 0]
            columns = columns[columns >= num_computed_tokens][: len(place)]
            is_known = positions[1, columns] != AHEAD
            begin = positions[0, columns] - place[:, 0] * is_known
            positions[:, columns] = begin + place[:, :AXES].T
            last = int((begin + place[:, AXES]).max())
        left = [features[:, : -2 * PLACE] for features in multimodal_embeddings]
        return left, positions, max(last, int(positions.max())) + 1 - len(input_ids)


def with_places(served: ServedPruners, kept: VisualTokens, place: Tensor, is_contiguous: bool) -> Tensor:
    """(K, C) the kept tokens, those of deepstack side by side, and channels of the places where they stand:
    those (N, PLACE) of the whole picture or film, or one after another.
    """
    left = torch.cat([kept.embeds, *kept.deep], 1)
    if not served.has_gaps:
        return left
    place = line(len(kept)) if is_contiguous else place[kept.slot.cpu()]
    digits = torch.cat([place // BASE, place % BASE], 1)
    return torch.cat([left, digits.to(left)], 1)


def placeholders(config: Any) -> dict[str, int]:
    """The token that stands for each token of a picture or film."""
    ids = {kind: getattr(config, f"{kind}_token_id", None) for kind in KINDS}
    return {kind: token for kind, token in ids.items() if token is not None}


def _without_ours(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What the processor of the model is given."""
    return {name: value for name, value in kwargs.items() if name != NAME}


def _refuse_options(kwargs: Mapping[str, Any]) -> None:
    """Pictures that are encoded before vLLM does are prepared as the checkpoint says."""
    if kwargs:
        raise UsageError(
            f"an adaptive server prepares pictures as the checkpoint says; leave out {min(kwargs)} of "
            "mm_processor_kwargs"
        )


def _columns(position: Any) -> Iterator[int]:
    """Where the tokens of a picture are in a prompt."""
    filled = [True] * position.length if position.is_embed is None else position.is_embed.tolist()
    return (position.offset + number for number, is_filled in enumerate(filled) if is_filled)


def _let_cpus_prune() -> None:
    """vLLM's runner for CPUs does not look whether a model prunes; the one for GPUs does."""
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    gather = CPUModelRunner._gather_mm_embeddings

    def gather_pruned(self: Any, *args: Any, **options: Any) -> Any:
        self.is_multimodal_pruning_enabled = True
        return gather(self, *args, **options)

    CPUModelRunner._gather_mm_embeddings = gather_pruned
