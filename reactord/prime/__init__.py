"""What is Prime doing, and does it run what we deployed?

snapshot.py   what Prime says about itself in files, and what the operating system says about its process
template.py   which chat template Prime will choose for a file name
manifest.py   what Prime's watcher must read beside a model
place.py      put a model where Prime finds it; point at it; take it back
turn.py       whose deployment may change what Prime sees
asking.py     an HTTP request that ends in its time, whatever the peer does
health.py     what it says of itself when it is asked
memory.py     what it holds, what it may grow to, what it would lend
lease.py      borrow its memory for a training, and give it back
live.py       does it serve our model? load it where that is safe

Nothing here waits for Prime: the files are put down, the questions are asked, the caller comes back.
"""
