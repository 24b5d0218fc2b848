"""What happens to one image, whatever process it happens in."""
