"""From a Toro program to an image, and from addresses in it to names."""
