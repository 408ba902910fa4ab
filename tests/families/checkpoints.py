"""The config and the processor of a tiny checkpoint of every family, by its name.

Processors of video need torchvision, whose builds import beside a torch for CPUs only if the two operators
below are there; nothing here calls them. In tests/serving they are there already.
"""

import importlib
import importlib.util
from pathlib import Path

import torch

if (
    torch.version.cuda is None
    and importlib.util.find_spec("torchvision")
    and not hasattr(torch.ops.torchvision, "nms")
):
    OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        OPERATORS.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import transformers as hf

import wordsight

SHIPPED = Path(wordsight.__file__).parent / "demo" / "model"
SIDE, PATCH = 32, 8  # pixels of a tile and of a patch
SQUARE = {"height": SIDE, "width": SIDE}
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
SMALL |= {"num_hidden_layers": 3, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
TOWER |= {"image_size": SIDE, "patch_size": PATCH}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
PINPOINTS = [[32, 64], [64, 32], [64, 64], [32, 96]]


def save(config, processor, folder):
    """Write a checkpoint with weights of its own, drawn by torch's seed."""
    model = hf.AutoModelForImageTextToText.from_config(config).float()
    initialize(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def initialize(model):
    """Weights louder than the stock, so that wrong looks wrong."""
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)
    for name, module in model.named_modules():
        if getattr(module, "scaling", None) == 1:  # learned, as in Gemma 4: others divide by it
            torch.nn.init.constant_(module.q_norm.weight, module.head_dim**-0.5)
        if "vision" in name and name.endswith("post_attention_layernorm"):  # or patches drown in their mean
            torch.nn.init.constant_(module.weight, 0.2)


def tokenizer(*special, **named):
    """That of the embedded model, with more special tokens."""
    made = hf.AutoTokenizer.from_pretrained(SHIPPED, **({"extra_special_tokens": named} if named else {}))
    made.add_special_tokens({"additional_special_tokens": [*special, *named.values()]})
    return made


def ids(made, **tokens):
    return {name: made.convert_tokens_to_ids(token) for name, token in tokens.items()}


def template(image="<image>", video="<video>"):
    """A chat template with these placeholders, turns told apart by their roles."""
    return (
        "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}" + image + " {% elif part['type'] == 'video' %}" + video + " "
        "{% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )


def llava_like(kind, **more):
    made = tokenizer("<image>", "<video>")
    names = {"image_token_id": "<image>", **({"video_token_id": "<video>"} if "Video" in kind else {})}
    config = getattr(hf, f"{kind}Config")(
        vision_config=hf.CLIPVisionConfig(**TOWER),
        text_config=hf.LlamaConfig(**SMALL, vocab_size=len(made)),
        vision_feature_layer=-2,
        image_seq_length=16,
        **more,
        **ids(made, **names),
    )
    pixels = {"size": {"shortest_edge": SIDE}, "crop_size": SQUARE}
    reads = {"patch_size": PATCH, "vision_feature_select_strategy": "default"}
    reads |= {"num_additional_image_tokens": 1, "chat_template": template()}
    return config, made, pixels, reads


def llava():
    config, made, pixels, reads = llava_like("Llava")
    return config, hf.LlavaProcessor(hf.CLIPImageProcessor(**pixels), made, **reads)


def llava_next():
    config, made, pixels, reads = llava_like("LlavaNext", image_grid_pinpoints=PINPOINTS)
    images = hf.LlavaNextImageProcessor(**pixels, image_grid_pinpoints=PINPOINTS)
    return config, hf.LlavaNextProcessor(images, made, **reads)


def llava_next_video():
    config, made, pixels, reads = llava_like("LlavaNextVideo", image_grid_pinpoints=PINPOINTS)
    images = hf.LlavaNextImageProcessor(**pixels, image_grid_pinpoints=PINPOINTS)
    videos = hf.LlavaNextVideoVideoProcessor(**pixels)
    return config, hf.LlavaNextVideoProcessor(videos, images, made, **reads)


def llava_onevision():
    made = tokenizer("<image>", "<video>")
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**TOWER),
        text_config=hf.Qwen2Config(**SMALL, vocab_size=len(made)),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=PINPOINTS,
        **ids(made, image_token_id="<image>", video_token_id="<video>"),
    )
    images = hf.LlavaOnevisionImageProcessor(size=SQUARE, image_grid_pinpoints=PINPOINTS)
    videos = hf.LlavaOnevisionVideoProcessor(size=SQUARE)
    reads = {"num_image_tokens": 16, "vision_feature_select_strategy": "full"}
    return config, hf.LlavaOnevisionProcessor(images, made, videos, **reads, chat_template=template())


