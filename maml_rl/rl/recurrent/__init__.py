"""Recurrent policies and the trials that they live through."""
