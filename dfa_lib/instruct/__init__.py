"""DFA-Instruct: from faces to an instruction-following data set."""
