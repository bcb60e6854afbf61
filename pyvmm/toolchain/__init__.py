"""From a Toro program to an image with a table of function names."""
