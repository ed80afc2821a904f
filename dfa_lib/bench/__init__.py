"""DFA-Bench: deepfake detection, classification and artifact description, scored with intervals."""
