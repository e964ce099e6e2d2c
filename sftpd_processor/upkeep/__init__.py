"""Upkeep: what is kept here gets smaller with age, and goes when its time is over."""
