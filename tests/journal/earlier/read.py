"""Read a journal as the release before does: ``python -I read.py reader.zip < records.jsonl`` prints JSON, or why not.

Run by a Python that finds no other fleetd: everything that is imported here is what the archive holds.
"""

from __future__ import annotations

import json
import sys


def main(archive: str) -> int:
    """Fold the records on stdin and print the world that they make; exit 1 with the first that cannot be read."""
    sys.path.insert(0, archive)
    from fleetd.rollout import codec
    from fleetd.rollout.documents import host_document, record_document, rollout_document
    from fleetd.rollout.world import World

    assert codec.__file__.startswith(archive), codec.__file__
    world = World()
    for line in sys.stdin:
        record = json.loads(line)
        try:
            words = (record["kind"], record["at"], record["rollout"], record["host"], record["data"])
            world.apply(codec.decode_event(*words))
        except Exception as error:
            print(f"record {record['seq']} ({record['kind']}): {error}")
            return 1
    now = world.last_at
    told = {
        "seq": world.seq,
        "term": world.term,
        "rollouts": {name: rollout_document(world, rollout, now) for name, rollout in world.rollouts.items()},
        "hosts": {
            name: {host: host_document(rollout, host) for host in rollout.hosts}
            for name, rollout in world.rollouts.items()
        },
        "records": {host: record_document(record) for host, record in world.records.items()},
        "unproven": list(world.unproven()),
    }
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
