"""The proof against crashes: the real command, killed again and again, and what is left looked at from outside.

`run.py` is the loop, `verdict.py` what is checked at its end. The rest is what those two need: `feed.py` makes the
files, `place.py` is the scratch folder they are sent to, `stage.py` the configuration and the handlers of the process
that is killed, `child.py` that process, `kills.py` says where it dies, `evidence.py` is the notebook, and `report.py`
tells people.
"""
