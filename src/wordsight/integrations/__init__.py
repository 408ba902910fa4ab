"""What other packages run of ours: the one room where an import of an extra may fail."""
