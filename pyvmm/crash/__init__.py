"""Crash reports: what a guest was doing when it could not go on, as text, JSON and a core file.

Nothing here is loaded before a guest crashes, or `--crash` or `--watchdog` asks for it.
"""
