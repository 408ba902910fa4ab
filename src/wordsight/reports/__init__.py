"""Reports: tables, figures and pages of what was found; no verdicts."""
