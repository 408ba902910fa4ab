"""What every room uses: files, progress, plugins, numbers."""
