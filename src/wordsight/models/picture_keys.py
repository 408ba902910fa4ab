"""Picture keys: of which picture a visual token is, told by the picture's digest, and which of its tokens."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import torch
from torch import Tensor

from wordsight.media.images import picture_digest
from wordsight.media.inputs import MediaInput
from wordsight.models.tokens import VisualTokens

# picture (N, 6): the digest of the picture in four numbers of 64 bits, which of its tokens this is in reading
# order, line breaks left out, and how many they are. The frames of all films count as one picture.
PICTURE_SIGNALS = frozenset({"picture"})


def with_picture_keys(tokens: VisualTokens, media: MediaInput) -> VisualTokens:
    """The tokens with the signal `picture`; what they are made of is what the processor was given."""
    keys = [picture_digest(picture) for picture in media.pictures]
    films = sha256("".join(map(picture_digest, media.frames[len(keys) :])).encode()).hexdigest()
    image = tokens.cell[:, 0].clamp(max=len(keys))
    found = torch.zeros(len(tokens), 6, dtype=torch.long, device=image.device)
    for number, key in enumerate([*keys, films]):
        rows = ((image == number) & ~tokens.is_break).nonzero()[:, 0]
        found[rows, :4] = torch.frombuffer(bytearray.fromhex(key), dtype=torch.long).to(image.device)
        found[rows, 4], found[rows, 5] = torch.arange(len(rows), device=image.device), len(rows)
    return replace(tokens, signals={**tokens.signals, "picture": found})


def picture_key(row: Tensor) -> str:
    """The digest in a row of the signal `picture`, in hexadecimal."""
    return row[:4].cpu().contiguous().numpy().tobytes().hex()
