"""Waiting for mmu_lock: exact mean-value analysis of a closed network with one queue, for many windows at once.

Each vCPU thinks (runs the guest, or handles an exit without the lock), queues for the lock, holds it, and thinks again.
With exponential hold times the mean values of this network obey the recursion over the number of customers n

    R(n) = S * (1 + Q(n-1)),   X(n) = n / (Z + R(n)),   Q(n) = X(n) * R(n),   Q(0) = 0

(Reiser and Lavenberg, "Mean-value analysis of closed multichain queuing networks", Journal of the ACM 27, 1980), with
hold time S, think time Z, response time R, throughput X and queue length Q. The distribution of think times does not
matter. `tests/results/prices/test_waiting.py` compares it with the closed form of the machine repairman and with a
discrete-event simulation.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def queue_ahead(ratio: Floats, customers: int) -> Floats:
    """Return how many customers an arriving one finds at the lock, on average, for each ratio of think to hold time.

    That is Q(N-1) for N customers, so it is also the waiting per acquisition in units of the hold time.
    """
    queue = np.zeros_like(ratio)
    response, cycle = np.empty_like(ratio), np.empty_like(ratio)
    for n in range(1, customers):
        np.add(queue, 1.0, out=response)
        np.add(ratio, response, out=cycle)
        np.divide(response, cycle, out=queue)
        np.multiply(queue, n, out=queue)
    return queue


def response_time(hold: Floats, think: Floats, customers: npt.NDArray[np.int64]) -> Floats:
    """Return the mean time from asking for the lock to releasing it, element by element, in the unit of `hold`.

    `hold` and `think` are mean times per acquisition; both zero means that nothing happens, and gives zero.
    """
    ratio = think_ratio(think, hold)
    counts = np.flatnonzero(np.bincount(customers)).tolist()
    if len(counts) == 1:
        return hold * (1.0 + queue_ahead(ratio, counts[0]))
    queue = np.zeros_like(hold)
    for count in counts:
        rows = np.flatnonzero(customers == count)
        queue[rows] = queue_ahead(ratio[rows], count)
    return hold * (1.0 + queue)


def think_ratio(think: Floats, hold: Floats) -> Floats:
    """Return think time in units of the hold time; infinite where nothing is held, so that nobody queues."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratio: Floats = think / hold
    ratio[hold <= 0.0] = np.inf
    return ratio


def lock_waiting(acquisitions: Floats, locked_ns: Floats, vcpu_ns: Floats, vcpus: npt.NDArray[np.int64]) -> Floats:
    """Return how long all vCPUs together wait for the lock in each window, in ns.

    Args:
        acquisitions: how often the lock was taken in the window.
        locked_ns: how long it was held in all.
        vcpu_ns: time of all vCPUs in the window without waiting, idle time and the held time included.
        vcpus: virtual CPUs of the guest.
    """
    taken = np.maximum(acquisitions, 1.0)
    hold = locked_ns / taken
    think = np.maximum(vcpu_ns - locked_ns, 0.0) / taken
    waiting = acquisitions * (response_time(hold, think, vcpus) - hold)
    return np.maximum(waiting, 0.0)
