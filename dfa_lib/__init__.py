"""Interactive deepfake analysis: DFA-Instruct, DFA-GPT and DFA-Bench, after arXiv 2501.01164."""

import os

__version__ = "0.1.0"

# Read by OpenMP when torch is imported: threads that wait for each other sleep and do not spin.
# Beside a browser or a call, spinning ones keep the processor from the one they wait for
# (benchmarks/busy_machine.py).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
