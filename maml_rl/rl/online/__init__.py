"""Learners that never start afresh, and whose hyper-parameters are learned while they learn."""
