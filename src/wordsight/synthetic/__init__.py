"""Rendered scenes and clips, and questions about them."""
