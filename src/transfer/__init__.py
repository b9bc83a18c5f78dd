"""The objective and what it optimises: terms, image models, start images, optimisers, compilation."""
