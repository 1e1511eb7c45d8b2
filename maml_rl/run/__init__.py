"""Running a system: configuration, training loop, checkpoints, records, evaluation and rendering."""
