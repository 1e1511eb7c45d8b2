"""The page that compares runs: what their folders hold, how they are grouped, charts, tables and one HTML file."""
