"""Interactive deepfake analysis: DFA-Instruct, DFA-GPT and DFA-Bench, after arXiv 2501.01164."""

import os

__version__ = "0.1.0"

# Read by OpenMP when torch is imported: a thread that waits for another sleeps almost at once.
# Beside a browser or a call, one that spins keeps the processor from the one it waits for
# (benchmarks/busy_machine.py).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.update(OMP_WAIT_POLICY="passive", GOMP_SPINCOUNT="300")
