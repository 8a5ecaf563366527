"""What state is each job in, and what is next?

states.py      the states, the transition table as data
machine.py     fire(): one transaction, nothing else changes a state
queue.py       which job is next
triggers.py    when a job is born
driver.py      drives one job through its states, and starts again where a crash left it
reserving.py   may it start now? memory and the training slot
training.py    a worker: start, watch, adopt, stop; which records became the dataset
exporting.py   merge, quantise, judge: deploy or reject
deploying.py   place, announce, remember; take back
versions.py    v1.2.0
news.py        what peers tell of our work becomes an event
"""
