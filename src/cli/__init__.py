"""The command line: exit codes, error messages, help texts and launchers."""
