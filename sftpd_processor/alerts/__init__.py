"""Telling people: what is wrong is told once, by mail, chat, pager or webhook, and told again when it is over."""
