"""Traces: what a guest's vCPUs and devices did, and when.

Nothing here is loaded unless `--trace` asks for it.
"""
