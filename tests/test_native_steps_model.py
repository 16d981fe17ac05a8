# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""Random programs of tasks do the same where we take their steps as where asyncio's C code does, step by step.

A program is a few scripts; each task follows one: it gives way, waits for futures and tasks, cancels and takes back,
spawns, shields, gathers, groups and times out, changes its context, raises and swallows. Every operation records what
can be seen from there: the current task and all tasks, the number of requests to cancel, the context, and each error
with its arguments, its cause and its context. In the end every task is asked for everything that it says of itself.

What is said of a future that nobody asked is said when it is let go of, so garbage is collected at known points only;
and no task is left without its end, as its coroutine would be complained of whenever it is collected.
"""

import asyncio
import contextlib
import contextvars
import gc
import sys

from helpers.compare import plain
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import oneloop

FUTURES = 3
ITERATIONS = 30
SCRIPTS = 4
MOST = 25

variable = contextvars.ContextVar("variable", default="unset")

futures = st.integers(0, FUTURES - 1)
tasks = st.integers(0, 5)
scripts = st.integers(0, SCRIPTS - 1)
operations = st.one_of(
    st.tuples(st.just("give way")),
    st.tuples(st.just("wait"), futures),
    st.tuples(st.just("set"), futures),
    st.tuples(st.just("fail"), futures),
    st.tuples(st.just("cancel future"), futures),
    st.tuples(st.just("cancel"), tasks, st.sampled_from([None, "why", "because"])),
    st.tuples(st.just("uncancel"), tasks),
    st.tuples(st.just("spawn"), scripts),
    st.tuples(st.just("spawn eagerly"), scripts),
    st.tuples(st.just("join"), tasks),
    st.tuples(st.just("ask"), tasks),
    st.tuples(st.just("shield"), tasks),
    st.tuples(st.just("gather"), scripts, scripts),
    st.tuples(st.just("group"), scripts),
    st.tuples(st.just("time out"), scripts),
    st.tuples(st.just("wait for"), scripts),
    st.tuples(st.just("soon"), futures),
    st.tuples(st.just("context"), st.integers(0, 9)),
    st.tuples(st.just("raise"), st.sampled_from(["LookupError", "CancelledError", "StopIteration", "GeneratorExit"])),
    st.tuples(st.just("return"), st.integers(0, 9)),
    st.tuples(st.just("bad yield"), st.sampled_from(["number", "itself", "future"])),
)
steps = st.tuples(operations, st.sampled_from(["through", "through", "swallow", "replace"]))
programs = st.lists(st.lists(steps, min_size=1, max_size=6), min_size=SCRIPTS, max_size=SCRIPTS)


class ReplacedError(Exception):
    """What a script raises in place of something else."""


class Yield:
    def __init__(self, value):
        self.value = value

    def __await__(self):
        return (yield self.value)


def told(error, depth=0):
    """An error and where it comes from."""
    if error is None or depth > 3:
        return None
    nested = tuple(told(one, depth + 1) for one in getattr(error, "exceptions", ()))
    cause, context = told(error.__cause__, depth + 1), told(error.__context__, depth + 1)
    return type(error).__name__, plain(error.args), cause, context, error.__suppress_context__, nested


class Program:
    """One program on one loop."""

    def __init__(self, loop, scripts):
        self.loop, self.scripts = loop, scripts
        self.trace, self.tasks, self.made = [], [], 0
        loop.set_exception_handler(self.report)

    def report(self, _, context):
        error = context.get("exception")
        message = plain(context["message"])
        self.trace.append(("report", message.split(" at ")[0], sorted(context), told(error)))

    def see(self, *what):
        current = asyncio.current_task(self.loop)
        everybody = sorted(plain(task.get_name()) for task in asyncio.all_tasks(self.loop))
        where = (plain(current.get_name()), current.cancelling(), current._must_cancel) if current else None
        self.trace.append((what, where, everybody, variable.get()))

    def spawn(self, script, **keywords):
        # Counted before it is made: an eager one may make others, and itself, before it is in the list.
        number, self.made = self.made, self.made + 1
        coroutine = self.follow(script) if number < MOST else asyncio.sleep(0)
        task = self.loop.create_task(coroutine, name=f"task {number}", **keywords)
        self.tasks.append(task)
        task.add_done_callback(lambda done: self.see("done", done.get_name(), done.cancelled()))
        return task

    def pick(self, number):
        return self.tasks[number % len(self.tasks)]

    def later(self, number):
        """A task that was made after the current one: those that wait for each other would be cancelled for ever."""
        # By their numbers: in the list an eager one comes after those that it has made itself.
        current = int(asyncio.current_task().get_name().removeprefix("task "))
        later = [task for task in self.tasks if int(task.get_name().removeprefix("task ")) > current]
        return later[number % len(later)] if later else self.loop.create_future()

    async def follow(self, script):
        for number, (operation, manner) in enumerate(self.scripts[script]):
            self.see(script, number, *operation)
            try:
                if operation[0] == "return":
                    return operation[1]
                result = await self.perform(*operation)
                self.see("result", plain(result))
            except (Exception, asyncio.CancelledError, GeneratorExit) as error:
                if isinstance(error, GeneratorExit) and not error.args:
                    raise  # not the script's own: the coroutine is thrown away, which it must not refuse
                self.see("error", told(error))
                if manner == "through":
                    raise
                if manner == "replace":
                    raise ReplacedError(script, number) from error
        return script

    async def perform(self, name, *args):
        match name:
            case "give way":
                return await asyncio.sleep(0, "slept")
            case "wait":
                return await self.futures[args[0]]
            case "set" | "fail" | "cancel future":
                return self.finish(name, *args)
            case "soon":
                self.loop.call_soon(self.finish, "set", *args)
            case "cancel":
                return self.pick(args[0]).cancel(args[1]) if args[1] else self.pick(args[0]).cancel()
            case "uncancel":
                return self.pick(args[0]).uncancel()
            case "spawn":
                return self.spawn(*args).get_name()
            case "spawn eagerly":
                return self.spawn(*args, **self.eagerly).get_name()
            case "join":
                return await self.later(*args)
            case "ask":
                return self.pick(*args).result()
            case "shield":
                return await asyncio.shield(self.later(*args))
            case "gather":
                return await asyncio.gather(*map(self.spawn, args), return_exceptions=args[0] == args[1])
            case "group":
                async with asyncio.TaskGroup() as group:
                    # One, since a group asks its tasks to cancel in no order.
                    for script in args:
                        if self.made < MOST:
                            self.made += 1
                            self.tasks.append(group.create_task(self.follow(script), name=f"task {self.made - 1}"))
            case "time out":
                async with asyncio.timeout(0):
                    return await self.spawn(*args)
            case "wait for":
                return await asyncio.wait_for(self.spawn(*args), 0)
            case "context":
                variable.set(args[0])
            case "raise":
                raise {"CancelledError": asyncio.CancelledError, "GeneratorExit": GeneratorExit}.get(
                    args[0], LookupError if args[0] == "LookupError" else StopIteration
                )("raised", 1)
            case "bad yield":
                values = {"number": 1, "itself": asyncio.current_task(), "future": self.loop.create_future()}
                await Yield(values[args[0]])
        return None

    def finish(self, how, number):
        future = self.futures[number]
        if future.done():
            self.futures[number] = future = self.loop.create_future()
        if how == "cancel future":
            future.cancel("of the future's")
        elif how == "fail":
            future.set_exception(LookupError(number))
        else:
            future.set_result(number)

    async def main(self):
        asyncio.current_task().set_name("main")
        self.futures = [self.loop.create_future() for _ in range(FUTURES)]
        self.spawn(0)
        self.spawn(1)
        for _ in range(ITERATIONS):
            await asyncio.sleep(0)
            self.see("tick")
        for _ in range(20):
            for task in self.tasks:
                task.cancel("the end")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        for future in self.futures:
            if future.done() and not future.cancelled():
                future.exception()

    def run(self, eagerly):
        self.eagerly = eagerly
        self.loop.run_until_complete(self.main())
        with contextlib.suppress(RuntimeError):
            self.loop.run_until_complete(asyncio.sleep(0))
        for task in self.tasks:
            self.trace.append(self.ask(task))
        for task in self.tasks:
            self.trace.append(self.end(task))
        # It is told from here on in what order cycles are collected, which is no question of steps.
        trace, self.trace = self.trace, []
        return trace, self.trace

    def ask(self, task):
        def answer(call):
            try:
                return plain(call())
            except BaseException as error:
                return told(error)

        asked = (task.result, task.exception, task.result, task.cancelling, task.get_stack, task.done, task.cancelled)
        shown = (
            task._state,
            task._must_cancel,
            task._cancel_message,
            task._fut_waiter,
            task._log_destroy_pending,
            task,
        )
        return [answer(call) for call in asked], [plain(each) for each in shown]

    def end(self, task):
        """The coroutine of a task that cancelling has not ended: one that waits for its group refuses at first."""
        told = []
        if task.done():
            return told
        task._log_destroy_pending = False
        coroutine = task.get_coro()
        while coroutine.cr_frame is not None and len(told) < 10:
            try:
                told.append(plain(coroutine.close()))
            except RuntimeError as error:
                told.append(plain(error))
        return told


def outcome(loop, scripts, eagerly):
    gc.collect(0)
    gc.disable()
    try:
        # In a context of its own: what the program sets there is to be seen by nobody after it.
        trace, later = contextvars.copy_context().run(Program(loop, scripts).run, eagerly)
        # Nothing of the program's has grown old meanwhile, so the youngest are all of it.
        gc.collect(0)
        return trace, sorted(map(repr, later))
    finally:
        gc.enable()
        loop.close()


# Only where a loop forwards its keywords can a program ask it for an eager task.
EAGERLY = {"eager_start": True} if sys.version_info >= (3, 14) else {}


def test_random_programs():
    assert oneloop._core._takes_steps()

    @settings(max_examples=60, deadline=None, database=None, derandomize=True, phases=[Phase.generate, Phase.shrink])
    @given(programs)
    def like_the_c_task(scripts):
        expected = outcome(asyncio.SelectorEventLoop(), scripts, EAGERLY)
        assert outcome(oneloop.new_event_loop(), scripts, EAGERLY) == expected

    like_the_c_task()