def qwen(kind, text=None, **vision):
    names = ("image_token", "video_token", "vision_start_token", "vision_end_token")
    marks = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    made = tokenizer(*marks)
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    shape = {"patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2}
    config = getattr(hf, f"{kind}Config")(
        text_config={
            **SMALL,
            "vocab_size": len(made),
            "rope_parameters": rope,
            "head_dim": 8,
            **(text or {}),
        },
        vision_config={**shape, **vision, "depth": 3, "num_heads": 2, "hidden_size": 32},
        **ids(made, **{f"{name}_id": mark for name, mark in zip(names, marks, strict=True)}),
    )
    images = hf.Qwen2VLImageProcessor(patch_size=4, merge_size=2, min_pixels=256, max_pixels=2304)
    if kind.startswith("Qwen3"):
        bounds = {"size": {"shortest_edge": 256, "longest_edge": 8 * 2304}}
        videos = hf.Qwen3VLVideoProcessor(patch_size=4, merge_size=2, **bounds)
    else:
        videos = hf.Qwen2VLVideoProcessor(patch_size=4, merge_size=2, min_pixels=256, max_pixels=2304)
    around = f"{marks[2]}{{}}{marks[3]}".format
    chat = template(around(marks[0]), marks[1] if kind.startswith("Qwen3") else around(marks[1]))
    reads = "Qwen3VL" if kind.startswith("Qwen3") else kind
    return config, getattr(hf, f"{reads}Processor")(images, made, videos, chat_template=chat)


def qwen2_vl():
    return qwen("Qwen2VL", embed_dim=32, mlp_ratio=2)


def qwen2_5_vl():
    more = {"out_hidden_size": 32, "intermediate_size": 64, "window_size": 16, "fullatt_block_indexes": [1]}
    return qwen("Qwen2_5_VL", **more)


def qwen3_vl():
    more = {"out_hidden_size": 32, "intermediate_size": 64, "num_position_embeddings": 64}
    return qwen("Qwen3VL", **more, deepstack_visual_indexes=[0, 1])


def internvl():
    named = {"start_image_token": "<img>", "end_image_token": "</img>", "video_token": "<video>"}
    made = tokenizer(context_image_token="<IMG_CONTEXT>", **named)
    config = hf.InternVLConfig(
        vision_config={**TOWER, "image_size": [SIDE, SIDE], "patch_size": [PATCH, PATCH]},
        text_config=hf.Qwen2Config(**SMALL, vocab_size=len(made)),
        image_seq_length=4,
        **ids(made, image_token_id="<IMG_CONTEXT>"),
    )
    images = hf.GotOcr2ImageProcessor(size=SQUARE, crop_to_patches=True, min_patches=1, max_patches=6)
    videos = hf.InternVLVideoProcessor(size=SQUARE)
    chat = template("<IMG_CONTEXT>")
    return config, hf.InternVLProcessor(images, made, videos, image_seq_length=4, chat_template=chat)


def idefics(kind):
    tags = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    made = tokenizer("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *tags)
    config = getattr(hf, f"{kind}Config")(
        vision_config={**TOWER, "num_hidden_layers": 2},
        text_config=hf.LlamaConfig(**SMALL, vocab_size=len(made)),
        scale_factor=2,
        pad_token_id=0,
        **ids(made, image_token_id="<image>"),
    )
    tile = {"max_image_size": {"longest_edge": SIDE}}
    images = getattr(hf, f"{kind}ImageProcessor")(size={"longest_edge": 3 * SIDE}, **tile)
    reads = {"image_seq_len": 4, "chat_template": template()}
    if kind == "Idefics3":
        return config, hf.Idefics3Processor(images, made, **reads)
    edge = {"longest_edge": SIDE}
    sampling = {"fps": 1, "max_frames": 64, "video_size": edge}
    videos = hf.SmolVLMVideoProcessor(size=edge, video_sampling=sampling, **tile)
    return config, hf.SmolVLMProcessor(images, made, videos, **reads)


def idefics3():
    return idefics("Idefics3")


def smolvlm():
    return idefics("SmolVLM")


def gemma3():
    named = {"image_token": "<image>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    made = tokenizer(**named)
    layers = ["sliding_attention", "full_attention", "sliding_attention"]
    text = hf.Gemma3TextConfig(
        **SMALL, vocab_size=len(made), head_dim=8, sliding_window=4096, layer_types=layers
    )
    config = hf.Gemma3Config(
        text_config=text,
        vision_config=hf.SiglipVisionConfig(**TOWER),
        mm_tokens_per_image=4,
        **ids(made, **{f"{name}_id": token for name, token in named.items()}),
    )
    images = hf.Gemma3ImageProcessor(size=SQUARE)
    chat = "{{ bos_token }}" + template("<start_of_image>")  # as its template really begins
    return config, hf.Gemma3Processor(images, made, image_seq_length=4, chat_template=chat)


def paligemma():
    made = tokenizer(image_token="<image>")
    made.chat_template = None  # it has none
    images = hf.SiglipImageProcessor(size=SQUARE)
    images.image_seq_length = 16
    processor = hf.PaliGemmaProcessor(images, made)
    config = hf.PaliGemmaConfig(
        text_config=hf.GemmaConfig(**SMALL, vocab_size=len(made), head_dim=8),
        vision_config=hf.SiglipVisionConfig(**TOWER, projection_dim=32),
        projection_dim=32,
        **ids(made, image_token_id="<image>"),
    )
    return config, processor


def qwen3_vl_moe():
    more = {"out_hidden_size": 32, "intermediate_size": 64, "num_position_embeddings": 64}
    return qwen("Qwen3VLMoe", EXPERTS, **more, deepstack_visual_indexes=[0, 1])


def vipllava():
    made = tokenizer("<image>")
    config = hf.VipLlavaConfig(
        vision_config=hf.CLIPVisionConfig(**TOWER),
        text_config=hf.LlamaConfig(**SMALL, vocab_size=len(made)),
        vision_feature_layers=[-1, -2],
        image_seq_length=16,
        **ids(made, image_token_id="<image>"),
    )
    images = hf.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SQUARE)
    reads = {"patch_size": PATCH, "vision_feature_select_strategy": "default"}
    reads |= {"num_additional_image_tokens": 1, "chat_template": template()}
    return config, hf.LlavaProcessor(images, made, **reads)


def deepseek_vl():
    made = tokenizer(image_token="<image_placeholder>")
    config = hf.DeepseekVLConfig(
        vision_config=hf.SiglipVisionConfig(**TOWER),
        text_config=hf.LlamaConfig(**SMALL, vocab_size=len(made)),
        **ids(made, image_token_id="<image_placeholder>"),
    )
    images = hf.DeepseekVLImageProcessor(size=SQUARE, min_size=14)
    chat = template("<image_placeholder>")
    return config, hf.DeepseekVLProcessor(images, made, chat_template=chat, num_image_tokens=16)


def cohere_text(made):
    return hf.Cohere2Config(**SMALL, vocab_size=len(made), sliding_window=4096, head_dim=8)


def aya_vision():
    tiles = [f"TILE_{number}" for number in range(1, 13)]
    marks = ("<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>")
    made = tokenizer("<image>", *marks, "TILE", "TILE_GLOBAL", *tiles)
    config = hf.AyaVisionConfig(
        vision_config=hf.SiglipVisionConfig(**TOWER),
        text_config=cohere_text(made),
        downsample_factor=2,
        **ids(made, image_token_id="<|IMG_PATCH|>"),
    )
    images = hf.GotOcr2ImageProcessor(size=SQUARE, crop_to_patches=True, min_patches=1, max_patches=6)
    reads = {"patch_size": PATCH, "img_size": SIDE, "downsample_factor": 2}
    return config, hf.AyaVisionProcessor(images, made, **reads, chat_template=template())


def cohere2_vision():
    named = {"image_token": "<|IMG_PATCH|>", "img_line_break_token": "<|IMG_LINE_BREAK|>"}
    made = tokenizer(**named, boi_token="<|START_OF_IMG|>", eoi_token="<|END_OF_IMG|>")
    config = hf.Cohere2VisionConfig(
        vision_config=hf.SiglipVisionConfig(**TOWER),
        text_config=cohere_text(made),
        downsample_factor=2,
        alignment_intermediate_size=64,
        **ids(made, image_token_id="<|IMG_PATCH|>"),
    )
    images = hf.Cohere2VisionImageProcessor(size=SQUARE, max_patches=6)
    images.patch_size = 2  # tokens along the edge of a tile, which this processor calls so
    return config, hf.Cohere2VisionProcessor(images, made, chat_template=template("<|IMG_PATCH|>"))


def idefics2():
    made = tokenizer("<fake_token_around_image>", "<image>", "<end_of_utterance>")
    heads = {"resampler_n_heads": 2, "resampler_head_dim": 8, "num_key_value_heads": 1}
    config = hf.Idefics2Config(
        vision_config={**TOWER, "num_hidden_layers": 2},
        perceiver_config={"hidden_size": 32, "resampler_n_latents": 4, "resampler_depth": 1, **heads},
        text_config=hf.MistralConfig(**SMALL, vocab_size=len(made), head_dim=8),
        **ids(made, image_token_id="<image>"),
    )
    size = {"shortest_edge": SIDE // 2, "longest_edge": SIDE}
    images = hf.Idefics2ImageProcessor(size=size, do_image_splitting=False)
    return config, hf.Idefics2Processor(images, made, image_seq_len=4, chat_template=template())


def gemma4():
    named = {"image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>"}
    named |= {"audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>"}
    made = tokenizer("<|video|>", **named)
    text = hf.Gemma4TextConfig(
        **SMALL,
        vocab_size=len(made),
        vocab_size_per_layer_input=len(made),
        hidden_size_per_layer_input=8,
        head_dim=8,
        sliding_window=4096,
        layer_types=["sliding_attention", "full_attention", "full_attention"],
    )
    pools = {"pooling_kernel_size": 2, "patch_size": PATCH}
    tower = {**TOWER, "num_hidden_layers": 1, "num_key_value_heads": 2, "head_dim": 8}
    tower |= {"position_embedding_size": 256}
    tokens = {name: named[name.removesuffix("_id")] for name in ("boi_token_id", "boa_token_id")}
    tokens |= {"eoi_token_id": "<image|>", "image_token_id": "<|image|>", "audio_token_id": "<|audio|>"}
    config = hf.Gemma4Config(
        text_config=text,
        vision_config={**tower, **pools},
        audio_config=None,
        **ids(made, **tokens, video_token_id="<|video|>"),
    )
    for source in ("image_processing", "image_processing_pil", "video_processing"):
        module = importlib.import_module(f"transformers.models.gemma4.{source}_gemma4")
        module._SUPPORTED_SOFT_TOKENS = (12,)  # the fewest of real ones are 70
    images = hf.Gemma4ImageProcessor(**pools, max_soft_tokens=12)
    videos = hf.Gemma4VideoProcessor(**pools, max_soft_tokens=12)
    sounds = hf.Gemma4AudioFeatureExtractor()
    chat = template("<|image|>", "<|video|>")
    return config, hf.Gemma4Processor(sounds, images, made, videos, chat_template=chat)


PIXTRAL = {**TOWER, "image_size": 2 * SIDE, "head_dim": 8}


def pixtral(kind, merge, **more):
    made = tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    config = getattr(hf, f"{kind}Config")(
        vision_config=hf.PixtralVisionConfig(**PIXTRAL),
        text_config=hf.MistralConfig(**SMALL, vocab_size=len(made), head_dim=8),
        vision_feature_layer=-1,
        **ids(made, image_token_id="[IMG]"),
        **more,
    )
    patch = {"height": PATCH, "width": PATCH}
    images = hf.PixtralImageProcessor(size={"longest_edge": 2 * SIDE}, patch_size=patch)
    reads = {"patch_size": PATCH, "spatial_merge_size": merge, "chat_template": template("[IMG]")}
    return config, hf.PixtralProcessor(images, made, **reads)


def mistral3():
    return pixtral("Mistral3", 2, spatial_merge_size=2)


def llava_pixtral():
    return pixtral("Llava", 1, vision_feature_select_strategy="full", image_seq_length=1)


def lfm2_vl():
    tags = [f"<|img_row_{row}_col_{column}|>" for row in range(1, 5) for column in range(1, 5)]
    made = tokenizer("<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>", *tags)
    tower = {**TOWER, "num_hidden_layers": 1, "num_patches": 16}
    del tower["image_size"]
    layers = ["conv", "conv", "full_attention"]
    text = {"block_ff_dim": 64, "block_auto_adjust_ff_dim": False, "layer_types": layers}
    config = hf.Lfm2VlConfig(
        vision_config=hf.Siglip2VisionConfig(**tower),
        text_config=hf.Lfm2Config(**SMALL, vocab_size=len(made), **text),
        downsample_factor=2,
        projector_hidden_size=32,
        **ids(made, image_token_id="<image>"),
    )
    splits = {"tile_size": SIDE, "min_tiles": 2, "max_tiles": 4, "min_image_tokens": 4, "max_image_tokens": 8}
    images = hf.Lfm2VlImageProcessor(
        downsample_factor=2, encoder_patch_size=PATCH, max_num_patches=32, size=SQUARE, **splits
    )
    return config, hf.Lfm2VlProcessor(images, made, chat_template=template())


def video_llama_3():
    made = tokenizer(image_token="<image>", video_token="<video>")
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = hf.VideoLlama3Config(
        vision_config={**tower, "patch_size": 4},
        text_config=hf.Qwen2Config(**SMALL, vocab_size=len(made)),
        **ids(made, image_token_id="<image>", video_token_id="<video>"),
    )
    images = hf.VideoLlama3ImageProcessor(
        patch_size=8, merge_size=1, size={"shortest_edge": 256, "longest_edge": 2304}
    )
    videos = hf.VideoLlama3VideoProcessor(
        patch_size=8, merge_size=2, size={"shortest_edge": 256, "longest_edge": 8 * 2304}
    )
    config.vision_config.patch_size = 8
    return config, hf.VideoLlama3Processor(images, made, videos, chat_template=template())


def glm(kind, **experts):
    names = ("image", "video", "image_start", "image_end", "video_start", "video_end")
    marks = ("image", "video", "begin_of_image", "end_of_image", "begin_of_video", "end_of_video")
    marks = [f"<|{mark}|>" for mark in marks]
    made = tokenizer(*marks)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}
    rope |= {"mrope_section": [1, 1, 2]}
    shape = {"patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2, "image_size": SIDE}
    tower = {"depth": 3, "num_heads": 2, "hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 64}
    config = getattr(hf, f"{kind}Config")(
        text_config={**SMALL, **experts, "vocab_size": len(made), "rope_parameters": rope},
        vision_config={**shape, **tower},
        **ids(made, **{f"{name}_token_id": mark for name, mark in zip(names, marks, strict=True)}),
    )
    size = {"shortest_edge": 256, "longest_edge": 2304}
    reads = "Glm46V" if kind == "Glm46V" else "Glm4v"
    shapes = {"patch_size": 4, "merge_size": 2}
    images = getattr(hf, f"{reads}ImageProcessor")(**shapes, size=size)
    videos = getattr(hf, f"{reads}VideoProcessor")(**shapes, size={**size, "longest_edge": 8 * 2304})
    chat = template(f"{marks[2]}{marks[0]}{marks[3]}", f"{marks[4]}{marks[1]}{marks[5]}")
    return config, getattr(hf, f"{reads}Processor")(images, made, videos, chat_template=chat)


def glm4v():
    return glm("Glm4v")


def glm4v_moe():
    experts = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 8}
    return glm("Glm4vMoe", **experts)


def glm46v():
    return glm("Glm46V")


LINEAR = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "linear_attention", "full_attention"],
    "rope_parameters": {
        "rope_type": "default",
        "mrope_section": [1, 1, 2],
        "rope_theta": 10000.0,
        "partial_rotary_factor": 1.0,
        "mrope_interleaved": True,
    },
}


def qwen3_5():
    more = {"out_hidden_size": 32, "intermediate_size": 64, "num_position_embeddings": 64}
    return qwen("Qwen3_5", LINEAR, **more)


def qwen3_5_moe():
    more = {"out_hidden_size": 32, "intermediate_size": 64, "num_position_embeddings": 64}
    return qwen("Qwen3_5Moe", {**LINEAR, **EXPERTS, "shared_expert_intermediate_size": 32}, **more)


def ovis2():
    marks = ["<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>"]
    made = tokenizer("<image>", "<IMG_ATOM>", *marks)
    words = {"vocab_size": 40, "num_visual_indicator_tokens": 5, "hidden_stride": 2}
    config = hf.Ovis2Config(
        vision_config={**TOWER, "num_hidden_layers": 1, **words},
        text_config=hf.Qwen2Config(**SMALL, vocab_size=len(made)),
        visual_indicator_token_ids=made.convert_tokens_to_ids(marks),
        vocab_size=len(made),
        hidden_size=32,
        **ids(made, image_token_id="<IMG_ATOM>"),
    )
    images = hf.Ovis2ImageProcessor(size=SQUARE, crop_to_patches=True, min_patches=1, max_patches=6)
    return config, hf.Ovis2Processor(images, made, image_seq_length=4, chat_template=template())


def gemma3n():
    """A tower of timm that makes four by four tokens of 128 pixels."""
    named = {"boi_token": "<start_of_image>", "boa_token": "<start_of_audio>"}
    named |= {"image_token": "<image_soft_token>", "eoi_token": "<end_of_image>"}
    named |= {"audio_token": "<audio_soft_token>", "eoa_token": "<end_of_audio>"}
    made = tokenizer(**named)
    tokens = ids(made, **{f"{name}_id": token for name, token in named.items()})
    text = hf.Gemma3nTextConfig(
        **SMALL,
        vocab_size=len(made),
        vocab_size_per_layer_input=tokens["image_token_id"],
        hidden_size_per_layer_input=8,
        head_dim=8,
        laurel_rank=4,
        altup_num_inputs=2,
        num_kv_shared_layers=1,
        sliding_window=4096,
        layer_types=["sliding_attention", "full_attention", "full_attention"],
    )
    words = {"vocab_size": 2, "hidden_size": 64}
    tower = hf.Gemma3nVisionConfig(
        architecture="test_convnext", vocab_offset=tokens["image_token_id"], **words
    )
    shape = {"conf_num_hidden_layers": 1, "conf_num_attention_heads": 2, "sscp_conv_channel_size": (4, 4)}
    ear = hf.Gemma3nAudioConfig(
        **{**words, "hidden_size": 16}, vocab_offset=tokens["audio_token_id"], **shape
    )
    config = hf.Gemma3nConfig(
        text_config=text, vision_config=tower, audio_config=ear, vision_soft_tokens_per_image=16, **tokens
    )
    images = hf.SiglipImageProcessor(size={"height": 128, "width": 128})
    sounds = hf.Gemma3nAudioFeatureExtractor()
    chat = template("<image_soft_token>")
    return config, hf.Gemma3nProcessor(sounds, images, made, chat_template=chat, image_seq_length=16)


def perception_lm():
    """Every picture in one tile beside the whole: of more, its processor takes several only if all have as
    many.
    """
    made = tokenizer(image_token="<|image|>", video_token="<|video|>")
    shape = {"embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2, "init_values": 0.5}
    pixels = {"img_size": [SIDE, SIDE], "patch_size": PATCH, "ref_feat_shape": [4, 4]}
    tower = hf.TimmWrapperConfig(
        architecture="vit_pe_core_large_patch14_336",
        num_classes=0,
        model_args={**shape, **pixels, "global_pool": "", "use_post_transformer_norm": False},
    )
    config = hf.PerceptionLMConfig(
        vision_config=tower,
        text_config=hf.LlamaConfig(**SMALL, vocab_size=len(made)),
        projector_pooling_ratio=2,
        **ids(made, image_token_id="<|image|>", video_token_id="<|video|>"),
    )
    images = hf.PerceptionLMImageProcessor(tile_size=SIDE, max_num_tiles=1)
    videos = hf.PerceptionLMVideoProcessor(size=SQUARE)
    chat = template("<|image|>", "<|video|>")
    return config, hf.PerceptionLMProcessor(videos, images, made, patch_size=PATCH, chat_template=chat)


def llama4():
    marks = ("<|image_start|>", "<|image_end|>", "<|tile_x_separator|>", "<|tile_y_separator|>")
    made = tokenizer("<|image|>", "<|patch|>", *marks)
    shape = {"image_size": SIDE, "patch_size": PATCH, "num_attention_heads": 2}
    shape |= {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 1}
    shape |= {"projector_input_dim": 16, "projector_output_dim": 16, "vision_output_dim": 16}
    text = {**SMALL, "vocab_size": len(made), "head_dim": 8, "intermediate_size_mlp": 64}
    config = hf.Llama4Config(
        vision_config=shape,
        text_config={**text, "num_local_experts": 2, "no_rope_layers": [1, 1, 0]},
        **ids(made, image_token_id="<|patch|>"),
    )
    images = hf.Llama4ImageProcessor(size=SQUARE, max_patches=8, do_normalize=False)
    processor = hf.Llama4Processor(images, made, patch_size=8, chat_template=template("<|image|>"))
    return config, processor
