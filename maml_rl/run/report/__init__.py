"""Runs side by side on one page: what their folders hold, how they are grouped, the charts, the page."""
