"""What a group reports goes out once the group is out of its own transition, in order, whatever the listener does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from para_attn_server.pool.outbox import Outbox, transition

Plan = list["Plan"]


class Counter:
    """Reports a number at the begin and the end of each transition; its listener starts further transitions."""

    def __init__(self, plans: list[Plan]) -> None:
        self.outbox = Outbox()
        self.posted: list[int] = []
        self.heard: list[int] = []
        self.answers = plans

    @transition
    def act(self, plan: Plan) -> None:
        self._report()
        for inner in plan:
            self.act(inner)
        self._report()

    def _report(self) -> None:
        self.posted.append(len(self.posted))
        self.outbox.post(self.listen, self.posted[-1])

    def listen(self, number: int) -> None:
        assert not self.outbox.in_transition
        self.heard.append(number)
        if self.answers:
            self.act(self.answers.pop())


PLANS = st.recursive(st.just([]), lambda plans: st.lists(plans, max_size=3), max_leaves=6)


@given(PLANS, st.lists(PLANS, max_size=4))
def test_reports_go_out_in_order_and_never_from_inside_a_transition(plan: Plan, answers: list[Plan]) -> None:
    counter = Counter(answers)
    counter.act(plan)
    assert counter.heard == counter.posted and not answers
