"""Holds a Ray cluster of several nodes on this machine and changes it as the lines on stdin say.

    python -m tests.support.cluster.host FOLDER CPUS_OF_HEAD [CPUS_OF_NODE ...]

Prints the address, then "ok" after each of `add CPUS`, `add_apart CPUS`, `remove INDEX` and `behead`.
Ends everything when stdin ends.
"""

import sys
from pathlib import Path

from ray.cluster_utils import Cluster

STORE_BYTES = 80 << 20
NOWHERE = "http://127.0.0.1:1"


class Host:
    """The cluster and its nodes, in the order in which they came."""

    def __init__(self, folder: Path, head_cpus: int) -> None:
        # Here Ray writes the address for whoever asks for "auto"; in /tmp it would mislead others.
        (folder / "ray").mkdir()
        # Nobody reads logs by way of the driver here, or asks for more nodes: two processes less per node.
        self._common = {
            "object_store_memory": STORE_BYTES,
            "temp_dir": str(folder / "ray"),
            "include_log_monitor": False,
            "no_monitor": True,
        }
        head = {"num_cpus": head_cpus, "include_dashboard": False, "dashboard_agent_listen_port": 0, **self._common}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = []

    def add(self, cpus: int) -> None:
        """Add a node and wait until the cluster knows it."""
        self.nodes.append(self.cluster.add_node(num_cpus=cpus, **self._common))

    def add_apart(self, cpus: int) -> None:
        """Add a node whose processes reach no object store: nothing listens on port 1."""
        self.nodes.append(self.cluster.add_node(num_cpus=cpus, env_vars={"AWS_ENDPOINT_URL": NOWHERE}, **self._common))

    def remove(self, index: int) -> None:
        """Kill all processes of a node."""
        self.cluster.remove_node(self.nodes[index], allow_graceful=False)

    def behead(self) -> None:
        """Kill the head's control store, without which a cluster is lost."""
        self.cluster.head_node.kill_gcs_server(check_alive=False)


def main() -> None:
    """Serve one test."""
    folder, head_cpus, *node_cpus = sys.argv[1:]
    host = Host(Path(folder), int(head_cpus))
    for cpus in node_cpus:
        host.add(int(cpus))
    sys.stdout.write(host.cluster.address + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        act, *numbers = line.split()
        getattr(host, act)(*map(int, numbers))
        sys.stdout.write("ok\n")
        sys.stdout.flush()
    host.cluster.shutdown()


if __name__ == "__main__":
    main()
