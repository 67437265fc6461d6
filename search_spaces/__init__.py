"""One file a question. Each defines SWEEP; its docstring's last line is the command."""
