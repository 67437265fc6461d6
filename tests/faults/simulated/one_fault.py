"""One fault at one place of a simulated sweep that is otherwise left alone."""

from functools import cache

from orchestrator.errors import SweepError
from tests.faults.simulated.ending import check
from tests.faults.simulated.world import World


def broken_by(what, place):
    """Have something happen at a sweep's so manieth place; return what is wrong in the end, None for nothing."""
    world = World()
    try:
        play(world, place, what)
        world.check_kept()
        world.finish()
        check(world)
    except (AssertionError, ValueError, SweepError) as error:
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
