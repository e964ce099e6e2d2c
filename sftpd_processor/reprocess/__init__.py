"""Handling archived events again.

`job` is what a person asks for, `report` what is said of it before, while and after it runs, `replay` does it.
"""
