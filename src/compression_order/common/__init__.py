"""What every room uses: errors, files, settings, processes, tables."""
