"""What the tests know of the families beside their files: by checkpoint, what a family has or has not."""

VARIANTS = {"llava_pixtral": "llava"}  # checkpoints that are not called as their model type
MERGING = {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"}
M_ROPE = MERGING | {"glm4v", "glm4v_moe", "glm46v"}  # positions of time, row and column
TWO_FRAMES = M_ROPE  # of a film share their tokens
REFUSE_LONG_SHAPES = M_ROPE | {"lfm2_vl", "llava_pixtral", "mistral3", "video_llama_3"}  # by processors
LINE_BREAKS = {"llava_next", "llava_next_video", "llava_onevision"}  # vectors that the model learned
CENTER_CROP = {"llava", "vipllava"}  # of a picture, only the square in its middle is read
PADDED = {"deepseek_vl"}  # a picture is padded to a square
CLS_SIGNALS = {"llava", "llava_next", "llava_next_video", "internvl"}  # of a tower with a [CLS] token
HAVE_CLS = CLS_SIGNALS | {"llama4", "perception_lm", "vipllava"}
NO_SIGNALS = {
    "gemma3n",
    "gemma4",
    "idefics2",
    "lfm2_vl",
    "llama4",
    "ovis2",
    "perception_lm",
    "vipllava",
}  # of the vision tower
ONE_PICTURE_BEAMS = {"glm4v", "glm4v_moe", "glm46v"}  # transformers gives beams of more the wrong ones
ROUTED = {"qwen3_5_moe"}  # to other experts, in half precision
NO_FLASH = {"glm4v_moe", "llama4"}  # of transformers: positions with axes, of pictures or not; none at all
NO_BEAMS = {"llama4"}  # transformers gives them no pictures
SHARED_KEYS = {"gemma3n"}  # and values, of layers of the language model
NO_MAP = {"idefics2"}  # no token is of a part of a picture


def kind(vlm):
    """The name of its checkpoint."""
    config = vlm.model.config
    is_pixtral = config.model_type == "llava" and config.vision_config.model_type == "pixtral"
    return "llava_pixtral" if is_pixtral else config.model_type
