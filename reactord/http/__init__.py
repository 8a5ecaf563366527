"""How do others ask? The HTTP sidecar on the loopback: thin routes over what the daemon does anyway.

app.py      the routes: parse, call, answer
facade.py   what the routes need of the daemon
guards.py   who may ask, and what every error looks like
intake.py   a request to train -> a JobRequest and the documents with its experiences
answers.py  what was answered last, and may be told again
stream.py   who listens, and the one look that feeds them
following.py, channels.py   what they are told: a job's progress; everything that happens
outbox.py   what one client has still to be told, bounded
telling.py, talking.py      how it is told: server-sent events; a WebSocket
views.py    a job and its progress -> the words Body reads; pure
listen.py   the sockets
sidecar.py  the facade over the daemon's own services
"""
