"""The page: choose pictures and options, start runs as processes of their own, watch them, look at earlier ones."""
