"""What the files of each format hold, read before and beside Pillow. Standard library only."""
