"""Interactive deepfake analysis: DFA-Instruct, DFA-GPT and DFA-Bench, after arXiv 2501.01164."""

__version__ = "0.1.0"
