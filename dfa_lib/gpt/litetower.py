"""EfficientNet-lite0 as a vision tower, registered with transformers under "lite_tower".

Pretrained on ImageNet, it knows photographs, which nano's own tower has hardly seen. Batch
normalisation is folded into the convolutions: tuning a tower never moves its statistics.
"""

from typing import ClassVar

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

STAGES = (  # kernel, stride of the first block, expansion, channels, blocks
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class LiteTowerConfig(PreTrainedConfig):
    """The size of a picture in pixels, and how many of them make a token."""

    model_type = "lite_tower"

    image_size: int = 160
    patch_size: int = 32
    hidden_size: int = 320


class LiteTowerModel(PreTrainedModel):
    """The stem and the sixteen inverted residual blocks of Tan and Le (2019), without a head."""

    config_class = LiteTowerConfig
    base_model_prefix = "lite_tower"
    main_input_name = "pixel_values"
    _supports_sdpa: ClassVar[bool] = True  # it has no attention to object with
    _supports_flash_attn: ClassVar[bool] = True

    def __init__(self, config: LiteTowerConfig) -> None:
        super().__init__(config)
        self.stem = SameConv(3, 32, 3, 2)
        self.blocks, width = nn.ModuleList(), 32
        for kernel, stride, wider, channels, count in STAGES:
            for k in range(count):
                self.blocks.append(_block(width, channels, kernel, 1 if k else stride, wider))
                width = channels
        self.norm = nn.LayerNorm(width)
        self.post_init()

    def forward(self, pixel_values: Tensor, **_: object) -> BaseModelOutput:
        """(B, 3, S, S) to tokens (B, (S / 32)^2, hidden_size), row by row, no class token."""
        seen = nn.functional.relu6(self.stem(pixel_values))
        for block in self.blocks:
            made = block(seen)
            seen = seen + made if made.shape == seen.shape else made
        tokens = self.norm(seen.flatten(2).transpose(1, 2))
        return BaseModelOutput(last_hidden_state=tokens, hidden_states=(tokens,))


class SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow's "same": at a stride, more on the right and below."""

    def __init__(self, into: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(into, out, kernel, stride, groups=groups)

    def forward(self, seen: Tensor) -> Tensor:
        """(B, in, S, S) to (B, out, S / stride, S / stride), for S that the stride divides."""
        more = self.kernel_size[0] - self.stride[0]
        if more > 0:
            seen = nn.functional.pad(seen, (more // 2, more - more // 2) * 2)
        return super().forward(seen)


def _block(into: int, out: int, kernel: int, stride: int, wider: int) -> nn.Sequential:
    width = into * wider
    expand = [SameConv(into, width, 1), nn.ReLU6()] if wider > 1 else []
    deep = SameConv(width, width, kernel, stride, groups=width)
    return nn.Sequential(*expand, deep, nn.ReLU6(), SameConv(width, out, 1))


AutoConfig.register(LiteTowerConfig.model_type, LiteTowerConfig)
AutoModel.register(LiteTowerConfig, LiteTowerModel)
