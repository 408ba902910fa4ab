"""Analysis: what a model's tokens, intermediate states and codebooks are."""
