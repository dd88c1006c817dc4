"""Mean-value analysis against closed forms, bounds and a discrete-event simulation."""

from collections.abc import Generator
from math import factorial
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from results.prices.waiting import Floats, lock_waiting, response_time


def response(hold: float, think: float, customers: int) -> float:
    """Return the response time of one network."""
    return float(response_time(np.array([hold]), np.array([think]), np.array([customers]))[0])


def throughput_of_machine_repairman(hold: float, think: float, customers: int) -> float:
    """Return jobs per time by the closed form: the repairman works unless all machines run (Kleinrock 1975, 3.8)."""
    load = hold / think
    weights = [factorial(customers) // factorial(customers - k) * load**k for k in range(customers + 1)]
    return (1.0 - 1.0 / sum(weights)) / hold


@pytest.mark.parametrize("customers", [1, 2, 3, 8, 64])
@pytest.mark.parametrize(("hold", "think"), [(1.0, 100.0), (1.0, 8.0), (1.0, 1.0), (5.0, 1.0)])
def test_throughput_is_that_of_the_machine_repairman(hold: float, think: float, customers: int) -> None:
    """One repairman and a fixed number of machines: the recursion gives the textbook's formula."""
    found = customers / (think + response(hold, think, customers))

    assert found == pytest.approx(throughput_of_machine_repairman(hold, think, customers), rel=1e-12)


def test_two_customers_by_hand() -> None:
    """For hold 1, think 3 and two customers, Q(1) = 1/4, so the response time is 5/4."""
    assert response(1.0, 3.0, 2) == pytest.approx(1.25)


def test_no_think_time_means_a_full_queue() -> None:
    """Customers that never think wait for all others: n times the hold time."""
    assert response(2.0, 0.0, 5) == pytest.approx(10.0)


@given(hold=st.floats(0.0, 1e6), think=st.floats(0.0, 1e9), customers=st.integers(1, 64))
def test_response_time_keeps_the_asymptotic_bounds(hold: float, think: float, customers: int) -> None:
    """A response takes at least the hold time, at least what the bottleneck allows, and at most all holds in a row."""
    found = response(hold, think, customers)

    assert found >= max(hold, customers * hold - think) * (1 - 1e-9)
    assert found <= customers * hold * (1 + 1e-9)


def test_elements_do_not_touch_each_other() -> None:
    """Many networks at once give what each gives alone, whatever their numbers of customers."""
    hold, think = np.array([1.0, 1.0, 2.0, 0.0]), np.array([9.0, 9.0, 0.5, 0.0])
    customers = np.array([1, 4, 2, 8])

    found = response_time(hold, think, customers)

    alone = [response(*one) for one in zip(hold, think, customers, strict=True)]
    assert found.tolist() == alone


def test_one_vcpu_never_waits() -> None:
    """With one vCPU, or without any acquisition, nobody waits."""
    found = lock_waiting(np.array([100.0, 0.0]), np.array([5e6, 0.0]), np.array([1e7, 8e7]), np.array([1, 8]))

    assert found.tolist() == [0.0, 0.0]


def test_a_lock_held_all_the_time_paces_the_window() -> None:
    """If four vCPUs only hold the lock, each waits while the other three hold it."""
    found = lock_waiting(np.array([1000.0]), np.array([1e7]), np.array([1e7]), np.array([4]))

    assert found[0] == pytest.approx(3e7)


def simulate(hold: float, think: float, customers: int, cycles: int) -> float:
    """Return the mean response time of a simulated lock with exponential hold and think times."""
    environment = simpy.Environment()
    lock = simpy.Resource(environment, capacity=1)
    generator = np.random.default_rng([2011, customers])
    responses: list[float] = []

    def vcpu() -> Generator[Any, Any, None]:
        for _ in range(cycles):
            yield environment.timeout(generator.exponential(think))
            asked = environment.now
            with lock.request() as turn:
                yield turn
                yield environment.timeout(generator.exponential(hold))
            responses.append(environment.now - asked)

    for _ in range(customers):
        environment.process(vcpu())
    environment.run()
    return float(np.mean(responses))


@pytest.mark.parametrize(("think", "customers"), [(20.0, 2), (8.0, 4), (3.0, 8)])
def test_a_simulated_lock_agrees(think: float, customers: int) -> None:
    """A discrete-event simulation of the lock gives the same response time within five percent."""
    simulated = simulate(1.0, think, customers, cycles=40_000 // customers)

    assert simulated == pytest.approx(response(1.0, think, customers), rel=0.05)


def test_types_are_what_pricing_needs() -> None:
    """Waiting comes back as one float per window."""
    found: Floats = lock_waiting(np.array([10.0] * 3), np.array([1e5] * 3), np.array([2e6] * 3), np.array([2, 2, 4]))

    assert found.dtype == np.float64
    assert found[0] == found[1] < found[2]
