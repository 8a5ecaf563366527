"""How do others ask? The HTTP sidecar on the loopback: thin routes over what the daemon does anyway.

app.py      the routes: parse, call, answer
facade.py   what the routes need of the daemon
guards.py   who may ask, and what every error looks like
intake.py   a request to train -> a JobRequest and the documents with its experiences
stream.py   a job's progress, followed
views.py    a job and its progress -> the words Body reads; pure
listen.py   the sockets
sidecar.py  the facade over the daemon's own services
"""
