"""Pictures and numbers that ship with the project."""
