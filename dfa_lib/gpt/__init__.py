"""DFA-GPT: a LLaVA tuned with LoRA that answers questions about a face."""
