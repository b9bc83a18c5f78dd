"""Names of metrics, loggers, run records, provenance, and what belongs to the W&B server: uploads and dashboards."""
