"""How does a fact cross a process boundary as a file?

doors.py      which files come in, where, in which format, and may we delete them?
dropfile.py   is this drop file complete and safe to read?
tail.py       what is new in a file that somebody else appends to?
quarantine.py where do bytes go that we could not read?
inbox.py      the ingest thread: look, claim, journal, index, remove
presence.py, registry.py, announce.py   what Body and Prime read of us
dlm.py        the lock files that we share with them
"""
