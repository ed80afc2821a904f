"""Real pretrained text without a hub: SmolLM2-135M-Instruct joined to a vision tower at hand."""
