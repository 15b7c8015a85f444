"""The pure core: what is true of each host, what should happen next, and why.

Read ``states`` (what a host can be), ``events`` (what can happen), ``transitions`` (the one table of both), ``world``
(all hosts and rollouts together), then ``planner`` with ``gates`` and ``health``. Nothing here knows the time, makes a
random number, or touches the world: instants are arguments, and waking up is a result.
"""
