"""Measures mounts of S3 side by side. `scripts/bench` prepares what this needs and starts it.

    __main__    the run: rounds, clients in turn, one fresh mount for each measurement
    work        the measurements: what is done in a mount, and the figures that come of it
    wire        the same without a mount: what the network and the server allow at most
    mounts      the clients, and how each is mounted
    server      the server in memory (Rust, in server/), what lies in it, and the network's two shapes
    machine     the page cache, processor time and memory, and who else is at work
    table       medians, ratios and Markdown; pure, and the only part with judgement

What is measured ends where a crash would lose nothing: a file counts as written when the *server* has it, whatever
`close` said. Each measurement has a mount and a client process of its own and begins with a cold page cache. Clients
take turns within each round, so that a machine that grows slower does so for all.
"""
