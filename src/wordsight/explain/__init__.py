"""Explain: what every visual token says, as rows and as pictures."""
