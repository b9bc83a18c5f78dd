"""What a run records: record.json, names of metrics, loggers, provenance."""
