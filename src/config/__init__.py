"""The options of a run: schema, validation, composition from conf/, and what makes two runs the same."""
