"""What other processes may ask of a guest that runs."""
