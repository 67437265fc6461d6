"""One fault at one place of a simulated sweep that is otherwise left alone."""

from contextlib import suppress
from functools import cache

from tests.faults.simulated.ending import check
from tests.faults.simulated.world import World


def broken_by(what, place):
    """Have something happen at a sweep's so manieth place; return what is wrong in the end, None for nothing."""

    def disturb(world):
        play(world, place, what)
        world.check_kept()

    return wrong_after(disturb)


def broken_by_call(number, what):
    """Have MLflow fail one call of a sweep, from the first to the last; return what is wrong in the end."""

    def disturb(world):
        world.mlflow.fault = (number, what)
        play(world, 10**6, None)
        if world.mlflow.fault is not None:  # one of the last calls
            with suppress(ConnectionError):  # exit code 4: the same command brings MLflow up to date
                world.act(world.driver, world.driver.finish)

    return wrong_after(disturb)


def wrong_after(disturb):
    """Return what is wrong with a sweep that was disturbed and then ran to its end in peace, None for nothing."""
    world = World()
    try:
        disturb(world)
        world.finish()
        check(world)
    except Exception as error:  # noqa: BLE001  (whatever the code raises is something wrong)
        return error
    finally:
        world.close()


def play(world, place, what):
    """Run a sweep to its end, or until what is to happen at one of its places has happened."""
    world.ambush = (place, what)
    while world.ambush is not None and world.go_on():
        if world.driver is not None:
            world.act(world.driver, world.driver.sync)


@cache
def places():
    """Return how many places a sweep has that nothing disturbs."""
    world = World()
    play(world, 10**6, None)
    world.close()
    return world.ticks


@cache
def calls():
    """Return how many calls of MLflow an undisturbed sweep makes."""
    world = World()
    play(world, 10**6, None)
    world.finish()
    world.close()
    return world.mlflow.calls
