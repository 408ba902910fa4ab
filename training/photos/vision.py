"""The tower as transformers' InternVL has it, its tokens, and how salient the picture's parts are."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from transformers import InternVLVisionConfig, InternVLVisionModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

SIDE, PATCH, WIDTH, HEADS = 224, 14, 384, 6
LAYERS = 11  # whose output the language model reads; the saliency head reads one block more
PATCHES = SIDE // PATCH  # on a side
GRID, TOKENS = PATCHES // 2, (PATCHES // 2) ** 2
TOKEN_WIDTH = 4 * WIDTH  # a token is 2x2 patches
WINDOW = 4  # patches on a side
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def vision_config(layers: int = LAYERS) -> InternVLVisionConfig:
    """DINOv2-small's shape. Mean pooling stands for "no norm after the last block"."""
    return InternVLVisionConfig(
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        attention_bias=True,
        intermediate_size=4 * WIDTH,
        image_size=SIDE,
        patch_size=PATCH,
        layer_norm_eps=1e-6,
        use_mean_pooling=True,
    )


def pixels(image: Image.Image) -> Tensor:
    """(3, 224, 224) the whole picture, squeezed to a square."""
    squeezed = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    values = torch.from_numpy(np.asarray(squeezed).copy()).permute(2, 0, 1) / 255
    return (values - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def tower(weights: dict[str, Tensor], layers: int = LAYERS) -> InternVLVisionModel:
    """The first blocks of the tower, its positions interpolated to 16x16 patches."""
    model = InternVLVisionModel(vision_config(layers))
    wanted = model.state_dict().keys()
    found = {key: value for key, value in weights.items() if key in wanted}
    found["embeddings.position_embeddings"] = _resampled(weights["embeddings.position_embeddings"])
    model.load_state_dict(found)
    return model.eval()


def _resampled(positions: Tensor) -> Tensor:
    cls, grid = positions[:, :1], positions[:, 1:]
    side = math.isqrt(grid.shape[1])
    square = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    square = F.interpolate(square, (PATCHES, PATCHES), mode="bicubic", align_corners=False)
    return torch.cat([cls, square.permute(0, 2, 3, 1).flatten(1, 2)], 1)


def tokens_of(states: Tensor) -> Tensor:
    """(B, 257, C) to (B, 64, 4C): [CLS] dropped, 2x2 patches in a token, in the order of InternVL's own."""
    batch, width = len(states), states.shape[-1]
    x = states[:, 1:].reshape(batch, GRID, 2, GRID, 2, width)  # rows, row in token, columns, column in token
    return x.permute(0, 1, 3, 2, 4, 5).reshape(batch, TOKENS, 4 * width)


def restrict_attention(model: Any) -> None:
    """From now on a patch of this tower attends to the patches of its own window of 4x4 only, in every block.

    Windows do not overlap and are not shifted, and no patch reads [CLS] (which reads all): so a token knows
    nothing outside its window, however deep the tower is.
    """
    ALL_ATTENTION_FUNCTIONS.register("windowed", _windowed)
    model.config._attn_implementation = "windowed"


def _windowed(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, _: Tensor | None, **unused: Any
) -> tuple[Tensor, None]:
    mask = window_mask().to(query.device)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2), None


def window_mask() -> Tensor:
    """(257, 257) what each state may attend to."""
    row, column = (torch.arange(PATCHES**2) // PATCHES, torch.arange(PATCHES**2) % PATCHES)
    window = row // WINDOW * PATCHES + column // WINDOW
    mask = torch.zeros(1 + PATCHES**2, 1 + PATCHES**2, dtype=torch.bool)
    mask[1:, 1:] = window[:, None] == window
    mask[0] = True
    return mask


class Saliency(nn.Module):
    """The wheel's head on the last state: how salient every pixel is, in [0, 1], at 128x128."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        widths = WIDTH, 256, 128, 64
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            blocks += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.decoder = nn.Sequential(*blocks, nn.Conv2d(widths[-1], 1, 1))
        names = {"upconv1": 0, "bn1": 1, "upconv2": 3, "bn2": 4, "upconv3": 6, "bn3": 7, "final_conv": 9}
        found = {f"norm.{part}": weights[f"layernorm.{part}"] for part in ("weight", "bias")}
        for key, value in weights.items():
            if key.startswith("decoder."):
                _, block, part = key.split(".")
                found[f"decoder.{names[block]}.{part}"] = value
        self.load_state_dict(found, strict=False)  # batch norms also count batches, which nothing reads
        self.eval()

    def forward(self, states: Tensor) -> Tensor:  # (B, 257, C) to (B, 128, 128)
        x = self.norm(states)[:, 1:].transpose(1, 2).reshape(len(states), WIDTH, PATCHES, PATCHES)
        salient: Tensor = self.decoder(x)[:, 0].sigmoid()
        return salient


def foreground(salient: Tensor, least: int = 6) -> Tensor:
    """(N, 64) saliency to the share of the name that a token is asked for: 1 for what is clearly salient and
    for the `least` most salient tokens of every picture.
    """
    share = ((salient.float() - 0.4) / 0.3).clamp(0, 1)
    top = salient.topk(least, -1).values[:, -1:]
    return torch.where(salient >= top, torch.ones_like(share), share)
