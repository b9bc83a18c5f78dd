"""Images, weights and numbers that ship with the program."""
