"""A base that has seen photographs: ImageNet's EfficientNet-lite0 before nano's language model."""
