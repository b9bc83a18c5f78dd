"""The gallery page of a report: one HTML file with its images beside it."""
