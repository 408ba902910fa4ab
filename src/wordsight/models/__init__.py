"""Models: from a picture and a question to a prompt, and through the language model."""
