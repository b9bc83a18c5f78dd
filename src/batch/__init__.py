"""Several pairs in one batch: which jobs go together, their common objective and module, a record for each."""
