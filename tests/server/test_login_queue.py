"""Who logs in now, who waits, and that a place that becomes free is taken."""

from __future__ import annotations

import time

from connect_helper.server.login_queue import WAITING_PER_ADDRESS, Login, LoginQueue


def logins(address: str, count: int, begun: list[Login], ended: list[Login] | None = None) -> list[Login]:
    made: list[Login] = []
    told = [] if ended is None else ended
    for number in range(count):
        made.append(
            Login(
                address,
                lambda number=number: begun.append(made[number]),
                lambda number=number: told.append(made[number]),
            )
        )
    return made


def test_one_address_has_its_places_and_the_rest_of_its_logins_wait() -> None:
    queue, begun = LoginQueue(10, 2), list[Login]()
    mine, others = logins("a", 4, begun), logins("b", 1, begun)
    assert [queue.enter(one) for one in mine] == ["begin", "begin", "wait", "wait"]
    assert queue.enter(others[0]) == "begin"
    queue.leave(mine[0])
    assert begun == [mine[2]]
    queue.leave(mine[3])  # gave up while it waited
    queue.leave(mine[1])
    assert begun == [mine[2]]


def test_all_together_have_a_limit_too_and_addresses_take_turns() -> None:
    queue, begun = LoginQueue(3, 2), list[Login]()
    some, more = logins("a", 3, begun), logins("b", 3, begun)
    assert [queue.enter(one) for one in (*some, *more)] == ["begin", "begin", "wait", "begin", "wait", "wait"]
    queue.leave(some[0])
    queue.leave(more[0])
    assert begun == [more[1], some[2]]


def test_who_has_few_waiting_does_not_wait_for_those_who_have_many() -> None:
    queue, begun = LoginQueue(4, 3), list[Login]()
    crowd, mine = logins("crowd", 100, begun), logins("mine", 3, begun)
    for one in crowd:
        queue.enter(one)
    assert [queue.enter(one) for one in mine] == ["begin", "wait", "wait"]
    for one in crowd[:4]:
        queue.leave(one)
    assert [one.address for one in begun] == ["mine", "crowd", "mine", "crowd"]


def test_a_crowd_that_leaves_at_once_does_not_take_the_processor_for_itself() -> None:
    queue, begun = LoginQueue(400, 100), list[Login]()
    crowd = [one for number in range(8) for one in logins(f"{number}", 300, begun)]
    for one in crowd:
        assert queue.enter(one) != "refused"
    began = time.process_time()
    for one in crowd:
        queue.leave(one)
    assert time.process_time() - began < 0.1  # seconds, for 2400 of them
    assert len(begun) > 1000


def test_a_flood_is_refused() -> None:
    queue, begun = LoginQueue(5, 1), list[Login]()
    places = [queue.enter(one) for one in logins("a", WAITING_PER_ADDRESS + 3, begun)]
    assert places.count("refused") == 2
    assert queue.enter(logins("b", 1, begun)[0]) == "begin"


def test_who_comes_from_elsewhere_gets_the_place_of_the_oldest_of_those_that_have_most() -> None:
    queue, begun, ended = LoginQueue(4, 3), list[Login](), list[Login]()
    quiet = logins("quiet", 1, begun, ended)
    many = logins("many", 4, begun, ended)
    assert [queue.enter(one) for one in (*quiet, *many)] == ["begin"] * 4 + ["wait"]
    newcomers = logins("new", 2, begun, ended)
    assert queue.enter(newcomers[0]) == "begin"
    assert ended == [many[0]]
    queue.leave(many[0])  # its connection is closed by now; its place is taken already
    assert begun == []
    assert queue.enter(newcomers[1]) == "wait"  # it has a place already: no second one for it
    queue.leave(quiet[0])
    assert begun == [many[3]]


def test_leaving_twice_changes_nothing() -> None:
    queue, begun = LoginQueue(1, 1), list[Login]()
    first, second, third = logins("a", 3, begun)
    assert [queue.enter(one) for one in (first, second, third)] == ["begin", "wait", "wait"]
    queue.leave(first)
    queue.leave(first)
    assert begun == [second]
