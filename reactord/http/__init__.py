"""How do others ask? The HTTP sidecar, on the loopback first of all: thin routes over what the daemon does anyway.

app.py      the application: the table behind the guards
table.py, routes/   which routes there are; the handlers: parse, call, answer
route.py    what a route is, and how a request becomes a call of its handler
openapi.py, page.py   the table for machines, and for people
facade.py   what the routes need of the daemon
guards.py   who may ask, and what every error looks like (refusals.py: the errors that are HTTP's own)
bodies.py   what a client sends, and whether it is what it should be
intake.py   a request to train -> a JobRequest and the documents with its experiences (offering.py: how they are taken)
answers.py  what was answered last, and may be told again
stream.py   who listens, and the one look that feeds them
following.py, channels.py   what they are told: a job's progress; everything that happens
outbox.py   what one client has still to be told, bounded
telling.py, talking.py      how it is told: server-sent events; a WebSocket
views.py, views_runs.py     a job and its progress -> the words Body reads; pure
listen.py   where we listen, and for how many
sockets.py  the sockets themselves, and through which door a connection came
peers.py    who is at the other end of a connection
connection.py  how long a connection may keep us waiting
token.py    what they must know who come from elsewhere
sidecar.py  the facade over the daemon's own services
"""
