"""What state is each job in, and what is next?

states.py      the states, the transition table as data
machine.py     fire(): one transaction, nothing else changes a state
queue.py       which job is next, and which may run beside which
triggers.py    when a job is born
  births.py        by itself: nights.py, timetable.py (asked for over HTTP), signals.py, scoring.py, breaker.py
needing.py     is the data there that a job was asked to wait for?
admitting.py   may it leave the queue now?
driver.py      drives one job through its states, and starts again where a crash left it
preflight.py   is there room on the disk for all that it will write?
reserving.py   may it start now? memory and the training slot
  negotiating.py   the decision: grant, shrink, ask Prime to lend, wait, offload, refuse (pure)
  planning.py      what will each stage take, and in which smaller forms could it run?
  correction.py    what earlier runs teach the prediction; learning.py writes it down
  surveying.py     what has this machine now? neighbours.py: what is left beside our other jobs?
  scarcity.py      does the kernel itself say that memory is short?
  leasing.py       what does Prime answer, and does it lend its memory? it always gets it back
  keeping.py       a worker is kept to its grant (cgroup.py) and out of the way (pressure.py)
where.py       here or in the cloud, and why (pure); launching.py: on what can it be run?
stages.py      one run of a worker, and what becomes of the job after it
attempts.py    why did a run end, and does another one make sense? the table of causes
hanging.py     does a worker get anywhere, and has it time left?
tidying.py     what jobs left behind
training.py    a worker: start, watch, adopt, stop; which records became the dataset
exporting.py   merge, quantise, judge: deploy or reject
deploying.py   place, announce, remember; take back
restoring.py   an older version comes before Prime again
versions.py    v1.2.0
news.py        what peers tell of our work becomes an event
"""
