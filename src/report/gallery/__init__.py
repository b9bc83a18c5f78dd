"""The page of a report: one HTML file, its pictures beside it, nothing else needed to read it."""
