"""How does a fact cross a process boundary as a file?

doors.py      which files come in, where, in which format, and may we delete them?
drops.py, spools.py, tails.py, rows.py  the four kinds of door: what is new there?
dropfile.py   is this drop file complete and safe to read?
handful.py    how are many of them taken together?
tail.py       what is new in a file that somebody else appends to?
batch.py      what is taken in together
room.py       is there room on the disk for it?
quarantine.py where do bytes go that we could not read?
inbox.py      the ingest thread: look, claim, journal, remove, index
commands.py, command_*.py, deadletter.py   what is asked of us, and what could not be done
leftovers.py  what did a life of ours leave behind that was killed in the middle of a write?
presence.py, registry.py, announce.py, umf.py   what Body and Prime read of us
dlm.py        the lock files that we share with them
arbiter.py    the same lock where Redis decides who holds it
"""
