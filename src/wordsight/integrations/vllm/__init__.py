"""vLLM: visual tokens are pruned before the language model, by a plugin that vLLM loads by its entry point.

`register` runs in every process of vLLM; nothing of it is imported before a model asks for it.
"""

from __future__ import annotations

# What is served, by model_type: the file here, and the class in it.
ARCHITECTURES = {
    "internvl": "WordsightInternVL",
    "llava": "WordsightLlava",
    "llava_next": "WordsightLlavaNext",
    "llava_onevision": "WordsightLlavaOnevision",
    "qwen2_5_vl": "WordsightQwen25VL",
    "qwen3_vl": "WordsightQwen3VL",
}


def register() -> None:
    """Tell vLLM the architectures whose pictures are pruned."""
    from vllm import ModelRegistry

    for model_type, name in ARCHITECTURES.items():
        ModelRegistry.register_model(name, f"{__name__}.{model_type}:{name}")
