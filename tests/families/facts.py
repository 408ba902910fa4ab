"""What the tests know of the families beside their files: by model type, what a family has or has not."""

TWO_FRAMES = {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"}  # of a film share their tokens
M_ROPE = TWO_FRAMES  # positions of time, row and column
MERGING = TWO_FRAMES  # four patches become one token, by the tower's merger
REFUSE_LONG_SHAPES = TWO_FRAMES  # by their processors
LINE_BREAKS = {"llava_next", "llava_next_video", "llava_onevision"}  # vectors that the model learned
CENTER_CROP = {"llava", "vipllava"}  # of a picture, only the square in its middle is read
PADDED = {"deepseek_vl"}  # a picture is padded to a square
CLS_SIGNALS = {"llava", "llava_next", "llava_next_video", "internvl"}  # of a tower with a [CLS] token
HAVE_CLS = CLS_SIGNALS | {"vipllava"}
NO_SIGNALS = {"gemma4", "idefics2", "vipllava"}  # of the vision tower
NO_MAP = {"idefics2"}  # no token is of a part of a picture
