"""Ask about pictures from the shell: ``python -m dfa_lib.ask PICTURE "question"``."""
