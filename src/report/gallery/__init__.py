"""The page of a report: one HTML file, with the images beside it."""
