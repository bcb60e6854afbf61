"""Containers that are guests: what `pyvmm-oci` does to a bundle before the real OCI runtime sees it."""
